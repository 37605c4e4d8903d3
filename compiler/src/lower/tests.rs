//! Every operator lowered here against its float meaning, on random shapes, layouts and
//! values, through schedule, program and evaluator.

mod linear;
mod places;

use super::*;
use crate::graph::{Clamp, Patch, Quant};
use crate::ops::{self, Op, PadMode};
use crate::program::machine::Machine;
use crate::select::quantize;
use crate::tensor::Tensor;
use secateur_targets::Target;

fn host() -> Target {
    secateur_targets::find("host").unwrap()
}

/// A generator with a fixed seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
    fn real(&mut self) -> f32 {
        (self.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0) * 4.0
    }
    fn shape(&mut self, rank: usize) -> Vec<usize> {
        (0..rank).map(|_| 1 + self.below(5)).collect()
    }
    fn order(&mut self, rank: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..rank).collect();
        for i in (1..rank).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
    fn tensor(&mut self, dtype: DType, shape: &[usize]) -> Tensor {
        let n = shape.iter().product();
        let data = match dtype {
            DType::F32 => Data::F32((0..n).map(|_| self.real()).collect()),
            _ => {
                let (lo, hi) = dtype.range().unwrap();
                let (lo, hi) = (lo.max(-1 << 20) as i64, hi.min(1 << 20) as i64);
                let span = (hi - lo + 1) as usize;
                Data::from_i64(dtype, &(0..n).map(|_| lo + self.below(span) as i64).collect::<Vec<_>>())
            }
        };
        Tensor::new(shape.to_vec(), data).unwrap()
    }
    /// Scale and zero point, often at an end of the range.
    fn quant(&mut self, spread: f32) -> Quant {
        let zero = match self.below(4) {
            0 => -128,
            1 => 127,
            2 => 0,
            _ => self.below(256) as i32 - 128,
        };
        Quant::per_tensor(DType::I8, spread * (0.3 + self.below(1000) as f32 / 1000.0), zero)
    }
}

/// An operand of the node under test.
#[derive(Clone)]
enum Given {
    Input(Tensor),
    Constant(Tensor),
    /// Stored integers and their meaning, from the caller or as a constant.
    Quantized(Tensor, Quant),
    QuantizedConstant(Tensor, Quant),
}

/// A graph of one node. Where `random` says so, operands and results pass through transposes,
/// so that they lie in memory in any order.
fn graph(
    op: &Op,
    given: &[Given],
    clamp: Clamp,
    results: &[Option<Quant>],
    random: &mut Random,
) -> (Graph, Vec<Tensor>) {
    let mut graph = Graph::default();
    let mut p = Patch::new(&mut graph);
    let mut ids = Vec::new();
    let mut inputs = Vec::new();
    for (i, g) in given.iter().enumerate() {
        let (t, quant, constant) = match g {
            Given::Input(t) => (t, None, false),
            Given::Constant(t) => (t, None, true),
            Given::Quantized(t, q) => (t, Some(q.clone()), false),
            Given::QuantizedConstant(t, q) => (t, Some(q.clone()), true),
        };
        let dtype = if quant.is_some() { DType::F32 } else { t.dtype() };
        let id = if constant {
            let id = p.add_constant(&format!("c{i}"), t.clone());
            p.set_dtype(id, dtype);
            p.set_quant(id, quant);
            id
        } else {
            let perm = random.order(t.shape().len());
            let mut back = vec![0; perm.len()];
            perm.iter().enumerate().for_each(|(i, &a)| back[a] = i);
            let turned = t.transposed(&perm);
            let outer = p.add_input(&format!("x{i}"), dtype, turned.shape());
            let id = p.add_value(&format!("v{i}"), dtype, t.shape());
            p.set_quant(outer, quant.clone());
            p.set_quant(id, quant);
            p.add_node(&format!("t{i}"), ops::Transpose { perm: back }.into(), vec![Some(outer)], vec![id]);
            inputs.push(turned);
            id
        };
        ids.push(Some(id));
    }
    let operands: Vec<Option<ops::Operand<'_>>> = ids
        .iter()
        .map(|id| {
            let v = &p.graph()[id.unwrap()];
            Some(ops::Operand { dtype: v.dtype, shape: &v.shape, data: v.constant().map(|t| t.as_ref()) })
        })
        .collect();
    let types = op.infer(&operands).unwrap();
    let mut outs = Vec::new();
    let mut ends = Vec::new();
    for (i, ty) in types.iter().enumerate() {
        let id = p.add_value(&format!("y{i}"), ty.dtype, &ty.shape);
        p.set_quant(id, results.get(i).cloned().flatten());
        let perm = random.order(ty.shape.len());
        let shape: Vec<usize> = perm.iter().map(|&a| ty.shape[a]).collect();
        let end = p.add_value(&format!("z{i}"), ty.dtype, &shape);
        p.set_quant(end, results.get(i).cloned().flatten());
        outs.push(id);
        ends.push((id, end, perm));
    }
    let node = p.add_node("op", op.clone(), ids, outs);
    p.node_mut(node).clamp = clamp;
    for (id, end, perm) in ends {
        p.add_node("end", ops::Transpose { perm }.into(), vec![Some(id)], vec![end]);
        p.add_output(end);
    }
    (graph, inputs)
}

