//! Operators against random attributes, shapes, types and constants, many of them absurd.
//!
//! Law: `parse`, `infer` and `eval` refuse or succeed, and never panic; where all succeed, the
//! results have the types that `infer` announced.

use super::{Aggregate, Attr, Branch, Child, Op, Operand, ParseCx, Test, Tree, TreeEnsemble};
use crate::tensor::{DType, Data, Tensor};
use std::collections::BTreeMap;

/// A multiplicative generator: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % n
    }
    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
    /// Mostly small, sometimes absurd.
    fn int(&mut self) -> i64 {
        if self.below(12) == 0 {
            return self.of(&[i64::MIN, i64::MAX, i64::MIN + 1, 1 << 40, -(1 << 40), 1 << 26, 1 << 31]);
        }
        self.of(&[0, 1, 1, 1, 2, 2, 3, -1, -2, 4])
    }
    fn ints(&mut self, max: usize) -> Vec<i64> {
        let len = self.below(max + 1);
        (0..len).map(|_| self.int()).collect()
    }
    fn shape(&mut self, rank: usize) -> Vec<usize> {
        let absurd = self.below(20) == 0;
        (0..rank)
            .map(|_| {
                if absurd {
                    self.of(&[0, usize::MAX, 1 << 62, 1 << 33, 1 << 20, 1])
                } else {
                    self.of(&[1, 2, 3, 4, 4, 5, 7, 1])
                }
            })
            .collect()
    }
}

const ROUNDS: usize = 6000;

const TYPES: [DType; 10] = [
    DType::F32,
    DType::I8,
    DType::U8,
    DType::I16,
    DType::U16,
    DType::I32,
    DType::U32,
    DType::I64,
    DType::U64,
    DType::Bool,
];

const INTS: [&str; 9] =
    ["strides", "pads", "dilations", "kernel_shape", "axes", "starts", "ends", "perm", "split"];
const INT: [&str; 17] = [
    "group",
    "axis",
    "keepdims",
    "ceil_mode",
    "count_include_pad",
    "to",
    "transA",
    "transB",
    "allowzero",
    "num_outputs",
    "select_last_index",
    "start",
    "end",
    "block_size",
    "output_dtype",
    "noop_with_empty_axes",
    "storage_order",
];

fn attributes(r: &mut Random, rank: usize) -> BTreeMap<String, Attr> {
    let mut attrs = BTreeMap::new();
    // Half of the nodes have few attributes, so that some get through all checks.
    let rare = r.of(&[2, 12]);
    for name in INTS {
        if r.below(rare) == 0 {
            // Often of a length that gets past the first check.
            let spatial = rank.saturating_sub(2);
            let len = r.of(&[spatial, 2 * spatial, rank, 1]);
            let list = if r.below(6) == 0 { r.ints(6) } else { (0..len).map(|_| r.int()).collect() };
            attrs.insert(name.to_string(), Attr::Ints(list));
        }
    }
    for name in INT {
        if r.below(rare) == 0 {
            attrs.insert(name.to_string(), Attr::Int(r.int()));
        }
    }
    for name in ["alpha", "beta", "epsilon", "min", "max", "value"] {
        if r.below(3) == 0 {
            let v = r.of(&[0.0, 1.0, -1.0, f32::NAN, f32::INFINITY, 1e38]);
            attrs.insert(name.to_string(), Attr::Float(v));
        }
    }
    let pad = r.of(&["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", "?"]);
    if r.below(2) == 0 {
        attrs.insert("auto_pad".into(), Attr::Str(pad.into()));
    }
    // A shift has no default.
    attrs.insert("direction".into(), Attr::Str(if rank.is_multiple_of(2) { "LEFT" } else { "RIGHT" }.into()));
    let mode = r.of(&["constant", "edge", "reflect", "wrap", "?"]);
    if r.below(2) == 0 {
        attrs.insert("mode".into(), Attr::Str(mode.into()));
    }
    if r.below(2) == 0
        && let Ok(ensemble) = trees(r)
    {
        attrs.insert("ensemble".into(), Attr::Ensemble(ensemble));
    }
    attrs
}

/// A stump, most often one that holds together.
fn trees(r: &mut Random) -> crate::error::Result<TreeEnsemble> {
    let mut child = || if r.below(9) == 0 { Child::Branch(r.below(3)) } else { Child::Leaf(r.below(2)) };
    let (yes, no) = (child(), child());
    let test = Test::AtMost(r.of(&[0.0, 1.0, f32::NAN, f32::INFINITY]));
    let branch = Branch { feature: r.below(4), test, missing_passes: r.below(2) == 0, yes, no };
    let leaves = vec![vec![(r.below(3), r.of(&[1.0, -0.5, f32::NAN]))], vec![]];
    let tree = Tree { root: Child::Branch(0), branches: vec![branch], leaves };
    let aggregate = r.of(&[Aggregate::Sum, Aggregate::Average, Aggregate::Min, Aggregate::Max]);
    TreeEnsemble::new(r.below(4), aggregate, vec![tree], Vec::new())
}

