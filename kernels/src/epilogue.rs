//! How an accumulator becomes an output: activation limits for floats, requantization for
//! integers. Shared by all products (convolution, dense, matrix product).
//!
//! In: a [`Finish`]. Out: kernel parameters, the bindings for them, and the closing store.
//! Law: what differs between equal layers (zero points, shifts) are scalars and constant
//! arrays, so that the layers share one kernel.

use crate::arith::quant::Clamp;
use crate::arith::requant::{MAX_SHIFT, Requant, Shift, high};
use crate::call::Bind;
use crate::kernel::{Access, Buf, Expr, KernelBuilder, Val, instr};
use crate::rounding::{requantize_instr, requantized};
use crate::tensor::{DType, Data};

/// The end of a product.
#[derive(Debug, Clone, PartialEq)]
pub enum Finish {
    Float(Clamp),
    Int(Requant),
    /// To sixteen bits.
    Wide(Requant),
}

/// The end of an int8 product as native kernels compute it: by the high word of a multiplication.
#[derive(Debug, Clone)]
pub struct Ending<'a> {
    pub multipliers: &'a [i32],
    /// Rounding constant and shift of each channel, as [`high`] gives them.
    pub each: Vec<(i32, u32)>,
    /// The shift of all channels, if there is one that the kernel has room for, and its rounding constant.
    pub sh: Option<u32>,
    pub rnd: i32,
    pub zp: i32,
    pub limits: (i32, i32),
}

impl Ending<'_> {
    /// `None` for floats, and where the high word is not enough.
    pub fn of(finish: &Finish) -> Option<Ending<'_>> {
        let Finish::Int(r) = finish else { return None };
        Ending::rounded(r)
    }
    /// That of a product whose results take sixteen bits.
    pub fn wide(finish: &Finish) -> Option<Ending<'_>> {
        let Finish::Wide(r) = finish else { return None };
        Ending::rounded(r)
    }
    fn rounded(r: &Requant) -> Option<Ending<'_>> {
        if !r.by_high_word() {
            return None;
        }
        let each = (0..r.m.len()).map(|c| high(r.at(c).s, r.out.zp)).collect();
        let (rnd, sh) = match r.shift {
            Shift::Layer(s) => (high(s, r.out.zp).0, Some(s - 32)),
            Shift::Channel(_) => (0, None),
        };
        Some(Ending { multipliers: &r.m, each, sh, rnd, zp: r.out.zp, limits: (r.out.lo, r.out.hi) })
    }
    /// The same with each channel's own shift where the one of all is greater than `most`.
    pub fn within(self, most: u32) -> Self {
        if self.sh.is_some_and(|sh| sh > most) { Ending { sh: None, rnd: 0, ..self } } else { self }
    }
    /// What ends the sums of a channel: multiplier, rounding constant and shift.
    pub fn words(&self, c: usize) -> [i32; 3] {
        [self.multipliers[c], self.each[c].0, self.each[c].1 as i32]
    }
}

/// Parameters that [`Finish::declare`] added to a kernel.
#[derive(Debug, Clone, Copy)]
pub struct Tail {
    kind: Kind,
    limits: (Limit, Limit),
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Float(Clamp),
    /// Multipliers; rounding constant and remaining shift.
    High(Buf, PerChannel, PerChannel),
    /// Multipliers; shift; zero point.
    Wide(Buf, PerChannel, Val),
}

#[derive(Debug, Clone, Copy)]
enum PerChannel {
    One(Val),
    Each(Buf),
}

#[derive(Debug, Clone, Copy)]
enum Limit {
    Fixed(i32),
    Given(Val),
}

impl From<Limit> for Expr {
    fn from(limit: Limit) -> Expr {
        match limit {
            Limit::Fixed(v) => v.into(),
            Limit::Given(v) => v.into(),
        }
    }
}

impl PerChannel {
    fn at(self, channel: &Expr) -> Expr {
        match self {
            PerChannel::One(v) => v.into(),
            PerChannel::Each(b) => b.at(channel),
        }
    }
}

