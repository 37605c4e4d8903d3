//! Copies and fills of bytes or half-words, sixteen bytes at a time.
//!
//! In: lengths. Out: kernels that move rows of inputs into the workspace and set what pads them.

use crate::asm::mve::{At, Block, Inst, Item, Lane, P0, Q, R};
use crate::error::Result;
use crate::kernel::{Access, Kernel, KernelBuilder};
use crate::mve::stream::lane;
use crate::tensor::DType;
use std::sync::Arc;

/// A kernel's name with its elements' type.
fn named(what: &str, elem: DType) -> String {
    format!("{what}_s{}", 8 * elem.size())
}

/// `(x, out)`: `out = x`, `n` elements.
pub fn copy(n: usize, elem: DType) -> Result<Arc<Kernel>> {
    let mut k = KernelBuilder::new(named("copy", elem));
    let x = k.buffer("x", elem, n, Access::Read);
    let out = k.buffer("out", elem, n, Access::Write);
    k.for_("i", 0, n, |k, i| k.store(out, i, x.at(i)));
    let bytes = n * elem.size();
    let mut b = Block::default();
    b.run([Inst::MovImm(R(2), bytes as i32)]);
    b.items.push(Item::Tail {
        lane: Lane::B,
        count: R(2),
        turns: bytes.div_ceil(16) as u32,
        body: vec![Inst::Load(Q(0), At::After(R(0), 16)), Inst::Store(Q(0), At::After(R(1), 16))],
    });
    k.native(b.native()?);
    k.finish()
}

/// `(out, value)`: `n` elements of one value.
pub fn fill(n: usize, elem: DType) -> Result<Arc<Kernel>> {
    let mut k = KernelBuilder::new(named("fill", elem));
    let out = k.buffer("out", elem, n, Access::Write);
    let (least, most) = if elem == DType::I16 { (i16::MIN.into(), i16::MAX.into()) } else { (-128, 127) };
    let value = k.scalar("value", least, most);
    k.for_("i", 0, n, |k, i| k.store(out, i, value));
    let bytes = n * elem.size();
    let mut b = Block::default();
    b.run([Inst::Dup(lane(elem), Q(0), R(1)), Inst::MovImm(R(2), bytes as i32)]);
    b.items.push(Item::Tail {
        lane: Lane::B,
        count: R(2),
        turns: bytes.div_ceil(16) as u32,
        body: vec![Inst::Store(Q(0), At::After(R(0), 16))],
    });
    k.native(b.native()?);
    k.finish()
}

/// `(x, out, zx)`: `out = x - zx`, `n` bytes as half-words.
pub fn widen(n: usize) -> Result<Arc<Kernel>> {
    let mut k = KernelBuilder::new("widen_s8");
    let x = k.buffer("x", DType::I8, n, Access::Read);
    let out = k.buffer("out", DType::I16, n, Access::Write);
    let zx = k.scalar("zx", -128, 127);
    k.for_("i", 0, n, |k, i| k.store(out, i, x.at(i) - zx));
    let mut b = Block::default();
    b.run([Inst::MovImm(R(3), 0), Inst::Sub(R(3), R(3), R(2)), Inst::MovImm(R(2), n as i32)]);
    b.items.push(Item::Tail {
        lane: Lane::H,
        count: R(2),
        turns: n.div_ceil(8) as u32,
        body: vec![
            Inst::LoadWide(Lane::H, Q(0), At::After(R(0), 8)),
            Inst::QAddAll(Q(0), Q(0), R(3)),
            Inst::Store(Q(0), At::After(R(1), 16)),
        ],
    });
    k.native(b.native()?);
    k.finish()
}

/// Windows of short runs, gathered one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gather {
    pub elem: DType,
    pub runs: usize,
    /// Elements of a run, at most those of a vector, as are all sizes.
    pub run: usize,
    /// From one run of a window to the next.
    pub from_pitch: usize,
    /// From one window to the next.
    pub step: usize,
    pub count: usize,
    /// From one gathered window to the next: room for its runs and for what a last vector
    /// writes beyond them.
    pub to_pitch: usize,
}