/// An operand: a shape, and a tensor of that shape where one fits into memory.
fn operand(
    r: &mut Random,
    index: usize,
    dtype: DType,
    like: &[usize],
    tame: bool,
) -> (Vec<usize>, DType, Option<Tensor>) {
    let shape = match r.below(4) {
        _ if tame && index > 0 => vec![like.get(1).copied().unwrap_or(1)],
        0 => {
            let rank = r.below(6);
            r.shape(rank)
        }
        // A parameter per channel, a list of numbers, or a second operand of the same shape.
        1 if index > 0 => vec![like.get(1).copied().unwrap_or(1)],
        2 if index > 0 => vec![r.below(9)],
        // The weights of a convolution.
        3 if index == 1 && like.len() > 2 => {
            let kernel: Vec<usize> = like[2..].iter().map(|_| r.of(&[1, 1, 2, 3])).collect();
            [vec![r.of(&[1, 2, 4]), r.of(&[1, like[1]])], kernel].concat()
        }
        _ => like.to_vec(),
    };
    let dtype = if !tame && r.below(8) == 0 { r.of(&TYPES) } else { dtype };
    let dtype = if !tame && index > 0 && r.below(3) == 0 { DType::I64 } else { dtype };
    let len = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= 1 << 12);
    let tensor = len.map(|n| {
        let values: Vec<i64> = (0..n).map(|_| r.int()).collect();
        Tensor::new(shape.clone(), Data::from_i64(dtype, &values)).expect("as many as the shape holds")
    });
    (shape, dtype, tensor)
}

#[test]
fn operators_refuse_and_never_panic() {
    let mut r = Random(7);
    let mut evaluated = BTreeMap::new();
    for round in 0..ROUNDS {
        for name in Op::names() {
            let rank = r.of(&[2, 3, 4, 4, 3, 1, 0, 5]);
            let like = r.shape(rank);
            let attrs = attributes(&mut r, rank);
            let dtype = if r.below(3) == 0 { r.of(&TYPES) } else { DType::F32 };
            let count = r.of(&[1, 2, 3, 1, 2, 5, 4, 0]);
            let tame = r.below(4) == 0;
            let operands: Vec<_> = (0..count).map(|i| operand(&mut r, i, dtype, &like, tame)).collect();
            let known = r.below(4) != 0;
            let inputs: Vec<Option<Operand<'_>>> = operands
                .iter()
                .map(|(shape, dtype, t)| {
                    let data = t.as_ref().filter(|_| known);
                    Some(Operand { dtype: *dtype, shape, data })
                })
                .collect();
            let opset = r.of(&[7, 9, 10, 11, 12, 13, 17, 18, 21, 25, 28]);
            let outputs = r.of(&[1, 1, 2, 3]);
            let cx = ParseCx { op_type: name, opset, attrs: &attrs, inputs: &inputs, outputs };
            let Some(Ok((op, keep))) = Op::parse(&cx) else { continue };
            let inputs = &inputs[..inputs.len().min(keep)];
            let Ok(types) = op.infer(inputs) else { continue };
            let _ = op.macs(inputs, &types);
            let small = types.iter().all(|t| t.shape.iter().product::<usize>() <= 1 << 14);
            let tensors: Option<Vec<Option<&Tensor>>> =
                operands[..inputs.len()].iter().map(|(_, _, t)| t.as_ref().map(Some)).collect();
            let windows: usize = match &op {
                Op::AveragePool(p) => p.kernel.iter().product(),
                Op::MaxPool(p) => p.kernel.iter().product(),
                _ => 1,
            };
            let Some(tensors) = tensors.filter(|_| small && windows <= 1 << 10) else { continue };
            let Ok(results) = op.eval(&tensors) else { continue };
            *evaluated.entry(name).or_insert(0) += 1;
            assert_eq!(results.len(), types.len(), "{round}: {op:?}");
            for (t, ty) in results.iter().zip(&types) {
                assert_eq!((t.dtype(), t.shape()), (ty.dtype, ty.shape.as_slice()), "{round}: {op:?}");
            }
        }
    }
    // The test would be worthless if nothing got through; ours alone are not ONNX operators.
    let silent: Vec<_> = Op::names().filter(|n| !evaluated.contains_key(n)).collect();
    assert!(
        silent.iter().all(|n| [
            "Chain",
            "Dense",
            "FusedAttention",
            "Normalization",
            "Recurrent",
            "Requantize",
            "Constant"
        ]
        .contains(n)),
        "{silent:?}"
    );
}
