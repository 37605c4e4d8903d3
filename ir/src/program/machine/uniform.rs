//! Scalar code: closures that compute one value. Sums of slots stay symbolic as long as they
//! can, so that indices cost one closure.

use crate::kernel::affine::Affine;
use crate::kernel::{BinOp, Ty, UnOp, scalar};
use crate::program::machine::env::{Env, Fault, Mem, Site};
use crate::program::machine::memory::{Integer, get_f32, with_integer};

pub(crate) type IntFn = Box<dyn Fn(&mut Env) -> i64 + Send + Sync>;
pub(crate) type FloatFn = Box<dyn Fn(&mut Env) -> f32 + Send + Sync>;

/// Code of an integer; the symbols of the affine form are slots.
pub(crate) enum Int {
    Affine(Affine),
    Code(IntFn),
}

impl Int {
    pub(crate) fn constant(v: i64) -> Int {
        Int::Affine(Affine::constant(v))
    }
    fn as_constant(&self) -> Option<i64> {
        match self {
            Int::Affine(a) if a.terms.is_empty() => Some(a.constant),
            _ => None,
        }
    }
    pub(crate) fn code(self) -> IntFn {
        let a = match self {
            Int::Code(f) => return f,
            Int::Affine(a) => a,
        };
        let c = a.constant;
        match a.terms[..] {
            [] => Box::new(move |_| c),
            [(s, 1)] if c == 0 => Box::new(move |env| env.ints[s]),
            [(s, k)] => Box::new(move |env| env.ints[s] * k + c),
            [(s, k), (t, l)] => Box::new(move |env| env.ints[s] * k + env.ints[t] * l + c),
            [(s, k), (t, l), (u, m)] => {
                Box::new(move |env| env.ints[s] * k + env.ints[t] * l + env.ints[u] * m + c)
            }
            _ => Box::new(move |env| a.terms.iter().fold(c, |sum, &(s, k)| sum + env.ints[s] * k)),
        }
    }
}

/// A binary operation. `safe`: it is known that nothing can go wrong.
pub(crate) fn binary(op: BinOp, ty: Ty, a: Int, b: Int, safe: bool, site: Site) -> Int {
    if safe && let (Int::Affine(x), Int::Affine(y)) = (&a, &b) {
        let sum = match op {
            BinOp::Add => x.plus(y),
            BinOp::Sub => x.minus(y),
            BinOp::Mul if y.terms.is_empty() => x.scaled(y.constant),
            BinOp::Mul if x.terms.is_empty() => y.scaled(x.constant),
            _ => None,
        };
        if let Some(sum) = sum {
            return Int::Affine(sum);
        }
    }
    macro_rules! node {
        ($f:expr) => {
            match b.as_constant() {
                Some(y) => {
                    let x = a.code();
                    Int::Code(Box::new(move |env: &mut Env| {
                        let x = x(env);
                        $f(env, x, y)
                    }))
                }
                None => {
                    let (x, y) = (a.code(), b.code());
                    Int::Code(Box::new(move |env: &mut Env| {
                        let x = x(env);
                        let y = y(env);
                        $f(env, x, y)
                    }))
                }
            }
        };
    }
    macro_rules! ring {
        ($wrapping:ident, $checked:ident) => {
            match (safe, ty) {
                (true, _) => node!(|_: &mut Env, x: i64, y: i64| x.$wrapping(y)),
                (_, Ty::I64) => node!(|env: &mut Env, x: i64, y: i64| env.some(x.$checked(y), site)),
                _ => node!(|env: &mut Env, x: i64, y: i64| env.fit(x.$wrapping(y), site)),
            }
        };
    }
    let narrow = ty == Ty::I32;
    match op {
        BinOp::Add => ring!(wrapping_add, checked_add),
        BinOp::Sub => ring!(wrapping_sub, checked_sub),
        BinOp::Mul => ring!(wrapping_mul, checked_mul),
        BinOp::Div => node!(|env: &mut Env, x: i64, y: i64| divide(env, x, y, narrow, site)),
        BinOp::Rem => node!(|env: &mut Env, x: i64, y: i64| remainder(env, x, y, site)),
        BinOp::Min => node!(|_: &mut Env, x: i64, y: i64| x.min(y)),
        BinOp::Max => node!(|_: &mut Env, x: i64, y: i64| x.max(y)),
        BinOp::And => node!(|_: &mut Env, x: i64, y: i64| x & y),
        BinOp::Or => node!(|_: &mut Env, x: i64, y: i64| x | y),
        BinOp::Xor => node!(|_: &mut Env, x: i64, y: i64| x ^ y),
        BinOp::Shl => node!(|env: &mut Env, x: i64, y: i64| shift_left(env, x, y, narrow, site)),
        BinOp::Shr => node!(|env: &mut Env, x: i64, y: i64| shift_right(env, x, y, narrow, site)),
        BinOp::Lt => node!(|_: &mut Env, x: i64, y: i64| (x < y).into()),
        BinOp::Le => node!(|_: &mut Env, x: i64, y: i64| (x <= y).into()),
        BinOp::Gt => node!(|_: &mut Env, x: i64, y: i64| (x > y).into()),
        BinOp::Ge => node!(|_: &mut Env, x: i64, y: i64| (x >= y).into()),
        BinOp::Eq => node!(|_: &mut Env, x: i64, y: i64| (x == y).into()),
        BinOp::Ne => node!(|_: &mut Env, x: i64, y: i64| (x != y).into()),
    }
}

