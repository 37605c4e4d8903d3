//! The compiled evaluator against the plain meaning: random kernels with a fixed seed, and the
//! loops that lowering writes. The same random kernels check the simplifier and the prover.

use crate::error::Result;
use crate::kernel::affine::Affine;
use crate::kernel::interval::Interval;
use crate::kernel::simplify;
use crate::kernel::{
    Access, BinOp, Buf, Expr, Instr, Kernel, KernelBuilder, ParamKind, Ty, UnOp, Val, Var, VarId, instr, int,
    print,
};
use crate::program::machine::compile::{Bound, Compiler};
use crate::program::machine::env::{Base, Env, Mem};
use crate::program::machine::interpret;
use crate::program::machine::memory::{Memory, Slice};
use crate::program::prove_kernel;
use crate::tensor::DType;
use std::sync::Arc;

/// A fixed sequence (PCG of O'Neill, 32 bits of output).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        let old = self.0;
        self.0 = old.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (((old >> 18) ^ old) >> 27) as u32
    }
    fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n
    }
    fn within(&mut self, lo: i32, hi: i32) -> i32 {
        lo + self.below((hi - lo + 1) as usize) as i32
    }
    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// One region of random bytes per buffer, floats of moderate size.
fn memory(kernel: &Kernel, r: &mut Random) -> (Memory, Vec<Slice>) {
    let mut memory = Memory::default();
    let mut slices = Vec::new();
    for (region, (elem, len)) in kernel
        .params
        .iter()
        .filter_map(
            |p| if let ParamKind::Buffer { elem, len, .. } = p.kind { Some((elem, len)) } else { None },
        )
        .enumerate()
    {
        let bytes = match elem {
            DType::F32 => (0..len).flat_map(|_| (r.within(-999, 999) as f32 / 64.0).to_le_bytes()).collect(),
            DType::Bool => (0..len).map(|_| r.below(2) as u8).collect(),
            // Small numbers, so that most kernels run without overflow.
            DType::I32 => (0..len).flat_map(|_| r.within(-2000, 2000).to_le_bytes()).collect(),
            elem => (0..len * elem.size()).map(|_| r.next() as u8).collect(),
        };
        memory.regions.push(bytes);
        slices.push(Slice { region, start: 0, len, elem });
    }
    (memory, slices)
}

/// Runs compiled code as it is chosen by cost.
fn compiled(kernel: &Kernel, slices: &[Slice], scalar: i32, memory: Memory) -> (Result<()>, Memory) {
    let (result, memory, _) = compiled_with(Compiler::default(), kernel, slices, scalar, memory);
    (result, memory)
}

/// Runs compiled code; also tells how many of its loops run in lanes.
fn compiled_with(
    compiler: Compiler,
    kernel: &Kernel,
    slices: &[Slice],
    scalar: i32,
    memory: Memory,
) -> (Result<()>, Memory, usize) {
    let mut env = Env { memory, ..Env::default() };
    let mut next = slices.iter();
    let bound = kernel
        .params
        .iter()
        .map(|p| match p.kind {
            ParamKind::Scalar { .. } => {
                Bound::Scalar(Affine::constant(scalar.into()), Interval::point(scalar))
            }
            ParamKind::Buffer { len, elem, .. } => {
                let s = next.next().unwrap();
                Bound::Buffer(Mem { region: s.region, base: Base::Fixed(s.start), len, elem })
            }
        })
        .collect();
    let (step, in_lanes) = crate::program::machine::compile_step(compiler, kernel, bound, &mut env).unwrap();
    (step.run)(&mut env);
    let result = env.failure.take().map_or(Ok(()), |f| Err(crate::program::machine::explain(f, &step.sites)));
    (result, env.memory, in_lanes)
}

/// Runs the plain meaning.
fn plain(kernel: &Kernel, slices: &[Slice], scalar: i32, mut memory: Memory) -> (Result<()>, Memory) {
    let mut next = slices.iter();
    let args: Vec<_> = kernel
        .params
        .iter()
        .map(|p| match p.kind {
            ParamKind::Scalar { .. } => interpret::Bound::Scalar(scalar),
            ParamKind::Buffer { .. } => interpret::Bound::Slice(*next.next().unwrap()),
        })
        .collect();
    let result = interpret::run(kernel, &args, &mut memory);
    (result, memory)
}

