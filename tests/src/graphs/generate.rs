//! Draws a graph: inputs of odd sizes, layers on values drawn from all that there are, outputs.
//!
//! In: a seed. Out: a [`Case`]. Law: shapes are computed here, by hand, and not by the compiler
//! under test; values stay of moderate size, so that no graph overflows.

use super::{Attr, Case, Input, Node};
use crate::mutate::Random;
use secateur_compiler::tensor::Tensor;

/// Most elements of a value.
const ELEMENTS: usize = 1500;
/// Most multiplications of a graph, about.
const WORK: usize = 60_000;

/// A value that a layer may read.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
}

impl Value {
    pub(super) fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A graph under construction.
pub(super) struct Builder {
    pub(super) random: Random,
    pub(super) case: Case,
    /// Real values that layers may read.
    pub(super) pool: Vec<Value>,
    /// What only outputs may be made of: integers.
    ends: Vec<String>,
    names: usize,
    work: usize,
    samples: usize,
}

/// A layer: adds nodes to the builder and gives the value to go on with; `None` where the drawn
/// value does not suit it (then nothing was added).
pub(super) type Layer = fn(&mut Builder) -> Option<Value>;

impl Builder {
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.random.below(n)
    }
    /// With a chance of one in `n`.
    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.random.below(n) == 0
    }
    pub(super) fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.random.below(list.len())]
    }
    pub(super) fn between(&mut self, lo: usize, hi: usize) -> usize {
        lo + self.random.below(hi.max(lo) - lo + 1)
    }
    /// From 0 to below 1.
    pub(super) fn unit(&mut self) -> f32 {
        (self.random.number() >> 40) as f32 / (1u64 << 24) as f32
    }
    /// About normal, of deviation 1.
    pub(super) fn normal(&mut self) -> f32 {
        let sum: f32 = (0..4).map(|_| self.unit()).sum();
        (sum - 2.0) * 1.732_050_8
    }
    pub(super) fn name(&mut self, stem: &str) -> String {
        self.names += 1;
        format!("{stem}{}", self.names)
    }
    pub(super) fn opset(&self) -> i64 {
        self.case.opset
    }

    /// A value drawn from the pool, late ones more often, that `suits`.
    pub(super) fn pick(&mut self, suits: impl Fn(&Value) -> bool) -> Option<Value> {
        for _ in 0..6 {
            let n = self.pool.len();
            let at = if self.one_in(2) { n - 1 - self.below(n.min(2)) } else { self.below(n) };
            if suits(&self.pool[at]) {
                return Some(self.pool[at].clone());
            }
        }
        None
    }

    /// A constant: mostly an initializer, sometimes a Constant node.
    pub(super) fn constant(&mut self, t: Tensor) -> String {
        let name = self.name("c");
        if self.one_in(8) {
            let attrs = vec![("value", Attr::Tensor(t))];
            self.case.nodes.push(Node { op: "Constant", inputs: vec![], outputs: vec![name.clone()], attrs });
        } else {
            self.case.constants.insert(name.clone(), t);
        }
        name
    }
    pub(super) fn floats(&mut self, shape: &[usize], deviation: f32, mean: f32) -> String {
        let len = shape.iter().product();
        let values = (0..len).map(|_| mean + deviation * self.normal()).collect();
        self.constant(Tensor::f32(shape, values))
    }
    pub(super) fn scalar(&mut self, v: f32) -> String {
        self.constant(Tensor::f32(&[], vec![v]))
    }
    pub(super) fn ints(&mut self, values: &[i64]) -> String {
        self.constant(Tensor::i64(&[values.len()], values.to_vec()))
    }

    /// Adds a node with one real result of `shape` that the pool takes up.
    pub(super) fn node(
        &mut self,
        op: &'static str,
        inputs: &[&str],
        attrs: Vec<(&'static str, Attr)>,
        shape: &[usize],
    ) -> Value {
        let name = self.hidden(op, inputs, attrs);
        let value = Value { name, shape: shape.to_vec() };
        self.pool.push(value.clone());
        value
    }
    /// Adds a node whose result is not for the pool.
    pub(super) fn hidden(
        &mut self,
        op: &'static str,
        inputs: &[&str],
        attrs: Vec<(&'static str, Attr)>,
    ) -> String {
        let name = self.name("v");
        let inputs = inputs.iter().map(ToString::to_string).collect();
        self.case.nodes.push(Node { op, inputs, outputs: vec![name.clone()], attrs });
        name
    }
    /// An integer result, which becomes an output.
    pub(super) fn end(&mut self, name: String) {
        self.ends.push(name);
    }
    /// Whether a value of `len` elements and `work` multiplications still fit; counts them.
    pub(super) fn room(&mut self, len: usize, work: usize) -> bool {
        let fits = (1..=ELEMENTS).contains(&len) && self.work + work <= WORK;
        self.work += if fits { work } else { 0 };
        fits
    }

    /// An input with its samples.
    pub(super) fn input(&mut self, shape: &[usize]) -> Value {
        let name = self.name("x");
        let (deviation, mean) =
            self.of(&[(1.0, 0.0), (1.0, 0.0), (0.3, 0.5), (0.02, 0.0), (30.0, 5.0), (1.0, -3.0)]);
        let len: usize = shape.iter().product();
        let mut samples = Vec::new();
        for _ in 0..self.samples {
            let values = (0..len).map(|_| mean + deviation * self.normal()).collect();
            samples.push(Tensor::f32(shape, values));
        }
        self.case.inputs.push(Input { name: name.clone(), samples });
        let value = Value { name, shape: shape.to_vec() };
        self.pool.push(value.clone());
        value
    }
    /// Indices below `n` as an input.
    pub(super) fn ids(&mut self, shape: &[usize], n: usize) -> String {
        let name = self.name("ids");
        let len: usize = shape.iter().product();
        let mut samples = Vec::new();
        for _ in 0..self.samples {
            let values = (0..len).map(|_| self.below(n) as i64).collect();
            samples.push(Tensor::i64(shape, values));
        }
        self.case.inputs.push(Input { name: name.clone(), samples });
        name
    }
}

fn shape(b: &mut Builder) -> Vec<usize> {
    match b.below(10) {
        0..4 => vec![1, b.between(1, 9), b.between(1, 11), b.between(1, 11)],
        4..6 => vec![1, b.between(1, 9), b.between(2, 33)],
        6..8 => vec![1, b.between(1, 40)],
        8 => vec![1, b.between(1, 9), b.between(1, 13)],
        // Wide enough for a Softmax whose probabilities are small.
        _ => vec![1, b.between(64, 600)],
    }
}

/// The graph of a seed, with that many samples.
pub fn case(seed: u64, samples: usize) -> Case {
    let mut b = Builder {
        random: Random::new(seed),
        case: Case::default(),
        pool: Vec::new(),
        ends: Vec::new(),
        names: 0,
        work: 0,
        samples,
    };
    b.case.opset = b.of(&[13, 13, 14, 15, 17, 17, 18, 19, 20, 21, 9, 10, 11, 12]);
    // Ranges of different width meet in what joins them.
    let inputs = b.of(&[1, 1, 1, 2, 2, 3]);
    let first = shape(&mut b);
    b.input(&first);
    for _ in 1..inputs {
        let other = if b.one_in(2) { first.clone() } else { shape(&mut b) };
        b.input(&other);
    }
    let layers = b.between(1, 10);
    let table = super::layers::table();
    let total: usize = table.iter().map(|(weight, _)| weight).sum();
    let mut added = 0;
    for _ in 0..8 * layers {
        if added == layers {
            break;
        }
        let mut ticket = b.below(total);
        let (_, layer) = table
            .iter()
            .find(|(weight, _)| {
                let found = ticket < *weight;
                ticket = ticket.saturating_sub(*weight);
                found
            })
            .expect("a ticket below the sum of the weights");
        added += usize::from(layer(&mut b).is_some());
    }
    finish(b)
}

/// Outputs: what nothing reads, integers, and sometimes a value on the way.
fn finish(mut b: Builder) -> Case {
    let read: Vec<String> = b.case.nodes.iter().flat_map(|n| n.inputs.clone()).collect();
    let inputs: Vec<String> = b.case.inputs.iter().map(|i| i.name.clone()).collect();
    let computed: Vec<Value> = b.pool.iter().filter(|v| !inputs.contains(&v.name)).cloned().collect();
    let mut outputs: Vec<String> =
        computed.iter().filter(|v| !read.contains(&v.name)).map(|v| v.name.clone()).collect();
    // A graph that computes nothing has one layer at least.
    if outputs.is_empty() {
        let x = b.pool[0].clone();
        outputs.push(b.hidden("Relu", &[&x.name], vec![]));
    }
    if b.one_in(4) && !computed.is_empty() {
        outputs.push(computed[b.below(computed.len())].name.clone());
    }
    outputs.extend(b.ends.iter().cloned());
    outputs.sort();
    outputs.dedup();
    b.case.outputs = outputs;
    b.case.tidy();
    b.case
}
