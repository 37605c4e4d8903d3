//! Proves one call, runs it in the evaluator and on models of the cores: the tests' way to a kernel
//! without a graph.

use crate::arith::quant::{Clamp, Quant};
use crate::arith::requant::Shift;
use crate::call::{Bind, Call};
use crate::epilogue::Finish;
use crate::error::Result;
use crate::kernel::{Access, CallArg, Kernel, KernelBuilder, ParamId, ParamKind};
use crate::library::Library;
use crate::offer::{Candidate, ROWS_LIMIT, Want};
use crate::policy::Policy;
use crate::portable::conv::{Kernels, conv};
use crate::portable::dense::dense;
use crate::problem::{Geometry, Rows};
use crate::product::Product;
use crate::program::machine::Machine;
use crate::program::prove;
use crate::program::{Arg, Buffer, BufferId, Constant, ConstantId, Entry, Layer, Place, Port, Program, Step};
use crate::tensor::{DType, Data, Tensor};
use std::sync::Arc;

/// A small generator of numbers (Knuth's MMIX constants).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }
    /// Uniform over `lo..=hi`.
    pub fn within(&mut self, lo: i64, hi: i64) -> i64 {
        lo + (self.next() as i64).rem_euclid(hi - lo + 1)
    }
    /// I8 data; every third array holds the two extremes only.
    pub fn bytes(&mut self, n: usize) -> Vec<i8> {
        let extreme = self.next().is_multiple_of(3);
        (0..n)
            .map(|_| match extreme {
                true if self.next().is_multiple_of(2) => -128,
                true => 127,
                false => self.within(-128, 127) as i8,
            })
            .collect()
    }
    pub fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.within(-1000, 1000) as f32 / 500.0).collect()
    }
}

/// A product of random weights with zero points at the ends. Every fifth one's fit four bits; of every
/// fourth one, four rows at a time, a stretch is zero.
pub fn product(random: &mut Random, rows: usize, taps: usize, case: usize) -> Product {
    let (least, most) = if case % 5 == 4 { (-8, 7) } else { (-127, 127) };
    let mut w: Vec<i8> = (0..rows * taps).map(|_| random.within(least, most) as i8).collect();
    for four in w.chunks_mut(4 * taps).filter(|_| case % 4 == 3) {
        let (from, to) = (random.within(0, taps as i64 / 2), random.within(taps as i64 / 2, taps as i64));
        four.chunks_mut(taps).for_each(|row| row[from as usize..to as usize].fill(0));
    }
    let w = Tensor::new(vec![rows, taps], Data::I8(w)).unwrap();
    let b = (0..rows).map(|_| random.within(-5000, 5000) as i32).collect();
    let b = Tensor::new(vec![rows], Data::I32(b)).unwrap();
    let q = |scale, zp| Quant::per_tensor(DType::I8, scale, zp);
    let (x_zp, y_zp) = ([-128, 127, 3][case % 3], [0, -128, 127, -9][case % 4]);
    let clamp = if case.is_multiple_of(2) { Clamp::NONE } else { Clamp { lo: 0.0, hi: 6.0 } };
    let scale = 0.004 / (taps as f32).sqrt();
    let w_q = Quant { axis: Some(0), ..q(scale, 0) };
    let w_q = Quant { scale: vec![scale; rows], zero_point: vec![0; rows], ..w_q };
    let q_b = Quant { dtype: DType::I32, ..q(scale * 0.1, 0) };
    let (x_q, y_q) = (q(0.1, x_zp), q(0.05, y_zp));
    let mut product = Product::int((&w, &w_q), Some((&b, Some(&q_b))), &x_q, &y_q, clamp).unwrap();
    // Every third layer has a shift for each channel.
    if let (2, Finish::Int(r)) = (case % 3, &mut product.finish) {
        r.shift = Shift::Channel((0..rows).map(|c| r.at(c).s + c as u32 % 3).collect());
    }
    product
}

/// A convolution of one sample and group, channels last; `more`: strides, pads at top, left, bottom,
/// right.
pub fn geometry(
    cin: usize,
    cout: usize,
    input: [usize; 2],
    kernel: [usize; 2],
    more: [usize; 6],
) -> Geometry {
    let [sy, sx, top, left, bottom, right] = more;
    let out = |n: usize, pads: usize, k: usize, s: usize| (n + pads - k) / s + 1;
    let output = [out(input[0], top + bottom, kernel[0], sy), out(input[1], left + right, kernel[1], sx)];
    let lay = |c: usize, [h, w]: [usize; 2]| [c * h * w, 1, w * c, c];
    Geometry {
        batch: 1,
        groups: 1,
        cin,
        cout,
        input,
        output,
        kernel,
        strides: [sy, sx],
        dilations: [1, 1],
        pads: [top, left],
        x: lay(cin, input),
        y: lay(cout, output),
    }
}