/// Where two memories differ. Which NaN an operation gives is open (compilers swap operands),
/// so any two are equal.
fn first_difference(elem: DType, a: &[u8], b: &[u8]) -> Option<(usize, String)> {
    let size = elem.size();
    a.chunks(size).zip(b.chunks(size)).enumerate().find_map(|(i, (a, b))| {
        let nan = |v: &[u8]| elem == DType::F32 && crate::program::machine::memory::get_f32(v, 0).is_nan();
        (a != b && !(nan(a) && nan(b))).then(|| (i, format!("{a:02x?} {b:02x?}")))
    })
}

/// Compiled, by cost and in lanes wherever legal, and plain give the same memory, or all
/// refuse. Returns whether it ran.
fn check(kernel: &Kernel, seed: u64) -> bool {
    check_in_lanes(kernel, seed).is_some()
}

/// As [`check`]; if it ran, how many loops ran in lanes where that was legal.
fn check_in_lanes(kernel: &Kernel, seed: u64) -> Option<usize> {
    let mut r = Random(seed);
    let (memory, slices) = memory(kernel, &mut r);
    let scalar = 3;
    let (want, expected) = plain(kernel, &slices, scalar, memory.clone());
    let mut loops = 0;
    for always_lanes in [false, true] {
        let compiler = Compiler { always_lanes, ..Compiler::default() };
        let (got, actual, in_lanes) = compiled_with(compiler, kernel, &slices, scalar, memory.clone());
        loops = in_lanes;
        match (&want, &got) {
            (Ok(()), Ok(())) => {
                for (s, (a, b)) in slices.iter().zip(expected.regions.iter().zip(&actual.regions)) {
                    let differ = first_difference(s.elem, a, b);
                    assert!(differ.is_none(), "region {} differs: {differ:?}\n{}", s.region, print(kernel));
                }
            }
            (Err(_), Err(_)) => {}
            (a, b) => panic!("meaning: {a:?}, compiled: {b:?}\n{}", print(kernel)),
        }
    }
    want.is_ok().then_some(loops)
}

/// Writes random kernels.
struct Writer<'r> {
    r: &'r mut Random,
    reads: Vec<Buf>,
    writes: Vec<Buf>,
    loops: Vec<Val>,
    /// Immutable and mutable scalars in scope.
    ints: Vec<Val>,
    floats: Vec<Val>,
    mutable_ints: Vec<Val>,
    mutable_floats: Vec<Val>,
    param: Val,
    halve: Arc<Instr>,
    /// Iterations that inner loops may still multiply, so that tests stay fast.
    budget: i32,
}