fn compiled(graph: &Graph) -> Program {
    crate::graph::verify(graph).unwrap();
    let schedule = crate::schedule::schedule(graph, &host(), crate::options::Optimize::Balanced).unwrap();
    let program = lower(graph, &schedule).unwrap();
    crate::program::prove(&program).unwrap_or_else(|e| panic!("{e}"));
    program
}

/// Runs a float or integer node and compares with `graph::run`.
fn check(op: impl Into<Op>, given: &[Given], clamp: Clamp, random: &mut Random) {
    let op = op.into();
    let (graph, inputs) = graph(&op, given, clamp, &[], random);
    let want = crate::graph::run(&graph, &inputs).unwrap();
    let got = Machine::new(&compiled(&graph)).unwrap().run(&inputs).unwrap();
    for (want, got) in want.iter().zip(&got) {
        assert_eq!(want.shape(), got.shape());
        assert_eq!(want.dtype(), got.dtype());
        for (w, g) in want.to_f64_vec().iter().zip(got.to_f64_vec()) {
            let near = (w - g).abs() <= 2e-6 * w.abs().max(1.0);
            assert!(near || (w.is_nan() && g.is_nan()) || *w == g, "{op:?}: want {w}, got {g}");
        }
    }
}

/// Counts of compared values, and of those that differ by one step.
#[derive(Debug, Default)]
struct Tally {
    all: usize,
    off: usize,
}

/// Runs a quantized node and compares with dequantize, float meaning, quantize: at most one
/// step apart everywhere.
fn check_int8(
    op: impl Into<Op>,
    given: &[Given],
    clamp: Clamp,
    result: &Quant,
    random: &mut Random,
    tally: &mut Tally,
) {
    let op = op.into();
    let (graph, inputs) = graph(&op, given, clamp, &vec![Some(result.clone()); 4], random);
    let reals: Vec<Tensor> = inputs
        .iter()
        .zip(graph.inputs())
        .map(|(t, id)| match &graph[*id].quant {
            Some(q) => crate::graph::dequantize(t, q).unwrap(),
            None => t.clone(),
        })
        .collect();
    let want = crate::graph::run(&graph, &reals).unwrap();
    let got = Machine::new(&compiled(&graph)).unwrap().run(&inputs).unwrap();
    for (want, got) in want.iter().zip(&got) {
        let stored = got.to_i64_vec();
        for (w, g) in want.to_f32_vec().iter().zip(stored) {
            let w = i64::from(quantize(*w, result.scale[0], result.zero_point[0], -128, 127));
            tally.all += 1;
            tally.off += usize::from(w != g);
            assert!(
                (w - g).abs() <= 1,
                "{op:?} {clamp:?} to {result:?}: want {w}, got {g}; given {:?}",
                &graph.inputs().iter().map(|i| graph[*i].quant.clone()).collect::<Vec<_>>()
            );
        }
    }
}

