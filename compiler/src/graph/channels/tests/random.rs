//! Random graphs: what nothing reads, and what is zero all the way, can leave without a trace.
//!
//! The parts of constants that the analysis names are set to zero, nothing else; then the graph without the
//! groups must give the same real numbers. A part at a wrong place, or a coupling that was
//! missed, gives others.

use super::{conv, without};
use crate::graph::channels::{Channels, GroupId, Role, remove};
use crate::graph::{Graph, Patch, ValueId, verify};
use crate::ops::*;
use crate::passes::testing::{Build, same_results};
use crate::tensor::{Tensor, row_major_strides};
use std::collections::{BTreeMap, BTreeSet};

/// A fixed sequence of numbers.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }
}

/// A graph under construction, of feature maps and then of rows.
struct Draw {
    b: Build,
    numbers: Numbers,
    count: usize,
    maps: Vec<ValueId>,
    /// Whether a channel that is zero stays zero, whatever a map goes through.
    keeps_zero: bool,
}

impl Draw {
    fn name(&mut self) -> String {
        self.count += 1;
        format!("v{}", self.count)
    }
    fn noise(&mut self, shape: &[usize]) -> ValueId {
        let name = self.name();
        self.b.noise(&name, shape)
    }
    fn node(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        let name = self.name();
        self.b.node(&name, op, inputs)
    }
    fn shape(&self, v: ValueId) -> Vec<usize> {
        self.b.graph()[v].shape.clone()
    }
    fn conv(&mut self, x: ValueId, rows: usize, group: usize) -> ValueId {
        let kernel = 1 + 2 * self.numbers.below(2);
        let w = self.noise(&[rows, self.shape(x)[1] / group, kernel, kernel]);
        let mut inputs = vec![x, w];
        if self.numbers.below(4) > 0 {
            inputs.push(self.noise(&[rows]));
        }
        self.node(conv(kernel, group), &inputs)
    }
    /// Some map, most often the last.
    fn any(&mut self) -> ValueId {
        let back = if self.numbers.below(3) == 0 { self.numbers.below(self.maps.len()) } else { 0 };
        self.maps[self.maps.len() - 1 - back]
    }
    fn constant_beside(&mut self, x: ValueId) -> ValueId {
        let [n, c, h, w] = self.shape(x)[..] else { panic!("a map") };
        let shapes = [vec![c, 1, 1], vec![n, c, h, w], vec![1, 1, w], vec![1, c, 1, 1]];
        // A sum with a constant that is not one for each channel is nowhere zero.
        let which = self.numbers.below(4);
        let shape = if self.keeps_zero && which == 2 { &shapes[0] } else { &shapes[which] };
        self.noise(shape)
    }
    /// A map made of others.
    fn map(&mut self) -> ValueId {
        let x = self.any();
        let [n, c, h, w] = self.shape(x)[..] else { panic!("a map") };
        match self.numbers.below(16) {
            0 => {
                let rows = 3 + self.numbers.below(4);
                self.conv(x, rows, 1)
            }
            1 => self.conv(x, c, c),
            2 => self.conv(x, 2 * c, c),
            3 if c.is_multiple_of(2) => self.conv(x, c + 2, 2),
            4 | 5 => {
                let y = self.conv(x, c, 1);
                match self.numbers.below(3) {
                    0 => self.node(Add, &[x, y]),
                    1 => self.node(Sub, &[y, x]),
                    _ => self.node(Mul, &[x, y]),
                }
            }
            6 => {
                let beside = self.constant_beside(x);
                if self.numbers.below(2) == 0 {
                    self.node(Add, &[x, beside])
                } else {
                    self.node(Mul, &[beside, x])
                }
            }
            7 => {
                let parameters = [(); 4].map(|()| self.noise(&[c]));
                let [scale, bias, mean, variance] = parameters;
                self.node(BatchNormalization { epsilon: 2.0 }, &[x, scale, bias, mean, variance])
            }
            8 if self.keeps_zero => self.node(LeakyRelu { alpha: 0.25 }, &[x]),
            8 => self.node(Sigmoid, &[x]),
            9 => self.node(Tanh, &[x]),
            10 => {
                let other = self.any();
                let shape = self.shape(other);
                let same = (shape[0], &shape[2..]) == (n, &[h, w][..]);
                self.node(Concat { axis: if same { 1 } else { 0 } }, &[x, if same { other } else { x }])
            }
            11 if c > 2 => {
                let sizes = vec![1, c - 1];
                let (a, b) = (self.name(), self.name());
                let parts = self.b.results(&[&a, &b], Split { axis: 1, sizes }, &[x]);
                self.maps.push(parts[0]);
                parts[1]
            }
            12 if c > 2 => {
                let start = self.numbers.below(2);
                let sizes = vec![n, c - 1, h, w];
                self.node(Slice { starts: vec![0, start, 0, 0], steps: vec![1; 4], sizes }, &[x])
            }
            13 => {
                let ends = [0; 2].map(|_| self.numbers.below(2) as i64);
                let pads = vec![0, ends[0], 0, 0, 0, ends[1], 0, 0];
                self.node(Pad { mode: PadMode::Constant, pads, value: 0.0 }, &[x])
            }
            14 => {
                let last = self.node(Transpose { perm: vec![0, 2, 3, 1] }, &[x]);
                let scale = self.noise(&[c]);
                let scaled = self.node(Mul, &[last, scale]);
                self.node(Transpose { perm: vec![0, 3, 1, 2] }, &[scaled])
            }
            _ => {
                let pooled = self.node(GlobalAveragePool, &[x]);
                let gate = self.conv(pooled, c, 1);
                let open = self.node(Sigmoid, &[gate]);
                self.node(Mul, &[x, open])
            }
        }
    }
    /// Rows made of a map, by a product.
    fn rows(&mut self, x: ValueId) -> ValueId {
        let x = if self.numbers.below(2) == 0 { self.node(GlobalMaxPool, &[x]) } else { x };
        let x = match self.numbers.below(3) {
            0 => self.node(Transpose { perm: vec![0, 2, 3, 1] }, &[x]),
            _ => x,
        };
        let shape = self.shape(x);
        let columns: usize = shape[1..].iter().product();
        let flat = match self.numbers.below(2) {
            0 => self.node(Flatten { axis: 1 }, &[x]),
            _ => self.node(Reshape { shape: vec![shape[0], columns] }, &[x]),
        };
        let hidden = self.product(flat, 4);
        self.product(hidden, 3)
    }
    fn product(&mut self, x: ValueId, rows: usize) -> ValueId {
        let columns = self.shape(x)[1];
        let bias = self.noise(&[rows]);
        match self.numbers.below(4) {
            0 => {
                let w = self.noise(&[rows, columns]);
                self.node(Dense, &[x, w, bias])
            }
            1 => {
                let w = self.noise(&[columns, rows]);
                let y = self.node(MatMul, &[x, w]);
                self.node(Add, &[y, bias])
            }
            turn => {
                let trans_b = turn == 2;
                let w = self.noise(&if trans_b { [rows, columns] } else { [columns, rows] });
                self.node(Gemm { alpha: 1.0, beta: 0.5, trans_a: false, trans_b }, &[x, w, bias])
            }
        }
    }
}