impl Writer<'_> {
    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { Some(from[self.r.below(from.len())]) }
    }
    /// Mostly affine in the loop variables, mostly inside.
    fn index(&mut self, buf: Buf) -> Expr {
        if self.r.chance(10) {
            // A table lookup.
            return (self.int(1) & 63) + self.r.within(0, 3);
        }
        let mut e = int(self.r.within(0, 6));
        for v in self.loops.clone() {
            if self.r.chance(70) {
                e = e + v * self.r.within(-1, 12);
            }
        }
        if self.r.chance(20)
            && let Some(v) = self.pick(&self.ints.clone())
        {
            e = e + v.clamp(0, 3);
        }
        if self.r.chance(90) { e.clamp(0, buf.len as i32 - 1) } else { e }
    }
    fn affine_index(&mut self) -> Expr {
        let mut e = int(self.r.within(0, 9));
        for v in self.loops.clone() {
            e = e + v * self.r.within(0, 5);
        }
        e
    }
    fn load(&mut self, float: bool) -> Option<Expr> {
        let bufs: Vec<Buf> = self.reads.iter().copied().filter(|b| b.elem.is_float() == float).collect();
        let buf = self.pick(&bufs)?;
        let index = if self.r.chance(75) { self.affine_index() } else { self.index(buf) };
        Some(buf.at(index))
    }
    fn int(&mut self, depth: usize) -> Expr {
        if depth == 0 || self.r.chance(15) {
            return match self.r.below(6) {
                0 => int(self.r.within(-9, 9)),
                1 => self.param.into(),
                2 => self.pick(&self.loops.clone()).map_or(int(1), Expr::from),
                3 => self.pick(&self.ints.clone()).map_or(int(2), Expr::from),
                4 => self.pick(&self.mutable_ints.clone()).map_or(int(3), Expr::from),
                _ => self.load(false).unwrap_or(int(4)),
            };
        }
        let (a, b) = (self.int(depth - 1), self.int(depth - 1));
        match self.r.below(16) {
            0..=2 => a + b,
            3..=5 => a - b,
            6..=7 => a.clamp(-300, 300) * b.clamp(-300, 300),
            8 => a.min(b),
            9 => a.max(b),
            10 => a >> (b & 7),
            11 => (a & b) ^ 5,
            12 => a.lt(b),
            13 => a.equals(b).select(self.int(depth - 1), self.int(0)),
            14 => a / ((b & 15) + 1),
            _ => match self.r.below(4) {
                0 => instr(&self.halve, vec![a, b]),
                2 => self.float(1).order() >> 20,
                1 => ((a.i64() * b.i64()) >> 3).clamp(-500i64, 500i64).i32(),
                _ => self.float(1).clamp(-99.0f32, 99.0f32).i32(),
            },
        }
    }
    fn float(&mut self, depth: usize) -> Expr {
        if depth == 0 || self.r.chance(15) {
            return match self.r.below(4) {
                0 => Expr::from(self.r.within(-9, 9) as f32 / 4.0),
                1 => self.pick(&self.floats.clone()).map_or(1.5f32.into(), Expr::from),
                2 => self.pick(&self.mutable_floats.clone()).map_or(2.5f32.into(), Expr::from),
                _ => self.load(true).unwrap_or(3.5f32.into()),
            };
        }
        let (a, b) = (self.float(depth - 1), self.float(depth - 1));
        match self.r.below(10) {
            0..=1 => a + b,
            2 => a - b,
            3..=4 => a * b,
            5 => a / b,
            6 => a.min(b),
            7 => a.max(b),
            8 => Expr::Unary(
                [UnOp::Neg, UnOp::Abs, UnOp::Tanh, UnOp::Floor, UnOp::Round][self.r.below(5)],
                Box::new(a),
            ),
            _ => match self.r.below(2) {
                0 => self.int(1).f32(),
                _ => a.lt(&b).select(b, a),
            },
        }
    }
    fn block(&mut self, k: &mut KernelBuilder, depth: usize) {
        let marks = (self.ints.len(), self.floats.len(), self.mutable_ints.len(), self.mutable_floats.len());
        for _ in 0..self.r.within(1, 4) {
            self.stmt(k, depth);
        }
        self.ints.truncate(marks.0);
        self.floats.truncate(marks.1);
        self.mutable_ints.truncate(marks.2);
        self.mutable_floats.truncate(marks.3);
    }
    fn stmt(&mut self, k: &mut KernelBuilder, depth: usize) {
        match self.r.below(13) {
            0..=3 if depth > 0 => {
                let (lo, step) = (self.r.within(0, 2), self.r.within(1, 3));
                let trips = if self.budget > 100 && self.r.chance(10) {
                    300
                } else {
                    self.r.within(1, 9).min(self.budget)
                };
                let budget = self.budget;
                self.budget = (budget / trips).max(1);
                let hi = if self.r.chance(80) {
                    int(lo + trips * step)
                } else {
                    self.pick(&self.loops.clone()).map_or(int(3), |v| v + 2)
                };
                k.for_step("i", lo, hi, step, |k, v| {
                    self.loops.push(v);
                    self.block(k, depth - 1);
                    self.loops.pop();
                });
                self.budget = budget;
            }
            4 => {
                let e = self.int(3);
                let v = k.let_("a", e);
                self.ints.push(v);
            }
            5 => {
                let e = self.float(3);
                let v = k.let_("b", e);
                self.floats.push(v);
            }
            6 => {
                let e = self.int(1);
                let v = k.var("m", e);
                self.mutable_ints.push(v);
            }
            7 => {
                let e = self.float(1);
                let v = k.var("f", e);
                self.mutable_floats.push(v);
            }
            8 => {
                if let Some(v) = self.pick(&self.mutable_ints.clone()) {
                    let e = self.int(2);
                    match self.r.below(5) {
                        0..=1 => k.add_to(v, e),
                        2 => k.set(v, v.max(e)),
                        3 => k.set(v, e.min(v)),
                        _ => k.set(v, e.clamp(-5000, 5000)),
                    }
                } else if let (Some(x), Some(y)) = (self.load(false), self.load(false)) {
                    // A sum of products of loads, as lowering writes them.
                    let acc = k.var("acc", 0);
                    k.for_("j", 0, self.r.within(2, 40).min(self.budget.max(2)), |k, j| {
                        let shift = |e: Expr| match e {
                            Expr::Load { buffer, index } => {
                                Expr::Load { buffer, index: Box::new(*index + j) }
                            }
                            e => e,
                        };
                        k.add_to(acc, (shift(x) - self.param) * shift(y));
                    });
                    self.mutable_ints.push(acc);
                }
            }
            9 => {
                if let Some(v) = self.pick(&self.mutable_floats.clone()) {
                    let e = self.float(2);
                    match self.r.below(4) {
                        0..=1 => k.add_to(v, e),
                        2 => k.set(v, v.max(e)),
                        _ => k.set(v, e),
                    }
                }
            }
            10 if depth > 0 => {
                let c = if self.r.chance(50) {
                    self.pick(&self.loops.clone()).map_or(int(1), |v| v.lt(3))
                } else {
                    self.int(2)
                };
                let mut half = |k: &mut KernelBuilder| self.block(k, depth - 1);
                let then_only = c != int(1);
                k.if_(c, &mut half);
                if then_only {
                    k.if_else(1, |_| {}, &mut half);
                }
            }
            _ => {
                let Some(buf) = self.pick(&self.writes.clone()) else { return };
                let index = if self.r.chance(60) { self.affine_index() } else { self.index(buf) };
                if buf.elem.is_float() {
                    let v = self.float(3);
                    k.store(buf, index, v);
                } else {
                    let v = self.int(3);
                    let v = if buf.elem == DType::I32 { v } else { v.clamp(-128, 127) };
                    k.store(buf, index, v);
                }
            }
        }
    }
}