fn clamps(random: &mut Random) -> Clamp {
    match random.below(4) {
        0 => Clamp { lo: 0.0, hi: f32::INFINITY },
        1 => Clamp { lo: 0.0, hi: 2.5 },
        _ => Clamp::NONE,
    }
}

/// A shape that broadcasts to `shape`.
fn narrower(shape: &[usize], random: &mut Random) -> Vec<usize> {
    let cut = if random.below(3) == 0 { random.below(shape.len() + 1) } else { 0 };
    shape[cut..].iter().map(|&n| if random.below(3) == 0 { 1 } else { n }).collect()
}

fn ariths() -> [Op; 4] {
    [ops::Add.into(), ops::Sub.into(), ops::Mul.into(), ops::Div.into()]
}

#[test]
fn arithmetic_broadcasts_in_float_and_integers() {
    let mut r = Random(1);
    let types = [
        DType::F32,
        DType::F32,
        DType::I32,
        DType::I64,
        DType::U8,
        DType::I8,
        DType::I16,
        DType::U32,
        DType::U16,
    ];
    for _ in 0..150 {
        let dtype = r.pick(&types);
        let rank = r.below(5);
        let shape = r.shape(rank);
        let (mut a, mut b) = (shape.clone(), narrower(&shape, &mut r));
        if r.below(2) == 0 {
            std::mem::swap(&mut a, &mut b);
        }
        let op = ariths()[r.below(4)].clone();
        let a = r.tensor(dtype, &a);
        let mut b = r.tensor(dtype, &b);
        if matches!(op, Op::Div(_)) && dtype != DType::F32 {
            let nonzero: Vec<i64> = b.to_i64_vec().iter().map(|&v| if v == 0 { 3 } else { v }).collect();
            b = Tensor::new(b.shape().to_vec(), Data::from_i64(dtype, &nonzero)).unwrap();
        }
        let b = if r.below(2) == 0 { Given::Constant(b) } else { Given::Input(b) };
        let clamp = if dtype == DType::F32 { clamps(&mut r) } else { Clamp::NONE };
        check(op, &[Given::Input(a), b], clamp, &mut r);
    }
}

/// Stored integers with the ends of the range well represented.
fn stored(shape: &[usize], r: &mut Random) -> Tensor {
    let n = shape.iter().product();
    let v = (0..n)
        .map(|_| if r.below(5) == 0 { r.pick(&[-128i8, 127, 0, -1]) } else { r.below(256) as u8 as i8 });
    Tensor::new(shape.to_vec(), Data::I8(v.collect())).unwrap()
}

fn quantized(shape: &[usize], spread: f32, r: &mut Random) -> Given {
    Given::Quantized(stored(shape, r), r.quant(spread))
}

#[test]
fn int8_arithmetic_is_within_one_step() {
    let mut r = Random(2);
    let mut tally = Tally::default();
    for _ in 0..400 {
        let shape = r.shape(3);
        let (mut a, mut b) = (shape.clone(), narrower(&shape, &mut r));
        if r.below(2) == 0 {
            std::mem::swap(&mut a, &mut b);
        }
        let op = ariths()[r.below(4)].clone();
        let spreads = [0.02f32, 0.02, 0.1, 1e-4, 5.0, 300.0];
        let a = quantized(&a, r.pick(&spreads), &mut r);
        let b = match (r.below(3), quantized(&b, r.pick(&spreads), &mut r)) {
            (0, Given::Quantized(t, q)) => Given::QuantizedConstant(t, q),
            (_, b) => b,
        };
        // A zero divisor gives infinities in float and NaN for 0 / 0: not compared here.
        let b = match b {
            Given::Quantized(t, q) if matches!(op, Op::Div(_)) => {
                Given::Quantized(without(&t, q.zero_point[0]), q)
            }
            Given::QuantizedConstant(t, q) if matches!(op, Op::Div(_)) => {
                Given::QuantizedConstant(without(&t, q.zero_point[0]), q)
            }
            b => b,
        };
        let spread = r.pick(&[0.02f32, 0.05, 1.0, 40.0]);
        let result = r.quant(spread);
        check_int8(op, &[a, b], clamps(&mut r), &result, &mut r, &mut tally);
    }
    assert!(tally.off * 100 < tally.all, "{tally:?}");
}