fn draw(seed: u64, keeps_zero: bool) -> Graph {
    let mut d = Draw { b: Build::new(), numbers: Numbers(seed), count: 0, maps: Vec::new(), keeps_zero };
    let x = d.b.input("x", &[1, 3, 3, 4]);
    let rows = 3 + d.numbers.below(4);
    let first = d.conv(x, rows, 1);
    d.maps.push(first);
    for _ in 0..2 + d.numbers.below(6) {
        let map = d.map();
        // Products of maps on maps grow, and their rounding with them.
        let calm = d.node(Tanh, &[map]);
        d.maps.push(calm);
    }
    let last = d.any();
    let y = d.rows(last);
    d.b.output(y);
    verify(d.b.graph()).expect("the graph is well formed");
    d.b.graph().clone()
}

/// Sets elements of a node's constant to zero, for that node alone.
fn clear(graph: &mut Graph, channels: &Channels, leave: &BTreeSet<GroupId>, column: bool) {
    let parts = leave.iter().flat_map(|&g| channels.group(g).parts.clone());
    for part in parts.filter(|s| (s.role == Role::Column) == column) {
        let id = graph[part.node].inputs[part.input].expect("an operand");
        let tensor = graph[id].constant().expect("a constant").clone();
        let (shape, stride) = (tensor.shape(), row_major_strides(tensor.shape())[part.axis]);
        let gone = |i: usize| part.indices.contains(&(i / stride % shape[part.axis]));
        let values = tensor.to_f32_vec().into_iter().enumerate();
        let values = values.map(|(i, v)| if gone(i) { 0.0 } else { v }).collect();
        Patch::new(graph).set_constant(id, Tensor::f32(shape, values));
    }
}

/// About half of the groups that can leave.
fn choose(graph: &Graph, channels: &Channels, numbers: &mut Numbers) -> BTreeSet<GroupId> {
    let mut leave = BTreeSet::new();
    for (id, group) in channels.groups() {
        if group.fixed.is_none() && numbers.below(2) == 0 {
            leave.insert(id);
            if remove(&mut Patch::new(&mut graph.clone()), channels, &leave).is_err() {
                leave.remove(&id);
            }
        }
    }
    leave
}

/// How many groups left, and how many there were, by the names of operators that they stand at.
fn try_all(column: bool) {
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..150 {
        let mut graph = draw(seed, !column);
        let channels = Channels::of(&graph);
        let leave = choose(&graph, &channels, &mut Numbers(seed + 1000));
        clear(&mut graph, &channels, &leave, column);
        let one = |g: GroupId| {
            let (value, indices) = &channels.group(g).members[0];
            (*value, indices[0])
        };
        let smaller = without(&graph, &leave.iter().map(|&g| one(g)).collect::<Vec<_>>());
        same_results(&graph, &smaller);
        for &(v, _) in leave.iter().flat_map(|&g| &channels.group(g).members) {
            assert!(smaller[v].len() < graph[v].len(), "{} keeps its shape", graph[v].name);
            if let Some(id) = graph.producer(v) {
                *left.entry(graph[id].op.name()).or_default() += 1;
            }
        }
    }
    let operators = [
        "Conv",
        "Add",
        "Sub",
        "Mul",
        "Tanh",
        "Concat",
        "Split",
        "Slice",
        "Pad",
        "Transpose",
        "Gemm",
        "MatMul",
        "Dense",
        "Reshape",
        "Flatten",
        "BatchNormalization",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "Sigmoid",
    ];
    for name in operators {
        assert!(left.get(name).is_some_and(|&n| n > 3), "{name} lost too few channels: {left:?}");
    }
}

#[test]
fn what_is_read_by_zero_weights_alone_can_leave() {
    try_all(true);
}

#[test]
fn what_is_zero_all_the_way_can_leave() {
    try_all(false);
}