/// `(a + b) >> 1` on halves, so that nothing overflows.
fn halve() -> Arc<Instr> {
    let var = |name: &str| Var { name: name.into(), ty: Ty::I32 };
    let half = |i| Expr::Var(VarId(i)) >> 1;
    Arc::new(Instr {
        name: "halve".into(),
        params: vec![var("a"), var("b")],
        result: Ty::I32,
        body: half(0) + half(1),
    })
}

fn random_kernel(seed: u64) -> Kernel {
    let mut r = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1));
    let mut k = KernelBuilder::new("random");
    let a = k.buffer("a", DType::I8, 2048, Access::Read);
    let b = k.buffer("b", DType::I16, 2048, Access::Read);
    let c = k.buffer("c", DType::F32, 2048, Access::Read);
    let x = k.buffer("x", DType::I8, 4096, Access::ReadWrite);
    let y = k.buffer("y", DType::I32, 4096, Access::ReadWrite);
    let z = k.buffer("z", DType::F32, 4096, Access::ReadWrite);
    let param = k.scalar("p", -9, 9);
    let mut w = Writer {
        r: &mut r,
        reads: vec![a, b, c, a, b, c, x, y, z],
        writes: vec![x, y, z],
        loops: vec![],
        ints: vec![],
        floats: vec![],
        mutable_ints: vec![],
        mutable_floats: vec![],
        param,
        halve: halve(),
        budget: 150,
    };
    for _ in 0..3 {
        w.block(&mut k, 3);
    }
    k.spelled().unwrap()
}

