//! Lane code: closures that compute a value of many loop iterations at once.
//!
//! Law: lane `i` gets exactly what iteration `i` alone would compute.

use crate::kernel::{BinOp, Ty};
use crate::program::machine::compile::Run;
use crate::program::machine::env::{Env, Fault, Mem, Site};
use crate::program::machine::expr::FloatKind;
use crate::program::machine::memory::{Integer, get_f32, put_f32, with_integer};
use crate::program::machine::uniform::{self, FloatFn, IntFn};

pub(crate) type IntLanes = Box<dyn Fn(&mut Env, &mut [i64]) + Send + Sync>;
pub(crate) type FloatLanes = Box<dyn Fn(&mut Env, &mut [f32]) + Send + Sync>;

/// Loads at constant distance, minus a value that all lanes share.
pub(crate) struct IntLoad {
    pub mem: Mem,
    pub first: IntFn,
    pub stride: i64,
    pub minus: Option<IntFn>,
    pub site: Site,
}

pub(crate) enum IntLane {
    Uniform(IntFn),
    /// First lane, then so much more per lane.
    Linear(IntFn, i64),
    Slot(usize),
    Load(IntLoad),
    Code(IntLanes),
}

pub(crate) enum FloatLane {
    Uniform(FloatFn),
    Slot(usize),
    Load { mem: Mem, first: IntFn, stride: i64, site: Site },
    Code(FloatLanes),
}

impl IntLane {
    pub(crate) fn fill(&self, env: &mut Env, out: &mut [i64]) {
        match self {
            IntLane::Uniform(f) => out.fill(f(env)),
            IntLane::Linear(f, k) => {
                let mut v = f(env);
                for o in out {
                    *o = v;
                    v += k;
                }
            }
            IntLane::Slot(s) => out.copy_from_slice(&env.lane_ints[*s][..out.len()]),
            IntLane::Load(load) => load.fill(env, out),
            IntLane::Code(f) => f(env, out),
        }
    }
}

impl FloatLane {
    pub(crate) fn fill(&self, env: &mut Env, out: &mut [f32]) {
        match self {
            FloatLane::Uniform(f) => out.fill(f(env)),
            FloatLane::Slot(s) => out.copy_from_slice(&env.lane_floats[*s][..out.len()]),
            FloatLane::Load { mem, first, stride, site } => {
                let first = first(env);
                let Some(at) = mem.span(env, first, *stride, out.len(), *site) else {
                    out.fill(0.0);
                    return;
                };
                let bytes = &env.memory.regions[mem.region];
                if *stride == 1 {
                    for (o, b) in out.iter_mut().zip(bytes[at..].chunks_exact(4)) {
                        *o = get_f32(b, 0);
                    }
                    return;
                }
                let mut at = at as i64;
                for o in out {
                    *o = get_f32(bytes, at as usize);
                    at += stride * 4;
                }
            }
            FloatLane::Code(f) => f(env, out),
        }
    }
}

impl IntLoad {
    fn fill(&self, env: &mut Env, out: &mut [i64]) {
        let minus = self.minus.as_ref().map_or(0, |f| f(env));
        let first = (self.first)(env);
        let Some(at) = self.mem.span(env, first, self.stride, out.len(), self.site) else {
            out.fill(0);
            return;
        };
        let bytes = &env.memory.regions[self.mem.region];
        with_integer!(self.mem.elem, T => {
            if self.stride == 1 {
                for (o, b) in out.iter_mut().zip(bytes[at..].chunks_exact(T::SIZE)) {
                    *o = T::get(b, 0) - minus;
                }
            } else {
                let mut at = at as i64;
                for o in out {
                    *o = T::get(bytes, at as usize) - minus;
                    at += self.stride * T::SIZE as i64;
                }
            }
        }, float => {});
    }
}

/// Loads from an index per lane (tables).
pub(crate) fn gather(mem: Mem, index: IntLane, site: Site) -> IntLanes {
    Box::new(move |env, out| {
        index.fill(env, out);
        let base = mem.base(env);
        let mut bad = None;
        let bytes = &env.memory.regions[mem.region];
        with_integer!(mem.elem, T => {
            for o in out.iter_mut() {
                if (*o as u64) < mem.len as u64 {
                    *o = T::get(bytes, base + *o as usize * T::SIZE);
                } else {
                    bad = bad.or(Some(*o));
                    *o = 0;
                }
            }
        }, float => {});
        if let Some(i) = bad {
            env.fail(site, Fault::Index, i);
        }
    })
}

