//! Small graphs for the tests of passes and of what they ask the graph: built node by node, run
//! through one pass, compared as text, and run before and after on fixed noise to see that the float
//! meaning stayed.

use super::Pass;
use crate::graph::run;
use crate::graph::{Graph, Patch, Quant, ValueId, print, verify};
use crate::ops::{Op, Operand};
use crate::tensor::{DType, Tensor};

/// A graph under construction; shapes come from the operators' own inference.
#[derive(Default)]
pub(crate) struct Build {
    graph: Graph,
}

impl Build {
    pub(crate) fn new() -> Self {
        Build::default()
    }
    pub(crate) fn patch(&mut self) -> Patch<'_> {
        Patch::new(&mut self.graph)
    }
    pub(crate) fn input(&mut self, name: &str, shape: &[usize]) -> ValueId {
        self.patch().add_input(name, DType::F32, shape)
    }
    /// A constant of noise in -1..1 that its name seeds.
    pub(crate) fn noise(&mut self, name: &str, shape: &[usize]) -> ValueId {
        let seed = name.bytes().fold(7u64, |s, b| s.wrapping_mul(31).wrapping_add(u64::from(b)));
        let data = noise(seed, shape.iter().product());
        self.patch().add_constant(name, Tensor::f32(shape, data))
    }
    pub(crate) fn constant(&mut self, name: &str, shape: &[usize], data: &[f32]) -> ValueId {
        self.patch().add_constant(name, Tensor::f32(shape, data.to_vec()))
    }
    pub(crate) fn quant(&mut self, value: ValueId, scale: f32, zero: i32) {
        self.patch().set_quant(value, Some(Quant::per_tensor(DType::I8, scale, zero)));
    }
    /// A node called after its result.
    pub(crate) fn node(&mut self, name: &str, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        self.results(&[name], op, inputs)[0]
    }
    /// A node of several results, called after the first.
    pub(crate) fn results(&mut self, names: &[&str], op: impl Into<Op>, inputs: &[ValueId]) -> Vec<ValueId> {
        let op = op.into();
        let operands: Vec<Option<Operand<'_>>> = inputs
            .iter()
            .map(|&v| {
                let v = &self.graph[v];
                Some(Operand { dtype: v.dtype, shape: &v.shape, data: v.constant().map(|t| t.as_ref()) })
            })
            .collect();
        let types = op.infer(&operands).expect("the test builds a valid node");
        let mut patch = self.patch();
        let results: Vec<ValueId> =
            names.iter().zip(types).map(|(name, ty)| patch.add_value(name, ty.dtype, &ty.shape)).collect();
        patch.add_node(names[0], op, inputs.iter().map(|&v| Some(v)).collect(), results.clone());
        results
    }
    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }
    pub(crate) fn output(&mut self, value: ValueId) {
        self.patch().add_output(value);
    }

    /// Runs the pass. The text of the result, without the header, must be `expected`, and its
    /// float results must stay.
    #[track_caller]
    pub(crate) fn check(self, pass: Pass, expected: &str) -> Graph {
        verify(&self.graph).expect("the test builds a valid graph");
        let mut after = self.graph.clone();
        pass(&mut Patch::new(&mut after)).expect("the pass runs");
        verify(&after).unwrap_or_else(|e| panic!("{e}\n{}", print(&after)));
        let text: Vec<&str> = expected.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        let printed = print(&after);
        let printed: Vec<&str> = printed.lines().skip(1).map(str::trim).collect();
        assert_eq!(printed, text, "\n{}", print(&after));
        same_results(&self.graph, &after);
        after
    }
}

/// Fails unless two graphs give the same on fixed noise, but for rounding.
#[track_caller]
pub(crate) fn same_results(before: &Graph, after: &Graph) {
    let inputs: Vec<Tensor> = (1..)
        .zip(before.inputs())
        .map(|(seed, &v)| {
            let shape = &before[v].shape;
            Tensor::f32(shape, noise(seed, shape.iter().product()))
        })
        .collect();
    let results = run(after, &inputs).expect("the graph runs after");
    let expected = run(before, &inputs).expect("the graph runs before");
    assert_eq!(results.len(), expected.len());
    for (a, b) in results.iter().zip(&expected) {
        assert_eq!(a.shape(), b.shape());
        for (a, b) in a.to_f64_vec().iter().zip(b.to_f64_vec()) {
            assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{a} where {b} was\n{}", print(after));
        }
    }
}

/// Numbers in -1..1 from a linear congruential generator (Knuth, MMIX).
pub(crate) fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}
