//! Depthwise convolution in lanes of sixteen channels, one output pixel at a time.
//!
//! Inputs and weights stay bytes: `vmullb` and `vmullt` give the products of even and odd
//! channels as half-words, and as many taps are added in half-words as cannot overflow them for
//! any input (the groups, found from the weights); each group's sums are then widened into the
//! 32-bit accumulators.
//!
//! Inputs lie in planes of sixteen channels, a pixel's sixteen bytes after another's. Where
//! fewer channels fill a vector only together (eight, four, ...) and columns are not skipped, the
//! channels of neighbouring pixels share it.
//!
//! Stream of a plane, in bytes: sixteen weights for each tap; then bias, multiplier and, where
//! channels differ, negative shift of each channel, as words in the order of the accumulators.

use crate::asm::mve::{At, Block, Half, Inst, Item, Lane, P0, Q, R};
use crate::epilogue::Ending;
use crate::error::{Error, Result, Site};
use crate::kernel::{Access, Kernel, KernelBuilder};
use crate::mve::stream::{self, close};
use crate::tensor::DType;
use std::sync::Arc;

/// Bytes of a vector, channels of a plane.
pub const LANES: usize = 16;
/// Registers that walk over the rows of a window.
const ROWS: [R; 7] = [R(0), R(3), R(4), R(5), R(6), R(7), R(8)];

/// Sizes of one call: a row of outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Depthwise {
    pub channels: usize,
    pub pixels: usize,
    pub kernel: [usize; 2],
    /// Bytes from one row of a window, one column of a window, one plane to the next.
    pub row_pitch: usize,
    pub column: usize,
    pub plane_pitch: usize,
    /// Bytes from one output pixel's window to the next.
    pub x_step: usize,
    /// Result bytes from one pixel to the next.
    pub y_step: usize,
    /// Pixels that share a vector: 1, or as many as have sixteen channels together.
    pub share: usize,
    /// Taps whose sums fit half-words, in the order in which they are taken.
    pub groups: Vec<Vec<usize>>,
    pub sh: Option<u32>,
    pub zp: i32,
    pub lo: i32,
    pub hi: i32,
}

/// Parts taps into groups whose sums fit 16 bits for all int8 inputs of all channels: as few
/// as are found. `weights[channel * taps + tap]`; `None` where one does not fit a byte.
pub fn groups(weights: &[i32], taps: usize) -> Option<Vec<Vec<usize>>> {
    if weights.iter().any(|w| !(-128..=127).contains(w)) {
        return None;
    }
    let fits = |set: &[usize]| {
        weights.chunks(taps).all(|w| {
            let low: i32 = set.iter().map(|&t| (w[t] * 127).min(w[t] * -128)).sum();
            let high: i32 = set.iter().map(|&t| (w[t] * 127).max(w[t] * -128)).sum();
            low >= i32::from(i16::MIN) && high <= i32::from(i16::MAX)
        })
    };
    let parts = |mask: u32| -> (Vec<usize>, Vec<usize>) { (0..taps).partition(|t| mask >> t & 1 != 0) };
    if taps <= 10 {
        // All ways to part them in two; an empty part leaves one group.
        let mut masks = (0..1u32 << (taps - 1)).map(|m| 2 * m + 1).rev();
        if let Some((a, b)) = masks.find_map(|m| Some(parts(m)).filter(|(a, b)| fits(a) && fits(b))) {
            return Some([a, b].into_iter().filter(|g| !g.is_empty()).collect());
        }
    }
    // The heaviest taps first, each into the first group that has room.
    let weight = |t: usize| weights.chunks(taps).map(|w| w[t].abs()).sum::<i32>();
    let mut order: Vec<usize> = (0..taps).collect();
    order.sort_by_key(|&t| (-weight(t), t));
    let mut found: Vec<Vec<usize>> = Vec::new();
    for t in order {
        let with = |g: &Vec<usize>| g.iter().copied().chain([t]).collect::<Vec<_>>();
        match found.iter().position(|g| fits(&with(g))) {
            Some(g) => found[g].push(t),
            None => found.push(vec![t]),
        }
    }
    Some(found)
}

/// Where a lane's word stands among the sixteen of a plane.
fn word(lane: usize) -> usize {
    (lane % 2 * 2 + lane / 2 % 2) * 4 + lane / 4
}