pub(crate) fn gather_float(mem: Mem, index: IntLane, temp: usize, site: Site) -> FloatLanes {
    Box::new(move |env, out| {
        let indices = filled(&index, env, temp, out.len());
        let base = mem.base(env);
        let mut bad = None;
        let bytes = &env.memory.regions[mem.region];
        for (o, &i) in out.iter_mut().zip(&indices) {
            *o = if (i as u64) < mem.len as u64 {
                get_f32(bytes, base + i as usize * 4)
            } else {
                bad = bad.or(Some(i));
                0.0
            };
        }
        env.lane_ints[temp] = indices;
        if let Some(i) = bad {
            env.fail(site, Fault::Index, i);
        }
    })
}

/// Takes a temporary out of the environment and fills it; the caller puts it back.
pub(crate) fn filled(lane: &IntLane, env: &mut Env, temp: usize, n: usize) -> Vec<i64> {
    let mut v = std::mem::take(&mut env.lane_ints[temp]);
    lane.fill(env, &mut v[..n]);
    v
}

pub(crate) fn filled_float(lane: &FloatLane, env: &mut Env, temp: usize, n: usize) -> Vec<f32> {
    let mut v = std::mem::take(&mut env.lane_floats[temp]);
    lane.fill(env, &mut v[..n]);
    v
}

/// The right side of an operation.
#[derive(Clone, Copy)]
enum Right<'a, T> {
    All(T),
    Each(&'a [T]),
}

/// `a op= b`, lane by lane. `safe`: nothing can go wrong.
pub(crate) fn int_assign(
    op: BinOp,
    ty: Ty,
    env: &mut Env,
    a: &mut [i64],
    b: &IntLane,
    temp: usize,
    safe: bool,
    site: Site,
) {
    match b {
        IntLane::Uniform(f) => {
            let b = f(env);
            int_each(op, ty, env, a, Right::All(b), safe, site);
        }
        b => {
            let t = filled(b, env, temp, a.len());
            int_each(op, ty, env, a, Right::Each(&t[..a.len()]), safe, site);
            env.lane_ints[temp] = t;
        }
    }
}

fn int_each(op: BinOp, ty: Ty, env: &mut Env, a: &mut [i64], b: Right<'_, i64>, safe: bool, site: Site) {
    macro_rules! each {
        ($f:expr) => {
            match b {
                Right::All(y) => a.iter_mut().for_each(|x| *x = $f(*x, y)),
                Right::Each(v) => a.iter_mut().zip(v).for_each(|(x, &y)| *x = $f(*x, y)),
            }
        };
    }
    let narrow = ty == Ty::I32;
    macro_rules! ring {
        ($wrapping:ident, $checked:ident) => {
            if safe || narrow {
                each!(|x: i64, y: i64| x.$wrapping(y))
            } else {
                each!(|x: i64, y: i64| env.some(x.$checked(y), site))
            }
        };
    }
    match op {
        BinOp::Add => ring!(wrapping_add, checked_add),
        BinOp::Sub => ring!(wrapping_sub, checked_sub),
        BinOp::Mul => ring!(wrapping_mul, checked_mul),
        BinOp::Div => each!(|x, y| uniform::divide(env, x, y, narrow, site)),
        BinOp::Rem => each!(|x, y| uniform::remainder(env, x, y, site)),
        BinOp::Min => each!(|x: i64, y: i64| x.min(y)),
        BinOp::Max => each!(|x: i64, y: i64| x.max(y)),
        BinOp::And => each!(|x, y| x & y),
        BinOp::Or => each!(|x, y| x | y),
        BinOp::Xor => each!(|x, y| x ^ y),
        BinOp::Shl if safe => each!(|x: i64, y: i64| x << (y & 63)),
        BinOp::Shr if safe => each!(|x: i64, y: i64| x >> (y & 63)),
        BinOp::Shl => each!(|x, y| uniform::shift_left(env, x, y, narrow, site)),
        BinOp::Shr => each!(|x, y| uniform::shift_right(env, x, y, narrow, site)),
        BinOp::Lt => each!(|x, y| i64::from(x < y)),
        BinOp::Le => each!(|x, y| i64::from(x <= y)),
        BinOp::Gt => each!(|x, y| i64::from(x > y)),
        BinOp::Ge => each!(|x, y| i64::from(x >= y)),
        BinOp::Eq => each!(|x, y| i64::from(x == y)),
        BinOp::Ne => each!(|x, y| i64::from(x != y)),
    }
    if narrow && !safe && matches!(op, BinOp::Add | BinOp::Sub | BinOp::Mul) {
        fit(env, a, site);
    }
}