#[test]
fn random_kernels_mean_the_same_compiled() {
    let ran: Vec<usize> = (0..500).filter_map(|seed| check_in_lanes(&random_kernel(seed), seed)).collect();
    let loops: usize = ran.iter().sum();
    assert!(ran.len() > 200 && loops > 400, "only {} kernels with {loops} loops in lanes ran", ran.len());
}

#[test]
fn simplified_kernels_mean_the_same() {
    let mut shorter = 0;
    for seed in 0..300 {
        let kernel = random_kernel(seed);
        let simple = simplify(kernel.clone());
        crate::kernel::verify(&simple).unwrap();
        let mut r = Random(seed);
        let (memory, slices) = memory(&kernel, &mut r);
        let (want, expected) = plain(&kernel, &slices, 3, memory.clone());
        if want.is_err() {
            continue;
        }
        let (got, actual) = plain(&simple, &slices, 3, memory);
        got.unwrap_or_else(|e| panic!("{e}\n{}\n{}", print(&kernel), print(&simple)));
        for (s, (a, b)) in slices.iter().zip(expected.regions.iter().zip(&actual.regions)) {
            let differ = first_difference(s.elem, a, b);
            assert!(differ.is_none(), "{differ:?}\n{}\n{}", print(&kernel), print(&simple));
        }
        shorter += usize::from(print(&simple).len() < print(&kernel).len());
    }
    assert!(shorter > 60, "only {shorter} became shorter");
}

#[test]
fn proven_kernels_stay_inside() {
    let (mut proven, mut outside) = (0, 0);
    for seed in 0..500 {
        let kernel = random_kernel(seed);
        let ok = prove_kernel(&kernel).is_ok();
        let mut r = Random(seed);
        let (memory, slices) = memory(&kernel, &mut r);
        let (result, _) = plain(&kernel, &slices, 3, memory);
        let left = result.is_err_and(|e| e.message.contains("index"));
        assert!(!(ok && left), "proven, but leaves a buffer:\n{}", print(&kernel));
        proven += usize::from(ok);
        outside += usize::from(left);
    }
    assert!(proven > 50 && outside > 5, "{proven} proven, {outside} outside");
}

#[test]
fn overflow_is_seen() {
    let sum = |wide: bool, reps: i32| {
        let mut k = KernelBuilder::new("sum");
        let x = k.buffer("x", DType::I8, 256, Access::Read);
        let y = k.buffer("y", DType::I32, 1, Access::Write);
        let acc = if wide { k.var("acc", 0i64) } else { k.var("acc", 0) };
        k.for_("r", 0, reps, |k, _| {
            k.for_("i", 0, 256, |k, i| {
                let v = x.at(i) * x.at(i) * 1000;
                k.add_to(acc, if wide { v.i64() } else { v });
            });
        });
        k.store(y, 0, if wide { (acc >> 12).i32() } else { acc.into() });
        k.finish().unwrap()
    };
    assert!(check(&sum(true, 3), 5));
    assert!(!check(&sum(false, 3), 5));
    // Products of loads, summed without a pass of their own: refused at the last term.
    for (extra, fits) in [(0, true), (1, false)] {
        let mut k = KernelBuilder::new("dot");
        let x = k.buffer("x", DType::I8, 200, Access::Read);
        let y = k.buffer("y", DType::I32, 1, Access::Write);
        let acc = k.var("acc", 0);
        k.for_("i", 0, 200, |k, i| k.add_to(acc, (x.at(i) + 0) * x.at(i)));
        k.store(y, 0, acc);
        let kernel = k.finish().unwrap();
        let sum: i64 = {
            let (m, _) = memory(&kernel, &mut Random(9));
            m.regions[0].iter().map(|&b| i64::from(b as i8) * i64::from(b as i8)).sum()
        };
        let mut k = KernelBuilder::new("dot");
        let x = k.buffer("x", DType::I8, 200, Access::Read);
        let y = k.buffer("y", DType::I32, 1, Access::Write);
        let acc = k.var("acc", (i64::from(i32::MAX) - sum + extra) as i32);
        k.for_("i", 0, 200, |k, i| k.add_to(acc, x.at(i) * x.at(i)));
        k.store(y, 0, acc);
        assert_eq!(check(&k.finish().unwrap(), 9), fits);
    }
}