pub(crate) fn divide(env: &mut Env, x: i64, y: i64, narrow: bool, site: Site) -> i64 {
    if y == 0 {
        env.fail(site, Fault::Divisor, 0);
        return 0;
    }
    let q = env.some(x.checked_div(y), site);
    if narrow { env.fit(q, site) } else { q }
}

pub(crate) fn remainder(env: &mut Env, x: i64, y: i64, site: Site) -> i64 {
    if y == 0 {
        env.fail(site, Fault::Divisor, 0);
        return 0;
    }
    x.wrapping_rem(y)
}

fn amount(env: &mut Env, y: i64, narrow: bool, site: Site) -> Option<u32> {
    if (0..if narrow { 32 } else { 64 }).contains(&y) {
        return Some(y as u32);
    }
    env.fail(site, Fault::Shift, y);
    None
}

pub(crate) fn shift_left(env: &mut Env, x: i64, y: i64, narrow: bool, site: Site) -> i64 {
    let Some(y) = amount(env, y, narrow, site) else { return 0 };
    let v = x.wrapping_shl(y);
    if narrow {
        return env.fit(v, site);
    }
    env.some((v >> y == x).then_some(v), site)
}

pub(crate) fn shift_right(env: &mut Env, x: i64, y: i64, narrow: bool, site: Site) -> i64 {
    amount(env, y, narrow, site).map_or(0, |y| x >> y)
}

/// Loads an integer.
pub(crate) fn load(mem: Mem, index: Int, site: Site) -> IntFn {
    let index = index.code();
    with_integer!(mem.elem, T => Box::new(move |env: &mut Env| {
        let i = index(env);
        match mem.at(env, i, T::SIZE) {
            Some(at) => T::get(&env.memory.regions[mem.region], at),
            None => {
                env.fail(site, Fault::Index, i);
                0
            }
        }
    }), float => Box::new(|_: &mut Env| 0))
}

/// Code of a float.
pub(crate) enum Float {
    Constant(f32),
    Slot(usize),
    Code(FloatFn),
}

impl Float {
    pub(crate) fn code(self) -> FloatFn {
        match self {
            Float::Constant(v) => Box::new(move |_| v),
            Float::Slot(s) => Box::new(move |env| env.floats[s]),
            Float::Code(f) => f,
        }
    }
}

/// The float of one operation; comparisons are [`compare`].
#[inline(always)]
pub(crate) fn float_op(op: BinOp, x: f32, y: f32) -> f32 {
    match op {
        BinOp::Add => x + y,
        BinOp::Sub => x - y,
        BinOp::Mul => x * y,
        BinOp::Div => x / y,
        BinOp::Min => secateur_runtime::math::min(x, y),
        _ => secateur_runtime::math::max(x, y),
    }
}

pub(crate) fn float_binary(op: BinOp, a: Float, b: Float) -> Float {
    let (a, b) = (a.code(), b.code());
    macro_rules! node {
        ($op:ident) => {
            Float::Code(Box::new(move |env| {
                let x = a(env);
                let y = b(env);
                float_op(BinOp::$op, x, y)
            }))
        };
    }
    match op {
        BinOp::Add => node!(Add),
        BinOp::Sub => node!(Sub),
        BinOp::Mul => node!(Mul),
        BinOp::Div => node!(Div),
        BinOp::Min => node!(Min),
        _ => node!(Max),
    }
}

#[inline(always)]
pub(crate) fn compare(op: BinOp, x: f32, y: f32) -> bool {
    match op {
        BinOp::Lt => x < y,
        BinOp::Le => x <= y,
        BinOp::Gt => x > y,
        BinOp::Ge => x >= y,
        BinOp::Eq => x == y,
        _ => x != y,
    }
}

pub(crate) fn float_compare(op: BinOp, a: Float, b: Float) -> Int {
    let (a, b) = (a.code(), b.code());
    Int::Code(Box::new(move |env| {
        let x = a(env);
        let y = b(env);
        compare(op, x, y).into()
    }))
}

pub(crate) fn float_unary(op: UnOp, a: Float) -> Float {
    let a = a.code();
    Float::Code(Box::new(move |env| scalar::real(op, a(env))))
}

/// Loads a float.
pub(crate) fn load_float(mem: Mem, index: Int, site: Site) -> FloatFn {
    let index = index.code();
    Box::new(move |env| {
        let i = index(env);
        match mem.at(env, i, 4) {
            Some(at) => get_f32(&env.memory.regions[mem.region], at),
            None => {
                env.fail(site, Fault::Index, i);
                0.0
            }
        }
    })
}

/// A float as an integer of a type: truncated, saturated, NaN to 0.
#[inline(always)]
pub(crate) fn truncate(to: Ty, v: f32) -> i64 {
    if to == Ty::I64 { v as i64 } else { i64::from(v as i32) }
}