/// What a way may spend where memory counts little.
pub fn want<'a>(library: &'a Library<'a>, policy: Policy<'a>) -> Want<'a> {
    Want { library, policy, rows_limit: ROWS_LIMIT }
}

/// Holds ways of a convolution against the plain loops, on any inputs and on the least and greatest alone.
pub fn hold_conv(g: &Geometry, product: &Product, ways: &[Candidate], random: &mut Random) {
    let plain = conv(g, product, Kernels::Packed).unwrap();
    let says = |way: &Candidate| format!("{}: {g:?}", way.way);
    hold(&plain, (g.x_len(), g.y_len()), product, ways, random, &says);
}

/// The same of a dense layer.
pub fn hold_dense(rows: &Rows, product: &Product, ways: &[Candidate], random: &mut Random) {
    let plain = dense(rows, product, false).unwrap();
    let says = |way: &Candidate| format!("{}: {rows:?}", way.way);
    hold(&plain, (rows.x_len(), rows.y_len()), product, ways, random, &says);
}

/// The lower byte that makes an end of sixteen bits of an end of eight.
fn widened(v: i8) -> u8 {
    if v == -128 { 0 } else { (v as u8) << 1 | 1 }
}

fn hold(
    plain: &Call,
    (x_len, y_len): (usize, usize),
    product: &Product,
    ways: &[Candidate],
    random: &mut Random,
    says: &dyn Fn(&Candidate) -> String,
) {
    let elem = product.finish.elem();
    for ends in [false, true] {
        let mut x = random.bytes(x_len);
        if ends {
            x.iter_mut().for_each(|v| *v = if *v < 0 { -128 } else { 127 });
        }
        let x = match product.operand {
            // The ends of sixteen bits for those of eight.
            DType::I16 => Data::I16(x.iter().map(|&v| i16::from_be_bytes([v as u8, widened(v)])).collect()),
            _ => Data::I8(x),
        };
        let x = [x];
        let result = run(plain, &x, elem, y_len);
        for way in ways {
            assert_eq!(run(&way.call, &x, elem, y_len), result, "{}", says(way));
        }
    }
}

/// Operands, results and workspace stand at multiples of so many bytes, the strictest that a kernel
/// asks for.
const ALIGN: usize = 128;

/// Where operands and results stand behind a multiple of [`ALIGN`]: what a schedule promises. A
/// workspace stands at its own promise.
const PROMISED: usize = 4;
const WORKSPACE: usize = 8;

/// Where a call's result stands.
#[derive(Clone, Copy)]
pub struct Placed {
    /// Where operand 0 stands.
    pub over: bool,
    /// Operands and result begin so many bytes behind a multiple of [`ALIGN`].
    pub from: usize,
}

impl Placed {
    pub fn apart() -> Placed {
        Placed { over: false, from: PROMISED }
    }
    pub fn over() -> Placed {
        Placed { over: true, from: PROMISED }
    }
}

/// The program of one call: operands are its inputs, the result (of `len`) its output.
pub fn program(call: &Call, operands: &[Data], (elem, len): (DType, usize), placed: Placed) -> Program {
    let mut p = Program { name: "trial".into(), ..Program::default() };
    let mut arena = 0usize;
    let mut port = |name: &str, elem: DType, len: usize| {
        let at = arena + placed.from.next_multiple_of(elem.size().min(8));
        arena = (at + len * elem.size()).next_multiple_of(ALIGN);
        Port { name: name.into(), shape: vec![len], elem, real: elem, declared: elem, affine: None, at }
    };
    let buffer = |elem, len, place| Buffer { name: "b".into(), elem, len, place, holds: None };
    let inputs = operands.iter().enumerate();
    p.inputs = inputs.map(|(i, data)| port(&format!("x{i}"), data.dtype(), data.len())).collect();
    p.outputs = vec![port("y", elem, len)];
    if placed.over {
        p.outputs[0].at = p.inputs[0].at;
    }
    for port in p.inputs.iter().chain(&p.outputs) {
        p.buffers.push(buffer(port.elem, port.len(), Place::Arena(port.at)));
    }
    // The workspace stands behind them.
    p.arena = arena;
    let result = BufferId(operands.len() as u32);
    let mut args = Vec::new();
    for (role, param) in call.args.iter().zip(&call.kernel.params) {
        args.push(match role {
            Bind::Operand(i) => Arg::Buffer { buffer: BufferId(*i as u32), offset: 0 },
            Bind::Result(_) | Bind::ResultInPlace | Bind::ResultCopied => {
                Arg::Buffer { buffer: result, offset: 0 }
            }
            Bind::Scalar(v) => Arg::Scalar(*v),
            Bind::Data { name, data, align } => {
                p.constants.push(Constant {
                    name: name.clone().into_owned(),
                    dtype: data.dtype(),
                    bytes: data.to_le_bytes(),
                    align: *align,
                });
                Arg::Constant { constant: ConstantId(p.constants.len() as u32 - 1), offset: 0 }
            }
            Bind::Workspace(offset) => {
                let ParamKind::Buffer { elem, len, .. } = param.kind else { panic!("not a buffer") };
                let at = arena + WORKSPACE + offset;
                p.arena = p.arena.max((at + len * elem.size()).next_multiple_of(ALIGN));
                p.buffers.push(buffer(elem, len, Place::Arena(at)));
                Arg::Buffer { buffer: BufferId(p.buffers.len() as u32 - 1), offset: 0 }
            }
        });
    }
    assert_eq!(args.len(), call.kernel.params.len());
    p.layers.push(Layer {
        name: "call".into(),
        op: String::new(),
        family: String::new(),
        output: "y".into(),
        output_shape: vec![len],
        macs: 0,
        live_macs: 0,
        weight_bytes: 0,
        live_bytes: 0,
    });
    p.entries.push(Entry {
        name: "run".into(),
        steps: vec![Step { layer: 0, kernel: call.kernel.clone(), args }],
    });
    p
}