/// The stored integers with one value replaced by its neighbour.
fn without(t: &Tensor, gone: i32) -> Tensor {
    let other = if gone == 127 { 126 } else { gone + 1 };
    let v = t.to_i64_vec().into_iter().map(|v| if v == i64::from(gone) { other as i8 } else { v as i8 });
    Tensor::new(t.shape().to_vec(), Data::I8(v.collect())).unwrap()
}

fn unaries() -> Vec<Op> {
    vec![
        ops::Relu.into(),
        ops::Clip { min: Some(-1.0), max: Some(2.0) }.into(),
        ops::Clip { min: None, max: Some(0.5) }.into(),
        ops::LeakyRelu { alpha: 0.1 }.into(),
        ops::HardSigmoid { alpha: 0.2, beta: 0.5 }.into(),
        ops::HardSwish.into(),
        ops::Sigmoid.into(),
        ops::Tanh.into(),
    ]
}

#[test]
fn unary_operators_in_float_and_by_table() {
    let mut r = Random(3);
    let mut tally = Tally::default();
    for op in unaries() {
        for _ in 0..6 {
            let shape = {
                let rank = 1 + r.below(4);
                r.shape(rank)
            };
            let x = Given::Input(r.tensor(DType::F32, &shape));
            check(op.clone(), &[x], clamps(&mut r), &mut r);
            let x = quantized(&shape, 0.05, &mut r);
            let result = r.quant(0.01);
            check_int8(op.clone(), &[x], clamps(&mut r), &result, &mut r, &mut tally);
        }
    }
    assert_eq!(tally.off, 0, "tables are exact");
    let ints = [DType::I8, DType::I16, DType::I32, DType::I64];
    for dtype in ints {
        let x = r.tensor(dtype, &[3, 4]);
        check(ops::Relu, &[Given::Input(x.clone())], Clamp::NONE, &mut r);
        check(ops::Clip { min: Some(-3.0), max: Some(90.0) }, &[Given::Input(x)], Clamp::NONE, &mut r);
    }
}

#[test]
fn batch_normalization_per_channel() {
    let mut r = Random(4);
    let mut tally = Tally::default();
    for run_time in [false, true, false, false] {
        let shape = r.shape(4);
        let c = [shape[1]];
        let var = Tensor::f32(&c, (0..c[0]).map(|_| r.real().abs() + 0.1).collect());
        let params = [r.tensor(DType::F32, &c), r.tensor(DType::F32, &c), r.tensor(DType::F32, &c), var];
        let mut given = vec![Given::Input(r.tensor(DType::F32, &shape))];
        given.extend(params.map(|p| if run_time { Given::Input(p) } else { Given::Constant(p) }));
        let op = ops::BatchNormalization { epsilon: 1e-5 };
        check(op.clone(), &given, clamps(&mut r), &mut r);
        if !run_time {
            given[0] = quantized(&shape, 0.03, &mut r);
            let result = r.quant(0.1);
            check_int8(op, &given, clamps(&mut r), &result, &mut r, &mut tally);
        }
    }
}