/// All lanes must fit 32 bits.
pub(crate) fn fit(env: &mut Env, a: &[i64], site: Site) {
    let mut over = 0;
    for &v in a {
        over |= i64::from(v as i32) ^ v;
    }
    if over != 0 {
        let value = a.iter().copied().find(|&v| i64::from(v as i32) != v).unwrap_or(0);
        env.fail(site, Fault::Overflow, value);
    }
}

/// `a op= b` on floats.
pub(crate) fn float_assign(op: BinOp, env: &mut Env, a: &mut [f32], b: &FloatLane, temp: usize) {
    match b {
        FloatLane::Uniform(f) => {
            let b = f(env);
            float_each(op, a, Right::All(b));
        }
        b => {
            let t = filled_float(b, env, temp, a.len());
            float_each(op, a, Right::Each(&t[..a.len()]));
            env.lane_floats[temp] = t;
        }
    }
}

fn float_each(op: BinOp, a: &mut [f32], b: Right<'_, f32>) {
    macro_rules! each {
        ($op:ident) => {
            match b {
                Right::All(y) => a.iter_mut().for_each(|x| *x = uniform::float_op(BinOp::$op, *x, y)),
                Right::Each(v) => {
                    a.iter_mut().zip(v).for_each(|(x, &y)| *x = uniform::float_op(BinOp::$op, *x, y))
                }
            }
        };
    }
    match op {
        BinOp::Add => each!(Add),
        BinOp::Sub => each!(Sub),
        BinOp::Mul => each!(Mul),
        BinOp::Div => each!(Div),
        BinOp::Min => each!(Min),
        _ => each!(Max),
    }
}

/// Where the lanes of a store go.
pub(crate) enum Target {
    Strided(IntFn, i64),
    Scattered(IntLane, usize),
}

/// Stores integers, lane after lane.
pub(crate) fn store(env: &mut Env, mem: Mem, target: &Target, values: &[i64], site: Site) {
    let fits = with_integer!(mem.elem, T => values.iter().copied().find(|&v| !T::fits(v)), float => None);
    if let Some(v) = fits {
        env.fail(site, Fault::Store, v);
        return;
    }
    positions(env, mem, target, values.len(), site, &mut |bytes, i, at| {
        with_integer!(mem.elem, T => T::put(bytes, at, values[i]), float => {});
    });
}

/// Stores floats, lane after lane.
pub(crate) fn store_float(env: &mut Env, mem: Mem, target: &Target, values: &[f32], site: Site) {
    positions(env, mem, target, values.len(), site, &mut |bytes, i, at| put_f32(bytes, at, values[i]));
}

#[inline(always)]
fn positions(
    env: &mut Env,
    mem: Mem,
    target: &Target,
    n: usize,
    site: Site,
    put: &mut impl FnMut(&mut [u8], usize, usize),
) {
    let size = mem.elem.size();
    match target {
        Target::Strided(first, stride) => {
            let first = first(env);
            let Some(at) = mem.span(env, first, *stride, n, site) else { return };
            let bytes = &mut env.memory.regions[mem.region];
            let mut at = at as i64;
            for i in 0..n {
                put(bytes, i, at as usize);
                at += stride * size as i64;
            }
        }
        Target::Scattered(index, temp) => {
            let indices = filled(index, env, *temp, n);
            for (i, &index) in indices[..n].iter().enumerate() {
                match mem.at(env, index, size) {
                    Some(at) => put(&mut env.memory.regions[mem.region], i, at),
                    None => env.fail(site, Fault::Index, index),
                }
            }
            env.lane_ints[*temp] = indices;
        }
    }
}