#[test]
fn failures_name_kernel_and_statement() {
    let mut k = KernelBuilder::new("store_s8");
    let x = k.buffer("x", DType::I8, 8, Access::Write);
    k.for_("i", 0, 8, |k, i| k.store(x, i, i * 32));
    let kernel = k.finish().unwrap();
    let (memory, slices) = memory(&kernel, &mut Random(1));
    let e = compiled(&kernel, &slices, 0, memory).0.unwrap_err();
    assert_eq!(
        e.to_string(),
        "kernel `store_s8`: 128 does not fit the element that it is stored to, in `x[i] = i * 32`"
    );
}

/// Results over their own operands, in memory that several buffers share.
#[test]
fn in_place_and_shifted() {
    for shift in [0usize, 1, 3, 64, 200] {
        let mut k = KernelBuilder::new("k");
        let x = k.buffer("x", DType::I8, 200, Access::Read);
        let y = k.buffer("y", DType::I8, 200, Access::Write);
        k.for_("i", 0, 200, |k, i| k.store(y, i, (x.at(i) >> 1) + 1));
        let kernel = k.finish().unwrap();
        let mut r = Random(shift as u64);
        let bytes: Vec<u8> = (0..400).map(|_| r.next() as u8).collect();
        let memory = Memory { regions: vec![bytes] };
        let slice = |start| Slice { region: 0, start, len: 200, elem: DType::I8 };
        let slices = [slice(0), slice(shift)];
        let (want, expected) = plain(&kernel, &slices, 0, memory.clone());
        let (got, actual) = compiled(&kernel, &slices, 0, memory);
        want.unwrap();
        got.unwrap();
        assert_eq!(expected.regions, actual.regions, "shifted by {shift}");
    }
}

#[test]
fn calls_slice_their_buffers() {
    let mut callee = KernelBuilder::new("row");
    let a = callee.buffer("a", DType::I8, 70, Access::Read);
    let b = callee.buffer("b", DType::I32, 1, Access::Write);
    let zero = callee.scalar("zero", -128, 127);
    let acc = callee.var("acc", 0);
    callee.for_("i", 0, 70, |k, i| k.add_to(acc, a.at(i) - zero));
    callee.store(b, 0, acc);
    let callee = callee.finish().unwrap();
    for (rows, fits) in [(9, true), (10, false)] {
        let mut k = KernelBuilder::new("k");
        let x = k.buffer("x", DType::I8, 650, Access::Read);
        let y = k.buffer("y", DType::I32, 10, Access::Write);
        k.for_("r", 0, rows, |k, row| {
            k.call(&callee, vec![x.from(row * 70), y.from(row), crate::kernel::CallArg::Scalar(row - 5)]);
        });
        assert_eq!(check(&k.finish().unwrap(), 3), fits);
    }
}

#[test]
fn operators_keep_their_order_on_floats() {
    // Sums of values that cancel: any other order gives another result.
    let mut k = KernelBuilder::new("k");
    let x = k.buffer("x", DType::F32, 1000, Access::Read);
    let y = k.buffer("y", DType::F32, 4, Access::Write);
    let (sum, top) = (k.var("sum", 0.0f32), k.var("top", -1.0e9f32));
    k.for_("i", 0, 10, |k, i| {
        k.for_("j", 0, 100, |k, j| {
            let v = k.let_("v", x.at(i * 100 + j) * 1.0e7f32 + x.at(j));
            k.add_to(sum, v * v - v);
            k.set(top, top.max(v));
        });
    });
    k.store(y, 0, sum);
    k.store(y, 1, top);
    let e = Expr::Binary(BinOp::Div, Box::new(sum.into()), Box::new(0.0f32.into()));
    k.store(y, 2, e.tanh());
    assert!(check(&k.finish().unwrap(), 77));
}