#[test]
fn elements_are_moved_as_the_operators_say() {
    let mut r = Random(5);
    let mut tally = Tally::default();
    for round in 0..60 {
        let dtype = r.pick(&[DType::F32, DType::I64, DType::U8, DType::Bool, DType::I8]);
        let rank = 2 + r.below(3);
        let shape = r.shape(rank);
        let x = r.tensor(dtype, &shape);
        let axis = r.below(rank);
        let mut other = shape.clone();
        other[axis] = 1 + r.below(3);
        let perm = r.order(rank);
        let total: usize = shape.iter().product();
        let flat = vec![shape[0], total / shape[0]];
        let starts: Vec<usize> = shape.iter().map(|&n| r.below(n)).collect();
        let steps: Vec<i64> = shape.iter().map(|_| r.pick(&[1, -1, 2, -2])).collect();
        let sizes = (0..rank)
            .map(|a| {
                let room = if steps[a] > 0 { shape[a] - 1 - starts[a] } else { starts[a] };
                1 + r.below(room / steps[a].unsigned_abs() as usize + 1)
            })
            .collect();
        let mode = r.pick(&[PadMode::Constant, PadMode::Edge, PadMode::Reflect, PadMode::Wrap]);
        let pads = (0..2 * rank)
            .map(|i| match mode {
                PadMode::Constant => r.below(4) as i64 - i64::from(shape[i % rank] > 3),
                PadMode::Reflect => r.below(shape[i % rank]) as i64,
                _ => r.below(shape[i % rank] + 1) as i64,
            })
            .collect();
        let mut wide = vec![2];
        wide.extend(&shape);
        let index: Vec<i64> = (0..3).map(|_| r.below(2 * shape[axis]) as i64 - shape[axis] as i64).collect();
        let index = Tensor::i64(if round % 2 == 0 { &[3, 1] } else { &[3] }, index);
        let one = Tensor::i64(&[], vec![-1]);
        let at = r.below(shape[axis]);
        let y = r.tensor(dtype, &other);
        let input = Given::Input;
        let cases: Vec<(Op, Vec<Given>)> = vec![
            (ops::Transpose { perm }.into(), vec![input(x.clone())]),
            (ops::Reshape { shape: flat }.into(), vec![input(x.clone())]),
            (ops::Reshape { shape: vec![total] }.into(), vec![input(x.clone())]),
            (ops::Concat { axis }.into(), vec![input(x.clone()), input(y.clone()), input(x.clone())]),
            (ops::Split { axis, sizes: vec![at, shape[axis] - at] }.into(), vec![input(x.clone())]),
            (ops::Slice { starts, steps, sizes }.into(), vec![input(x.clone())]),
            (ops::Expand { shape: wide }.into(), vec![input(x.clone())]),
            (ops::Gather { axis }.into(), vec![input(x.clone()), input(index.clone())]),
            (ops::Gather { axis }.into(), vec![input(x.clone()), Given::Constant(index)]),
            (ops::Gather { axis }.into(), vec![input(x.clone()), Given::Constant(one)]),
            (ops::Pad { mode, pads, value: 1.0 }.into(), vec![input(x.clone())]),
            (ops::Identity.into(), vec![input(x.clone())]),
        ];
        for (op, given) in cases {
            check(op.clone(), &given, Clamp::NONE, &mut r);
            // The same move on quantized values; Concat and the others may change the scale.
            let quants: Vec<Quant> = (0..given.len()).map(|_| r.quant(0.05)).collect();
            let given: Vec<Given> = given
                .iter()
                .zip(&quants)
                .map(|(g, q)| match g {
                    Given::Input(t) if t.dtype() == dtype && t.shape() != [3] && t.shape() != [3, 1] => {
                        Given::Quantized(stored(t.shape(), &mut r), q.clone())
                    }
                    g => g.clone(),
                })
                .collect();
            let Given::Quantized(_, first) = &given[0] else { continue };
            let result = if r.below(2) == 0 { first.clone() } else { r.quant(0.05) };
            check_int8(op, &given, Clamp::NONE, &result, &mut r, &mut tally);
        }
    }
    assert_eq!(tally.off, 0, "moves are exact");
}