impl Finish {
    /// The suffix of kernel names.
    pub fn suffix(&self) -> &'static str {
        match self {
            Finish::Float(_) => "f32",
            Finish::Int(_) => "s8",
            Finish::Wide(_) => "s16",
        }
    }
    /// Element type of the result.
    pub fn elem(&self) -> DType {
        match self {
            Finish::Float(_) => DType::F32,
            Finish::Int(_) => DType::I8,
            Finish::Wide(_) => DType::I16,
        }
    }

    /// Whether only its type limits the result.
    pub fn whole(&self) -> bool {
        match self {
            Finish::Float(clamp) => clamp.is_none(),
            Finish::Int(r) | Finish::Wide(r) => (r.out.lo, r.out.hi) == self.range(),
        }
    }

    /// Least and greatest integer of the result's type.
    fn range(&self) -> (i32, i32) {
        match self {
            Finish::Float(_) | Finish::Int(_) => (i8::MIN.into(), i8::MAX.into()),
            Finish::Wide(_) => (i16::MIN.into(), i16::MAX.into()),
        }
    }

    /// Adds the parameters to the end of a kernel's list.
    pub fn declare(&self, k: &mut KernelBuilder) -> Tail {
        let (lo, hi) = self.range();
        let full = (Limit::Fixed(lo), Limit::Fixed(hi));
        let r = match self {
            Finish::Float(clamp) => return Tail { kind: Kind::Float(*clamp), limits: full },
            Finish::Int(r) | Finish::Wide(r) => r,
        };
        let n = r.m.len();
        let mult = k.buffer("mult", DType::I32, n, Access::Read);
        let is_high = r.by_high_word();
        let kind = match (&r.shift, is_high) {
            (Shift::Layer(_), true) => {
                let rnd = PerChannel::One(k.scalar("rnd", i32::MIN, i32::MAX));
                Kind::High(mult, rnd, PerChannel::One(k.scalar("sh", 1, MAX_SHIFT as i32 - 32)))
            }
            (Shift::Channel(_), true) => {
                let rnd = PerChannel::Each(k.buffer("rnd", DType::I32, n, Access::Read));
                Kind::High(mult, rnd, PerChannel::Each(k.buffer("sh", DType::U8, n, Access::Read)))
            }
            (Shift::Layer(_), false) => {
                let s = PerChannel::One(k.scalar("s", 1, MAX_SHIFT as i32));
                Kind::Wide(mult, s, k.scalar("zp", lo, hi))
            }
            (Shift::Channel(_), false) => {
                let s = PerChannel::Each(k.buffer("s", DType::U8, n, Access::Read));
                Kind::Wide(mult, s, k.scalar("zp", lo, hi))
            }
        };
        let limits = if (r.out.lo, r.out.hi) == (lo, hi) {
            full
        } else {
            (Limit::Given(k.scalar("lo", lo, hi)), Limit::Given(k.scalar("hi", lo, hi)))
        };
        Tail { kind, limits }
    }

    /// What the declared parameters are bound to, in their order.
    pub fn roles(&self) -> Vec<Bind> {
        let (Finish::Int(r) | Finish::Wide(r)) = self else { return Vec::new() };
        let zp = r.out.zp;
        let mut roles = vec![Bind::data("mult", Data::I32(r.m.clone()))];
        match (&r.shift, r.by_high_word()) {
            (Shift::Layer(s), true) => {
                let (rnd, sh) = high(*s, zp);
                roles.extend([Bind::Scalar(rnd), Bind::Scalar(sh as i32)]);
            }
            (Shift::Channel(s), true) => {
                let (rnd, sh) = s.iter().map(|&s| high(s, zp)).map(|(r, s)| (r, s as u8)).unzip();
                roles.extend([Bind::data("rnd", Data::I32(rnd)), Bind::data("sh", Data::U8(sh))]);
            }
            (Shift::Layer(s), false) => roles.extend([Bind::Scalar(*s as i32), Bind::Scalar(zp)]),
            (Shift::Channel(s), false) => {
                let s = s.iter().map(|&s| s as u8).collect();
                roles.extend([Bind::data("s", Data::U8(s)), Bind::Scalar(zp)]);
            }
        }
        if (r.out.lo, r.out.hi) != self.range() {
            roles.extend([Bind::Scalar(r.out.lo), Bind::Scalar(r.out.hi)]);
        }
        roles
    }
}

impl Tail {
    /// Stores the output that accumulator `acc` of output channel `channel` becomes.
    pub fn store(&self, k: &mut KernelBuilder, y: Buf, index: Expr, acc: Val, channel: &Expr) {
        let (lo, hi) = self.limits;
        let value = match self.kind {
            Kind::Float(clamp) => {
                let mut v = Expr::from(acc);
                if clamp.lo > f32::NEG_INFINITY {
                    v = v.max(clamp.lo);
                }
                if clamp.hi < f32::INFINITY {
                    v = v.min(clamp.hi);
                }
                v
            }
            Kind::High(mult, rnd, sh) => {
                requantized(acc, mult.at(channel), (rnd.at(channel), sh.at(channel)), (lo, hi))
            }
            Kind::Wide(mult, s, zp) => instr(
                &requantize_instr(),
                vec![acc.into(), mult.at(channel), s.at(channel), zp.into(), lo.into(), hi.into()],
            ),
        };
        k.store(y, index, value);
    }
}