/// A kernel `(operands.., result, lent, scalars..)` around one that changes its first buffer, which
/// operands must not be: it lends a copy, and what becomes of that stands behind the result.
pub fn lending(kernel: &Arc<Kernel>) -> Arc<Kernel> {
    let mut k = KernelBuilder::new("lending");
    let (mut from, mut result, mut lent) = (None, None, None);
    let mut args = Vec::new();
    for (i, param) in kernel.params.iter().enumerate() {
        let ParamKind::Buffer { elem, len, access } = param.kind else { continue };
        if access == Access::Write {
            let kept = kernel.buffer(ParamId(0)).map_or(0, |b| b.1);
            let y = k.buffer(&param.name, elem, len + kept, Access::Write);
            let keep = k.buffer("lent", DType::I8, kept, Access::ReadWrite);
            args[0] = keep.from(0);
            args.push(y.from(0));
            (result, lent) = (Some((y, len)), Some((keep, kept)));
        } else {
            let x = k.buffer(&param.name, elem, len, Access::Read);
            args.push(x.from(0));
            from = from.or(Some(x).filter(|_| i == 0));
        }
    }
    let (x, (y, len), (keep, kept)) = (from.unwrap(), result.unwrap(), lent.unwrap());
    let scalars = k.like(kernel, args.len());
    args.extend(scalars.into_iter().map(|s| CallArg::Scalar(s.into())));
    k.for_("i", 0, kept, |k, i| k.store(keep, i, x.at(i)));
    k.call(kernel, args);
    k.for_("i", 0, kept, |k, i| k.store(y, i + len, keep.at(i)));
    k.finish().unwrap()
}

/// The result of one call: what the kernel means, and what its native forms do on models of their
/// cores, which must be the same. A kernel that may write over operand 0 does that too.
pub fn run(call: &Call, operands: &[Data], elem: DType, len: usize) -> Data {
    let apart = run_placed(call, operands, (elem, len), Placed::apart());
    if call.in_place() {
        let over = run_placed(call, operands, (elem, len), Placed::over());
        assert_eq!(over, apart, "{} over its operand", call.kernel.name);
    }
    apart
}

/// The same for kernels whose operands and results may begin anywhere.
pub fn run_anywhere(call: &Call, operands: &[Data], elem: DType, len: usize) -> Data {
    let first = run(call, operands, elem, len);
    for over in [false, true].into_iter().take(1 + usize::from(call.in_place())) {
        for from in 1..4 {
            let result = run_placed(call, operands, (elem, len), Placed { over, from });
            assert_eq!(result, first, "{}, over its operand: {over}", call.kernel.name);
        }
    }
    first
}

fn run_placed(call: &Call, operands: &[Data], result: (DType, usize), placed: Placed) -> Data {
    let p = program(call, operands, result, placed);
    prove(&p).unwrap_or_else(|e| panic!("{e}"));
    let inputs: Vec<Tensor> =
        operands.iter().map(|d| Tensor::new(vec![d.len()], d.clone()).unwrap()).collect();
    let result = |machine: Result<Machine>| {
        let name = &call.kernel.name;
        let mut results = machine.unwrap().run(&inputs).unwrap_or_else(|e| panic!("{name}: {e}"));
        results.remove(0).into_data()
    };
    let meaning = result(Machine::new(&p));
    let native = result(Machine::of_natives(&p));
    assert_eq!(native, meaning, "{}: its instructions against its meaning", call.kernel.name);
    meaning
}