#[test]
fn casts_and_quantizers() {
    let mut r = Random(6);
    let types = [
        DType::F32,
        DType::I8,
        DType::U8,
        DType::I16,
        DType::U16,
        DType::I32,
        DType::U32,
        DType::I64,
        DType::Bool,
    ];
    for from in types {
        for to in types {
            let x = r.tensor(from, &[2, 7]);
            check(ops::Cast { to }, &[Given::Input(x)], Clamp::NONE, &mut r);
        }
    }
    for dtype in [DType::I8, DType::U8, DType::I16, DType::U16] {
        for axis in [None, Some(1)] {
            let x = Tensor::f32(&[2, 3, 4], (0..24).map(|_| r.real() * 300.0).collect());
            let n: &[usize] = if axis.is_some() { &[3] } else { &[] };
            let count = n.iter().product();
            let scale = Tensor::f32(n, (0..count).map(|_| 0.1 + r.real().abs()).collect());
            let zero = r.tensor(dtype, n);
            let parameters = [Given::Input(scale.clone()), Given::Constant(zero.clone())];
            let given = [&[Given::Input(x)], parameters.as_slice()].concat();
            check(ops::QuantizeLinear { axis, dtype }, &given, Clamp::NONE, &mut r);
            let given = [&[Given::Input(r.tensor(dtype, &[2, 3, 4]))], parameters.as_slice()].concat();
            check(ops::DequantizeLinear { axis }, &given, Clamp::NONE, &mut r);
        }
    }
    // Between floats and quantized values, at the border of an integer part.
    let mut tally = Tally::default();
    for _ in 0..20 {
        let shape = r.shape(3);
        let x = Given::Input(r.tensor(DType::F32, &shape));
        let result = r.quant(0.02);
        check_int8(ops::Requantize, &[x], clamps(&mut r), &result, &mut r, &mut tally);
        let x = quantized(&shape, 0.05, &mut r);
        check_int8(ops::Requantize, &[x], clamps(&mut r), &result, &mut r, &mut tally);
        let Given::Quantized(t, q) = quantized(&shape, 0.05, &mut r) else { continue };
        let (graph, inputs) =
            graph(&ops::Requantize.into(), &[Given::Quantized(t, q.clone())], Clamp::NONE, &[], &mut r);
        let want = crate::graph::run(&graph, &[crate::graph::dequantize(&inputs[0], &q).unwrap()]).unwrap();
        let got = Machine::new(&compiled(&graph)).unwrap().run(&inputs).unwrap();
        assert_eq!(want, got);
    }
    assert_eq!(tally.off, 0);
}

#[test]
fn windows_with_all_kinds_of_borders() {
    let mut r = Random(7);
    let mut tally = Tally::default();
    let mut done = 0;
    while done < 120 {
        let axes = 1 + r.below(2);
        let mut shape = vec![1 + r.below(2), 1 + r.below(4)];
        shape.extend((0..axes).map(|_| 3 + r.below(7)));
        let list = |r: &mut Random, least: usize, n: usize, count: usize| -> Vec<usize> {
            (0..count).map(|_| least + r.below(n)).collect()
        };
        let kernel = list(&mut r, 1, 3, axes);
        let strides = list(&mut r, 1, 3, axes);
        let dilations = if r.below(3) == 0 { list(&mut r, 1, 2, axes) } else { vec![1; axes] };
        let pads: Vec<usize> = (0..2 * axes).map(|i| r.below(kernel[i % axes])).collect();
        let ceil_mode = r.below(2) == 0;
        let count_include_pad = r.below(2) == 0;
        let max = ops::MaxPool {
            kernel: kernel.clone(),
            strides: strides.clone(),
            pads: pads.clone(),
            dilations: dilations.clone(),
            ceil_mode,
        };
        let average = ops::AveragePool { kernel, strides, pads, dilations, ceil_mode, count_include_pad };
        let x = r.tensor(DType::F32, &shape);
        let operand = ops::Operand { dtype: DType::F32, shape: &shape, data: None };
        if Op::from(max.clone()).infer(&[Some(operand)]).is_err() {
            continue;
        }
        done += 1;
        check(max.clone(), &[Given::Input(x.clone())], clamps(&mut r), &mut r);
        check(average.clone(), &[Given::Input(x)], clamps(&mut r), &mut r);
        let x = quantized(&shape, 0.05, &mut r);
        let Given::Quantized(_, own) = &x else { continue };
        let result = if r.below(2) == 0 { own.clone() } else { r.quant(0.04) };
        let mut exact = Tally::default();
        check_int8(max, std::slice::from_ref(&x), clamps(&mut r), &result, &mut r, &mut exact);
        assert_eq!(exact.off, 0);
        check_int8(average, &[x], clamps(&mut r), &result, &mut r, &mut tally);
    }
    // What differs are ties of a mean, which float rounds to even and integers up.
    assert!(tally.off * 10 < tally.all, "{tally:?}");
    for dtype in [DType::U8, DType::I8] {
        let x = r.tensor(dtype, &[1, 2, 6, 6]);
        let op = ops::MaxPool {
            kernel: vec![3, 3],
            strides: vec![2, 2],
            pads: vec![1; 4],
            dilations: vec![1; 2],
            ceil_mode: false,
        };
        check(op, &[Given::Input(x)], Clamp::NONE, &mut r);
    }
}