/// Sum of the products of two loads of narrow integers. The caller knows that no partial sum
/// leaves 32 bits. `None` for other types, or if an index is outside (noted as a failure).
pub(crate) fn dot(env: &mut Env, a: &IntLoad, b: &IntLoad, n: usize) -> Option<i64> {
    let (am, bm) = (a.minus.as_ref().map_or(0, |f| f(env)), b.minus.as_ref().map_or(0, |f| f(env)));
    let (a0, b0) = ((a.first)(env), (b.first)(env));
    let a0 = a.mem.span(env, a0, a.stride, n, a.site)?;
    let b0 = b.mem.span(env, b0, b.stride, n, b.site)?;
    let x = &env.memory.regions[a.mem.region][a0..];
    let y = &env.memory.regions[b.mem.region][b0..];
    let (am, bm) = (am as i32, bm as i32);
    // Negative strides are left to the general path.
    let (s, t) = (usize::try_from(a.stride).ok()?, usize::try_from(b.stride).ok()?);
    macro_rules! sum {
        ($x:ty, $y:ty) => {
            Some(i64::from(if s == 1 && t == 1 {
                let (x, y) = (x.chunks_exact(<$x>::SIZE), y.chunks_exact(<$y>::SIZE));
                x.zip(y)
                    .take(n)
                    .map(|(x, y)| term(of::<$x>(x), am, of::<$y>(y), bm))
                    .fold(0, i32::wrapping_add)
            } else {
                let (x, y) = (x.chunks(<$x>::SIZE), y.chunks(<$y>::SIZE));
                let pairs = x.step_by(s.max(1)).zip(y.step_by(t.max(1))).take(n);
                pairs.map(|(x, y)| term(of::<$x>(x), am, of::<$y>(y), bm)).fold(0, i32::wrapping_add)
            }))
        };
    }
    use crate::tensor::DType::{I8, I16};
    if s == 0 || t == 0 {
        return None;
    }
    match (a.mem.elem, b.mem.elem) {
        (I8, I8) => sum!(i8, i8),
        (I8, I16) => sum!(i8, i16),
        (I16, I8) => sum!(i16, i8),
        (I16, I16) => sum!(i16, i16),
        _ => None,
    }
}

/// As [`dot`], of lanes in a slot and a load.
pub(crate) fn dot_slot(env: &mut Env, slot: usize, b: &IntLoad, n: usize) -> Option<i64> {
    let bm = b.minus.as_ref().map_or(0, |f| f(env));
    let first = (b.first)(env);
    let at = b.mem.span(env, first, b.stride, n, b.site)?;
    let stride = usize::try_from(b.stride).ok().filter(|&s| s > 0)?;
    let lanes = &env.lane_ints[slot][..n];
    let bytes = &env.memory.regions[b.mem.region][at..];
    with_integer!(b.mem.elem, T => Some(if stride == 1 {
        let values = bytes.chunks_exact(T::SIZE);
        lanes.iter().zip(values).fold(0i64, |sum, (&x, y)| sum.wrapping_add(x.wrapping_mul(T::get(y, 0) - bm)))
    } else {
        let values = bytes.chunks(T::SIZE).step_by(stride);
        lanes.iter().zip(values).fold(0i64, |sum, (&x, y)| sum.wrapping_add(x.wrapping_mul(T::get(y, 0) - bm)))
    }), float => None)
}

/// One product. The caller knows that it fits.
#[inline(always)]
fn term(x: i32, am: i32, y: i32, bm: i32) -> i32 {
    x.wrapping_sub(am).wrapping_mul(y.wrapping_sub(bm))
}

#[inline(always)]
fn of<T: Integer>(bytes: &[u8]) -> i32 {
    T::get(bytes, 0) as i32
}

/// Code that fills a slot of lanes.
pub(crate) fn fill_slot(slot: usize, lane: IntLane) -> Run {
    Box::new(move |env| {
        let n = env.lanes;
        let mut v = std::mem::take(&mut env.lane_ints[slot]);
        lane.fill(env, &mut v[..n]);
        env.lane_ints[slot] = v;
    })
}

/// The same for floats.
pub(crate) fn fill_float_slot(slot: usize, kind: FloatKind) -> Run {
    let lane = kind.lane();
    Box::new(move |env| {
        let n = env.lanes;
        let mut v = std::mem::take(&mut env.lane_floats[slot]);
        lane.fill(env, &mut v[..n]);
        env.lane_floats[slot] = v;
    })
}