impl Gather {
    pub fn fits(&self) -> bool {
        let near = |elements: usize, most: usize| elements * self.elem.size() <= most;
        near(self.run, 16) && near(self.step, 127) && near(self.to_pitch, 127) && near(self.from_pitch, 4095)
    }
    /// Elements of a vector.
    fn lanes(&self) -> usize {
        16 / self.elem.size()
    }
    fn source_len(&self) -> usize {
        (self.runs - 1) * self.from_pitch + (self.count - 1) * self.step + self.lanes()
    }
    pub fn result_len(&self) -> usize {
        (self.count - 1) * self.to_pitch + (self.runs - 1) * self.run + self.lanes()
    }
    /// `(x, out)`: sixteen bytes of each run, the next run's over what is too many.
    pub fn kernel(&self) -> Result<Arc<Kernel>> {
        let mut k = KernelBuilder::new(named("gather", self.elem));
        let x = k.buffer("x", self.elem, self.source_len(), Access::Read);
        let out = k.buffer("out", self.elem, self.result_len(), Access::Write);
        k.for_("r", 0, self.runs, |k, r| {
            k.for_("p", 0, self.count, |k, p| {
                let from = k.let_("from", r * self.from_pitch + p * self.step);
                let to = k.let_("to", r * self.run + p * self.to_pitch);
                k.for_("i", 0, self.lanes(), |k, i| k.store(out, to + i, x.at(from + i)));
            });
        });
        let bytes = |elements: usize| (elements * self.elem.size()) as i32;
        let mut b = Block::default();
        b.run([Inst::MovImm(R(12), self.runs as i32)]);
        let turn = vec![
            Inst::Load(Q(0), At::After(R(2), bytes(self.step))),
            Inst::Store(Q(0), At::After(R(3), bytes(self.to_pitch))),
        ];
        let body = vec![
            Item::Run(vec![Inst::Mov(R(2), R(0)), Inst::Mov(R(3), R(1))]),
            Item::Low { turns: self.count as u32, body: vec![Item::Run(turn)] },
            Item::Run(vec![
                Inst::AddImm(R(0), R(0), bytes(self.from_pitch)),
                Inst::AddImm(R(1), R(1), bytes(self.run)),
            ]),
        ];
        b.items.push(Item::Down { count: R(12), step: 1, turns: self.runs as u32, body });
        k.native(b.native()?);
        k.finish()
    }
}

/// A row of pixels, parted into planes of sixteen channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planes {
    pub pixels: usize,
    pub channels: usize,
    /// Bytes from one plane to the next.
    pub pitch: usize,
}

impl Planes {
    fn planes(&self) -> usize {
        self.channels.div_ceil(16)
    }
    /// `(x, out)`: in a last plane that is not full the other lanes stay.
    pub fn kernel(&self) -> Result<Arc<Kernel>> {
        let mut k = KernelBuilder::new("planes_s8");
        let x = k.buffer("x", DType::I8, self.pixels * self.channels, Access::Read);
        let len = (self.planes() - 1) * self.pitch + self.pixels * 16;
        let out = k.buffer("out", DType::I8, len, Access::Write);
        k.for_("p", 0, self.pixels, |k, p| {
            k.for_("c", 0, self.channels, |k, c| {
                let to = c / 16 * self.pitch + p * 16 + c % 16;
                k.store(out, to, x.at(p * self.channels + c));
            });
        });
        let (x, out, walk, left) = (R(0), R(1), R(2), R(12));
        let ragged = !self.channels.is_multiple_of(16);
        let mut b = Block::default();
        b.run([Inst::MovImm(left, self.channels as i32)]);
        let step = self.channels as i32;
        let from = if step <= 127 { At::After(walk, step) } else { At::Offset(walk, 0) };
        let to = At::After(out, 16);
        let mut turn = if ragged {
            vec![Inst::LoadThen(P0, Q(0), from), Inst::StoreThen(P0, Q(0), to)]
        } else {
            vec![Inst::Load(Q(0), from), Inst::Store(Q(0), to)]
        };
        if step > 127 {
            turn.push(Inst::AddImm(walk, walk, step));
        }
        let mut open = vec![Inst::Mov(walk, x)];
        if ragged {
            open.push(Inst::Vctp(P0, Lane::B, left));
        }
        let mut close = vec![Inst::AddImm(x, x, 16)];
        let back = self.pitch as i32 - 16 * self.pixels as i32;
        if back != 0 {
            close.push(Inst::AddImm(out, out, back));
        }
        let body = vec![
            Item::Run(open),
            Item::Low { turns: self.pixels as u32, body: vec![Item::Run(turn)] },
            Item::Run(close),
        ];
        b.items.push(Item::Down { count: left, step: 16, turns: self.planes() as u32, body });
        k.native(b.native()?);
        k.finish()
    }
}