#[test]
fn reductions_over_any_axes() {
    let mut r = Random(8);
    let mut tally = Tally::default();
    for _ in 0..40 {
        let rank = 2 + r.below(3);
        let shape = r.shape(rank);
        let axes: Vec<usize> = (0..rank).filter(|_| r.below(2) == 0).collect();
        let keepdims = r.below(2) == 0;
        let mut cases: Vec<Op> = vec![ops::ReduceMean { axes, keepdims }.into()];
        if rank > 2 {
            cases.push(ops::GlobalAveragePool.into());
            cases.push(ops::GlobalMaxPool.into());
        }
        for op in cases {
            let x = Given::Input(r.tensor(DType::F32, &shape));
            check(op.clone(), &[x], clamps(&mut r), &mut r);
            let x = quantized(&shape, 0.05, &mut r);
            let result = r.quant(0.04);
            check_int8(op, &[x], clamps(&mut r), &result, &mut r, &mut tally);
        }
        let axis = r.below(rank);
        let op = ops::ArgMax { axis, keepdims, select_last_index: r.below(2) == 0 };
        for dtype in [DType::F32, DType::I32, DType::I64, DType::U8] {
            check(op.clone(), &[Given::Input(r.tensor(dtype, &shape))], Clamp::NONE, &mut r);
        }
        // Few distinct values, so that ties are common.
        let ties = (0..shape.iter().product()).map(|_| r.below(3) as i8).collect();
        let ties = Tensor::new(shape.clone(), Data::I8(ties)).unwrap();
        check(op, &[Given::Input(ties)], Clamp::NONE, &mut r);
    }
    assert!(tally.off * 20 < tally.all, "{tally:?}");
}

#[test]
fn softmax_and_its_logarithm() {
    let mut r = Random(9);
    let mut tally = Tally::default();
    for round in 0..60 {
        let rank = 1 + r.below(3);
        let mut shape = r.shape(rank);
        let axis = r.below(rank);
        if round % 3 == 0 {
            shape[axis] = 40 + r.below(300);
        }
        let flatten = r.below(3) == 0;
        let ops: [Op; 2] = [ops::Softmax { axis, flatten }.into(), ops::LogSoftmax { axis, flatten }.into()];
        for (i, op) in ops.into_iter().enumerate() {
            let x = Given::Input(r.tensor(DType::F32, &shape));
            check(op.clone(), &[x], Clamp::NONE, &mut r);
            let spread = r.pick(&[0.3f32, 0.05, 0.004, 3.0]);
            let x = quantized(&shape, spread, &mut r);
            let result = match (i, r.below(2)) {
                (0, 0) => Quant::per_tensor(DType::I8, 1.0 / 256.0, -128),
                (0, _) => r.quant(0.004),
                (_, 0) => Quant::per_tensor(DType::I8, 16.0 / 256.0, 127),
                _ => r.quant(spread),
            };
            check_int8(op, &[x], Clamp::NONE, &result, &mut r, &mut tally);
        }
    }
    assert!(tally.off * 50 < tally.all, "{tally:?}");
}