impl Depthwise {
    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }
    fn planes(&self) -> usize {
        self.channels.div_ceil(LANES)
    }
    fn words(&self) -> usize {
        if self.sh.is_some() { 2 } else { 3 }
    }
    fn plane_len(&self) -> usize {
        LANES * self.taps() + 4 * LANES * self.words()
    }
    pub fn stream_len(&self) -> usize {
        self.planes() * self.plane_len()
    }
    pub fn acts_len(&self) -> usize {
        let units = self.pixels / self.share;
        (self.planes() - 1) * self.plane_pitch
            + (self.kernel[0] - 1) * self.row_pitch
            + (units - 1) * self.x_step * self.share
            + (self.kernel[1] - 1) * self.column
            + LANES
    }
    fn y_len(&self) -> usize {
        (self.pixels - 1) * self.y_step + self.channels
    }
    /// Whether the last plane has lanes that are no channels.
    fn ragged(&self) -> bool {
        self.share == 1 && !self.channels.is_multiple_of(LANES)
    }
    pub fn fits(&self) -> bool {
        let shared = self.share == 1
            || (self.share * self.channels == LANES
                && self.pixels.is_multiple_of(self.share)
                && self.x_step == self.channels
                && self.y_step == self.channels);
        shared
            && self.kernel[0] <= ROWS.len()
            && self.reachable()
            && self.plane_len() <= 1016
            && self.sh.is_none_or(|sh| (1..=22).contains(&sh))
            && self.y_step <= 4095
    }

    /// Where in a plane's stream its pointer stands: offsets of 508 on either side reach all of it.
    fn middle(&self) -> i32 {
        if self.plane_len() <= 508 + LANES { 0 } else { 508 }
    }
    /// Whether every column of a window is within an offset of its row's pointer: those far away
    /// are loaded as words, which must be aligned.
    fn reachable(&self) -> bool {
        let far = (self.kernel[1] - 1) * self.column;
        let words = [self.column, self.row_pitch, self.plane_pitch, self.x_step * self.share];
        far <= 127 || (far <= 508 && words.iter().all(|s| s.is_multiple_of(4)))
    }

    /// Packs weights `[channels, taps]`.
    pub fn pack(&self, weights: &[i32], bias: &[i32], ending: &Ending<'_>) -> Option<Vec<i8>> {
        let taps = self.taps();
        let mut packed = Vec::with_capacity(self.stream_len());
        for plane in 0..self.planes() {
            let channel = |lane: usize| {
                let c = if self.share > 1 { lane % self.channels } else { plane * LANES + lane };
                (c < self.channels).then_some(c)
            };
            for tap in 0..taps {
                for lane in 0..LANES {
                    let w = channel(lane).map_or(0, |c| weights[c * taps + tap]);
                    packed.push(i8::try_from(w).ok()?);
                }
            }
            for n in 0..if self.sh.is_some() { 2 } else { 3 } {
                let mut all = [0; LANES];
                for (lane, c) in (0..LANES).filter_map(|lane| Some((lane, channel(lane)?))) {
                    all[word(lane)] = stream::words(bias, ending, self.sh.is_some(), c)[n];
                }
                packed.extend(all.iter().flat_map(|w| w.to_le_bytes()).map(|b| b as i8));
            }
        }
        Some(packed)
    }

    /// The kernel: `(acts, w, y)`.
    pub fn kernel(&self) -> Result<Arc<Kernel>> {
        if !self.fits() {
            return Err(Error::internal(Site::Whole, format!("no block for {self:?}")));
        }
        let [kh, kw] = self.kernel;
        let mut k = KernelBuilder::new("depthwise_s8_c16");
        let acts = k.buffer("acts", DType::I8, self.acts_len(), Access::Read);
        let w = k.buffer("w", DType::I8, self.stream_len(), Access::Read);
        let y = k.buffer("y", DType::I8, self.y_len(), Access::Write);
        let tail = LANES * self.taps();
        k.for_("p", 0, self.pixels, |k, p| {
            k.for_("c", 0, self.channels, |k, c| {
                let lane = k.let_("lane", c % LANES);
                let base = k.let_("base", c / LANES * self.plane_len());
                let at = k.let_("at", (lane % 2 * 2 + lane / 2 % 2) * 16 + lane / 4 * 4);
                let word = |n: usize| stream::word((w, 1), base + at + (tail + 4 * LANES * n));
                let sum = k.var("sum", word(0));
                let from = k.let_("from", c / LANES * self.plane_pitch + p * self.x_step + lane);
                k.for_("ky", 0, kh, |k, ky| {
                    k.for_("kx", 0, kw, |k, kx| {
                        let x = acts.at(from + ky * self.row_pitch + kx * self.column);
                        k.add_to(sum, x * w.at(base + (ky * kw + kx) * LANES + lane));
                    });
                });
                let value = close(k, sum, &word, (self.sh, self.zp), (self.lo, self.hi));
                k.store(y, p * self.y_step + c, value);
            });
        });
        k.native(self.block().native()?);
        k.finish()
    }

    /// The instructions.
    fn block(&self) -> Block {
        let mut b = Block::default();
        let rows = &ROWS[..self.kernel[0]];
        let mut entry = Vec::new();
        if self.row_pitch > 4095 {
            entry.push(Inst::MovImm(FAR, self.row_pitch as i32));
        }
        entry.extend(rows.windows(2).map(|r| match self.row_pitch {
            near @ 0..=4095 => Inst::AddImm(r[1], r[0], near as i32),
            _ => Inst::Add(r[1], r[0], FAR),
        }));
        if self.middle() > 0 {
            entry.push(Inst::AddImm(W, W, self.middle()));
        }
        entry.push(Inst::MovImm(ZERO, self.zp));
        if self.lo > -128 {
            entry.push(Inst::MovImm(LEAST, self.lo & 0xff));
        }
        if self.hi < 127 {
            entry.push(Inst::MovImm(GREATEST, self.hi & 0xff));
        }
        let planes = self.planes();
        if planes > 1 || self.ragged() {
            entry.push(Inst::MovImm(LEFT, self.channels as i32));
        }
        b.run(entry);
        let units = self.pixels / self.share;
        let advance = (self.x_step * self.share) as i32;
        let mut plane = Block::default();
        if self.ragged() {
            plane.run([Inst::Vctp(P0, Lane::B, LEFT)]);
        }
        plane.items.push(Item::Low { turns: units as u32, body: vec![Item::Run(self.pixel(advance))] });
        if planes > 1 {
            let mut next = Vec::new();
            for &r in rows {
                far(&mut next, r, self.plane_pitch as i32 - units as i32 * advance);
            }
            far(&mut next, W, self.plane_len() as i32);
            far(&mut next, Y, LANES as i32 - (self.pixels * self.y_step) as i32);
            plane.run(next);
            b.items.push(Item::Down {
                count: LEFT,
                step: LANES as i32,
                turns: planes as u32,
                body: plane.items,
            });
        } else {
            b.items.extend(plane.items);
        }
        b
    }

    /// One unit: a pixel, or as many as share a vector.
    fn pixel(&self, advance: i32) -> Vec<Inst> {
        let kw = self.kernel[1];
        let (bottom, top, x, w) = (Q(4), Q(5), Q(6), Q(7));
        let mut insts = Vec::new();
        let load = |insts: &mut Vec<Inst>, q: Q, tap: usize| {
            let (row, at) = (ROWS[tap / kw], (tap % kw * self.column) as i32);
            insts.push(if at <= 127 {
                Inst::Load(q, At::Offset(row, at))
            } else {
                Inst::LoadWords(q, row, at)
            });
        };
        let coefficients = |insts: &mut Vec<Inst>, q: Q, at: usize| {
            insts.push(Inst::LoadWords(q, W, at as i32 - self.middle()));
        };
        let add = |lane, d, a| Inst::AddLanes(lane, d, d, a);
        for (g, group) in self.groups.iter().enumerate() {
            // A row's pointer moves on with the last load of its first column.
            let mut group = group.clone();
            group.sort_by_key(|&t| (std::cmp::Reverse(t % kw), t));
            for (i, &tap) in group.iter().enumerate() {
                // While the accumulators are free, every other tap has registers of its own.
                let (x, w, t) = if g == 0 && i % 2 == 1 { (Q(2), Q(3), Q(1)) } else { (x, w, Q(0)) };
                load(&mut insts, x, tap);
                coefficients(&mut insts, w, LANES * tap);
                let half = |half, d| Inst::MulLong(half, d, x, w);
                if i == 0 {
                    insts.extend([half(Half::Bottom, bottom), half(Half::Top, top)]);
                } else if g == 0 {
                    insts.extend([half(Half::Bottom, t), half(Half::Top, x)]);
                    insts.extend([add(Lane::H, bottom, t), add(Lane::H, top, x)]);
                } else {
                    insts.extend([half(Half::Bottom, x), add(Lane::H, bottom, x)]);
                    load(&mut insts, x, tap);
                    insts.extend([half(Half::Top, x), add(Lane::H, top, x)]);
                }
            }
            let widen = |half, d, a| Inst::Widen(Lane::H, half, d, a);
            if g == 0 {
                insts.extend([widen(Half::Bottom, Q(0), bottom), widen(Half::Top, Q(1), bottom)]);
                insts.extend([widen(Half::Bottom, Q(2), top), widen(Half::Top, Q(3), top)]);
            } else {
                insts.extend([widen(Half::Bottom, x, bottom), widen(Half::Top, bottom, bottom)]);
                insts.extend([widen(Half::Bottom, w, top), widen(Half::Top, top, top)]);
                for (d, a) in [(Q(0), x), (Q(1), bottom), (Q(2), w), (Q(3), top)] {
                    insts.push(add(Lane::W, d, a));
                }
            }
        }
        let tail = LANES * self.taps();
        let words = |insts: &mut Vec<Inst>, n: usize, op: fn(Q, Q, Q) -> Inst| {
            for i in 0..4 {
                coefficients(insts, Q(4 + i), tail + 4 * LANES * n + LANES * usize::from(i));
                insts.push(op(Q(i), Q(i), Q(4 + i)));
            }
        };
        words(&mut insts, 0, |d, a, b| Inst::AddLanes(Lane::W, d, a, b));
        words(&mut insts, 1, Inst::MulHigh);
        let shifted = self.sh.filter(|&sh| sh <= 16);
        match self.sh {
            Some(_) if shifted.is_some() => {}
            Some(sh) => insts.extend((0..4).map(|i| Inst::ShrRound(Q(i), Q(i), sh))),
            None => words(&mut insts, 2, Inst::RoundShift),
        }
        for (even, odd) in [(Q(0), Q(1)), (Q(2), Q(3))] {
            for (half, from) in [(Half::Bottom, even), (Half::Top, odd)] {
                insts.push(match shifted {
                    Some(sh) => Inst::NarrowShift(Lane::W, half, even, from, sh),
                    None => Inst::Narrow(Lane::W, half, even, from),
                });
            }
            insts.push(Inst::QAddAll(even, even, ZERO));
        }
        insts.push(Inst::Narrow(Lane::H, Half::Bottom, Q(0), Q(0)));
        insts.push(Inst::Narrow(Lane::H, Half::Top, Q(0), Q(2)));
        if self.lo > -128 {
            insts.push(Inst::Dup(Lane::B, Q(4), LEAST));
            insts.push(Inst::Max(Lane::B, Q(0), Q(0), Q(4)));
        }
        if self.hi < 127 {
            insts.push(Inst::Dup(Lane::B, Q(5), GREATEST));
            insts.push(Inst::Min(Lane::B, Q(0), Q(0), Q(5)));
        }
        let step = (self.y_step * self.share) as i32;
        let near = step <= 127;
        let at = if near { At::After(Y, step) } else { At::Offset(Y, 0) };
        insts.push(if self.ragged() { Inst::StoreThen(P0, Q(0), at) } else { Inst::Store(Q(0), at) });
        if !near {
            far(&mut insts, Y, step);
        }
        for &r in &ROWS[..self.kernel[0]] {
            let last = insts.iter().rposition(
                |i| matches!(i, Inst::Load(_, At::Offset(b, _)) | Inst::LoadWords(_, b, _) if *b == r),
            );
            match last.map(|i| (i, insts[i])) {
                Some((i, Inst::Load(q, At::Offset(_, 0)))) if advance <= 127 => {
                    insts[i] = Inst::Load(q, At::After(r, advance));
                }
                Some((i, Inst::Load(q, At::Offset(_, n)))) if n == advance && n <= 127 => {
                    insts[i] = Inst::Load(q, At::Before(r, advance));
                }
                _ => far(&mut insts, r, advance),
            }
        }
        insts
    }
}

const W: R = R(1);
const Y: R = R(2);
const ZERO: R = R(9);
const LEAST: R = R(10);
const GREATEST: R = R(11);
/// Channels that are left.
const LEFT: R = R(12);
/// Holds what is too large for an addition.
const FAR: R = R(14);

/// Adds any constant. `lr` counts inside the loop over pixels: there steps are small.
fn far(insts: &mut Vec<Inst>, reg: R, by: i32) {
    if by == 0 {
    } else if by.abs() <= 4095 {
        insts.push(Inst::AddImm(reg, reg, by));
    } else {
        insts.push(Inst::MovImm(FAR, by));
        insts.push(Inst::Add(reg, reg, FAR));
    }
}
