//! The instructions of Armv8.1-M with the vector extension, a row each ([`crate::asm::table`]). The
//! first register is the result, except of stores.
//!
//! One row is one machine instruction but for constants of two halves, and for what stands under a
//! predicate, which shares the instruction that begins such a stretch with its neighbours.
//!
//! Sources: Armv8-M Architecture Reference Manual (Arm DDI 0553, section C2.4) for meanings and
//! encodings; of the cycles, see [`super::cost`].

#[cfg(any(test, feature = "testing"))]
use crate::asm::mve::simulate::{Model, each, lanes, narrow, of, round_shift, rounded, saturate, zip};
use crate::asm::mve::text::constant;
use crate::asm::mve::{At, SP};
use crate::asm::table::{
    Base, Both, Imm, In, Index, Num, Operand, Out, Part, Register, Touch, arm, choices, instructions,
    registers,
};
#[cfg(any(test, feature = "testing"))]
use crate::asm::table::{Draw, File, Value};

/// The places of the first vector and of the predicate.
pub(crate) const VECTORS: u32 = 16;
pub(crate) const PREDICATE: u32 = 24;

registers! {
    /// A general-purpose register, 0 to 14; 13 is the stack pointer, 14 `lr`.
    R(u8) from 0, arm;
    /// A vector register, 0 to 7.
    Q(u8) from VECTORS, |n| format!("q{n}");
    /// The predicate, 0: a bit for each byte of a vector.
    P(u8) from PREDICATE, |n| format!("p{n}");
}

choices! {
    /// Width of a lane, as its bits.
    Lane { B "8" H "16" W "32" }
    /// Which half of the lanes a narrowing or widening instruction takes.
    Half { Bottom "b" Top "t" }
}

/// An address of elements of `STEP` bytes that is moved by at most 127 of them; its register is a low one where `LOW`.
pub struct Near<const LOW: bool, const STEP: i32>;
type Any = Near<false, 1>;
type Low = Near<true, 1>;
type LowHalves = Near<true, 2>;

impl<const LOW: bool, const STEP: i32> Operand for Near<LOW, STEP> {
    type Field = At;
    fn visit(at: At, f: &mut dyn FnMut(u32, Touch)) {
        let (r, _) = at.parts();
        f(r.0.into(), if at.moves() { Touch::Moved } else { Touch::Base });
    }
    fn rename(at: &mut At, to: &dyn Fn(u32) -> u32) {
        let (At::Offset(r, _) | At::Before(r, _) | At::After(r, _)) = at;
        *r = R::of(to(r.number()));
    }
    fn legal(at: At) -> bool {
        let (r, by) = at.parts();
        by % STEP == 0 && (-127..=127).contains(&(by / STEP)) && (!LOW || low(&[r]))
    }
    #[cfg(any(test, feature = "testing"))]
    fn draw(draw: &mut dyn Draw) -> Option<At> {
        let how = draw.choice(3);
        let r = R::of(draw.register(R::FIRST, if how == 0 { Touch::Base } else { Touch::Moved }));
        let by = STEP * draw.number(-127, 127) as i32;
        Some(match how {
            0 => At::Offset(r, by),
            1 => At::Before(r, by),
            _ => At::After(r, by),
        })
    }
}

/// Where memory is accessed.
#[cfg(any(test, feature = "testing"))]
impl<'a, const LOW: bool, const STEP: i32> Value<Model<'a>> for Near<LOW, STEP> {
    type Value = u32;
    fn get(at: At, m: &Model) -> u32 {
        let (r, by) = at.parts();
        m.read(r).wrapping_add(if let At::After(..) = at { 0 } else { by as u32 })
    }
    fn put(at: At, _: u32, m: &mut Model) {
        let (r, by) = at.parts();
        if at.moves() {
            m.write(r, m.read(r).wrapping_add(by as u32));
        }
    }
}

/// What executes an instruction: the scalar core, or a pipe of the vector unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pipe {
    None,
    Memory,
    Multiply,
    Other,
    Predicate,
}

/// What cost, order and printer ask of an instruction.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    pub pipe: Pipe,
    /// Cycles from its start until its result can be used, until its pipe is free, and until the
    /// next instruction may start.
    pub latency: u64,
    pub held: u64,
    pub turns: u64,
    pub bytes: u32,
    /// How memory is touched; not what the caller left, which nothing writes.
    pub memory: Option<Touch>,
    /// Whether it stands under the predicate.
    pub then: bool,
    pub encodes: bool,
}

const fn scalar(short: bool) -> Form {
    let bytes = if short { 2 } else { 4 };
    Form { pipe: Pipe::None, latency: 1, held: 0, turns: 1, bytes, memory: None, then: false, encodes: true }
}
/// A word in memory: short at a multiple of four near a low register or the stack pointer.
fn word(touch: Touch, data: R, base: R, offset: i32) -> Form {
    let reach = match base {
        SP => 1020,
        base if low(&[base]) => 124,
        _ => -1,
    };
    let near = (0..=reach).contains(&offset) && offset % 4 == 0;
    Form { memory: Some(touch), ..scalar(low(&[data]) && near) }
}
/// A constant: its bytes, and one instruction or two.
fn set(d: R, v: i32) -> Form {
    match v {
        0..256 if low(&[d]) => scalar(true),
        0..0x1_0000 => scalar(false),
        _ => Form { bytes: 8, turns: 2, ..scalar(false) },
    }
}
/// Each half of a vector takes a cycle.
const fn vector(pipe: Pipe) -> Form {
    Form { pipe, held: 2, ..scalar(false) }
}
const fn other() -> Form {
    vector(Pipe::Other)
}
const fn multiply() -> Form {
    vector(Pipe::Multiply).late(2)
}
const fn load() -> Form {
    Form { memory: Some(Touch::Read), ..vector(Pipe::Memory) }
}
const fn store() -> Form {
    Form { memory: Some(Touch::Write), ..vector(Pipe::Memory) }
}

impl Form {
    const fn late(self, latency: u64) -> Form {
        Form { latency, ..self }
    }
    const fn only(self, encodes: bool) -> Form {
        Form { encodes, ..self }
    }
    /// Under the predicate; what begins such a stretch takes a turn of its own.
    const fn then(self) -> Form {
        Form { then: true, turns: 2, ..self }
    }
}

fn low(regs: &[R]) -> bool {
    regs.iter().all(|r| r.0 < 8)
}
fn even(r: R) -> bool {
    r.0.is_multiple_of(2)
}
/// Whether an addition has a short form, in place.
fn in_place(d: R, a: R, v: i32) -> bool {
    d == a && low(&[d]) && (-255..256).contains(&v)
}

instructions! {
    form Form, text s, model m: Model<'_>;

    Mov(d: Out<R>, a: In<R>) scalar(true), "mov {d}, {a}" => d = a;
    /// Any 32-bit constant.
    MovImm(d: Out<R>, v: Imm<{ i32::MIN }, { i32::MAX }>) set(d, v), "{of}", of = constant(d, v) => d = v as u32;
    /// A constant of -4095..=4095.
    AddImm(d: Out<R>, a: In<R>, v: Imm<-4095, 4095>) scalar(in_place(d, a, v)), "{sum} {d}, {a}#{n}",
        sum = match (v < 0, in_place(d, a, v)) { (false, false) => "addw", (false, true) => "adds", (true, false) => "subw", (true, true) => "subs" },
        a = if in_place(d, a, v) { String::new() } else { format!("{a}, ") }, n = v.abs() => d = a.wrapping_add(v as u32);
    Add(d: Out<R>, a: In<R>, b: In<R>) scalar(d == a), "add {d}, {a}, {b}" => d = a.wrapping_add(b);
    /// Spoils the flags.
    Sub(d: Out<R>, a: In<R>, b: In<R>) scalar(low(&[d, a, b])), "subs {d}, {a}, {b}" => d = a.wrapping_sub(b);
    /// `a - (b >> n)` and `a >> n`, n of 1..=31.
    SubAsr(d: Out<R>, a: In<R>, b: In<R>, n: Num<1, 31>) scalar(false), "sub.w {d}, {a}, {b}, asr #{n}" => d = a.wrapping_sub((b as i32 >> n) as u32);
    AsrImm(d: Out<R>, a: In<R>, n: Num<1, 31>) scalar(false), "asr.w {d}, {a}, #{n}" => d = (a as i32 >> n) as u32;
    /// Loads and stores a word.
    Ldr(d: Out<R>, a: Base<R>, o: Imm<-255, 4095>) word(Touch::Read, d, a, o).late(2), "ldr {d}, [{a}, #{o}]" => d = m.memory.aligned(a.wrapping_add(o as u32));
    Str(v: In<R>, a: Base<R>, o: Imm<-255, 4095>) word(Touch::Write, v, a, o), "str {v}, [{a}, #{o}]" => m.memory.put_aligned(a.wrapping_add(o as u32), v);
    /// Argument `n`, the fifth (4) and later ones that the caller left on the stack, which the printer
    /// finds above the frame.
    LdrArg(d: Out<R>, n: Num<4, 255>) scalar(false).late(2), "" => d = m.argument(n);

    /// Sixteen bytes.
    Load(d: Out<Q>, at: Any) load(), "vldrb.u8 {d}, {at}" => d = m.load(Lane::B, at, m.tail);
    Store(v: In<Q>, at: Any) store(), "vstrb.8 {v}, {at}" => m.store(Lane::B, v, at, m.tail);
    /// Signed bytes, widened to half-words or words.
    LoadWide(l: Lane, d: Out<Q>, at: Low) load().only(l != Lane::B), "vldrb.s{l} {d}, {at}" => d = m.load(l, at, m.tail);
    /// The low byte of each half-word or word.
    StoreNarrow(l: Lane, v: In<Q>, at: Low) store().only(l != Lane::B), "vstrb.{l} {v}, {at}" => m.store(l, v, at, m.tail);
    /// The same where the predicate holds; what is not loaded is zero.
    LoadThen(p: In<P>, d: Out<Q>, at: Any) load().then(), "vldrbt.u8 {d}, {at}" => d = m.load(Lane::B, at, p);
    StoreThen(p: In<P>, v: In<Q>, at: Any) store().then(), "vstrbt.8 {v}, {at}" => m.store(Lane::B, v, at, p);
    LoadWideThen(p: In<P>, l: Lane, d: Out<Q>, at: Low) load().then().only(l != Lane::B), "vldrbt.s{l} {d}, {at}" => d = m.load(l, at, p);
    StoreNarrowThen(p: In<P>, l: Lane, v: In<Q>, at: Low) store().then().only(l != Lane::B), "vstrbt.{l} {v}, {at}" => m.store(l, v, at, p);
    /// The low half-word of each word, and the same where the predicate holds.
    StoreHalves(v: In<Q>, at: LowHalves) store(), "vstrh.32 {v}, {at}" => m.store_halves(v, at, m.tail);
    StoreHalvesThen(p: In<P>, v: In<Q>, at: LowHalves) store().then(), "vstrht.32 {v}, {at}" => m.store_halves(v, at, p);
    /// Sixteen bytes at a multiple of four.
    LoadWords(d: Out<Q>, a: Base<R>, o: Imm<-508, 508, 4>) load(), "vldrw.u32 {d}, {at}", at = At::Offset(a, o) => d = m.words(a.wrapping_add(o as u32));
    /// Bytes at a base plus each byte of the vector, unsigned: one a cycle.
    Gather(d: Out<Q>, a: Base<R>, o: Index<Q>) Form { held: 16, turns: 16, ..load().late(16) }, "vldrb.u8 {d}, [{a}, {o}]" => d = m.gather(a, o);

    /// Sum of products of signed lanes, in 32 bits, and one added to what there is.
    Dot(l: Lane, d: Out<R>, a: In<Q>, b: In<Q>) multiply().only(even(d)), "vmladav.s{l} {d}, {a}, {b}" => d = m.dot(l, a, b);
    DotAdd(l: Lane, d: Both<R>, a: In<Q>, b: In<Q>) multiply().only(even(d)), "vmladava.s{l} {d}, {a}, {b}" => d = d.wrapping_add(m.dot(l, a, b));
    /// Words 0 and 2, or 1 and 3, of a vector.
    SetLanes(d: Part<Q>, first: Num<0, 1>, a: In<R>, b: In<R>) vector(if first == 1 { Pipe::Multiply } else { Pipe::Other }), "vmov {d}[{next}], {d}[{first}], {a}, {b}", next = first + 2 => d = m.set(d, first, [a, b]);
    Dup(l: Lane, d: Out<Q>, r: In<R>) other(), "vdup.{l} {d}, {r}" => d = of(l, |_| r.into());

    AddLanes(l: Lane, d: Out<Q>, a: In<Q>, b: In<Q>) other(), "vadd.i{l} {d}, {a}, {b}" => d = zip(l, a, b, |a, b| a + b);
    /// Saturating, signed.
    QAdd(l: Lane, d: Out<Q>, a: In<Q>, b: In<Q>) other(), "vqadd.s{l} {d}, {a}, {b}" => d = zip(l, a, b, |a, b| saturate(l, a + b));
    Mul(l: Lane, d: Out<Q>, a: In<Q>, b: In<Q>) multiply(), "vmul.i{l} {d}, {a}, {b}" => d = zip(l, a, b, i64::wrapping_mul);
    /// High half of the signed product of words.
    MulHigh(d: Out<Q>, a: In<Q>, b: In<Q>) multiply(), "vmulh.s32 {d}, {a}, {b}" => d = zip(Lane::W, a, b, |a, b| (a * b) >> 32);
    /// Products of the bytes of one half of each lane pair, as half-words.
    MulLong(h: Half, d: Out<Q>, a: In<Q>, b: In<Q>) multiply(), "vmull{h}.s8 {d}, {a}, {b}" => d = of(Lane::H, |i| lanes(Lane::B, a)[h.of(i)] * lanes(Lane::B, b)[h.of(i)]);
    And(d: Out<Q>, a: In<Q>, b: In<Q>) other(), "vand {d}, {a}, {b}" => d = zip(Lane::B, a, b, |a, b| a & b);
    Max(l: Lane, d: Out<Q>, a: In<Q>, b: In<Q>) other(), "vmax.s{l} {d}, {a}, {b}" => d = zip(l, a, b, i64::max);
    Min(l: Lane, d: Out<Q>, a: In<Q>, b: In<Q>) other(), "vmin.s{l} {d}, {a}, {b}" => d = zip(l, a, b, i64::min);
    /// Shift of signed words by the second operand's lanes: left, or right with rounding.
    RoundShift(d: Out<Q>, a: In<Q>, b: In<Q>) other().late(2), "vrshl.s32 {d}, {a}, {b}" => d = zip(Lane::W, a, b, round_shift);

    /// Addition of a register to every lane; saturating, of half-words.
    AddAll(l: Lane, d: Out<Q>, a: In<Q>, r: In<R>) other(), "vadd.i{l} {d}, {a}, {r}" => d = each(l, a, |a| a + i64::from(r));
    QAddAll(d: Out<Q>, a: In<Q>, r: In<R>) other(), "vqadd.s16 {d}, {a}, {r}" => d = each(Lane::H, a, |a| saturate(Lane::H, a + i64::from(r as i16)));
    /// `d * a + r` and `d + a * r` of words, a register taking part in every lane.
    TimesPlusAll(d: Both<Q>, a: In<Q>, r: In<R>) multiply(), "vmlas.s32 {d}, {a}, {r}" => d = zip(Lane::W, d, a, |d, a| (d * a).wrapping_add(r.into()));
    PlusTimesAll(d: Both<Q>, a: In<Q>, r: In<R>) multiply(), "vmla.s32 {d}, {a}, {r}" => d = zip(Lane::W, d, a, |d, a| a.wrapping_mul(r.into()).wrapping_add(d));

    /// Sign-extends one half of each pair of bytes or half-words.
    Widen(l: Lane, h: Half, d: Out<Q>, a: In<Q>) other().only(l != Lane::W), "vmovl{h}.s{l} {d}, {a}" => d = of(if l == Lane::B { Lane::H } else { Lane::W }, |i| lanes(l, a)[h.of(i)]);
    /// Half-words or words, narrowed with saturation into one half of each lane; the other half
    /// of the result stays. The lane is the source's.
    Narrow(l: Lane, h: Half, d: Part<Q>, a: In<Q>) other().late(3).only(l != Lane::B), "vqmovn{h}.s{l} {d}, {a}" => d = narrow(l, h, d, a, |v| v);
    /// The same after a rounding right shift, of half-words by 1..=8 or of words by 1..=16. (Its
    /// sibling without rounding is not used: binutils 2.40 writes this one for it.)
    NarrowShift(l: Lane, h: Half, d: Part<Q>, a: In<Q>, n: Num<1, 16>) other().late(3).only(l == Lane::W || l == Lane::H && n <= 8), "vqrshrn{h}.s{l} {d}, {a}, #{n}" => d = narrow(l, h, d, a, |v| rounded(v, n));
    /// Right shifts of words by 1..=32: arithmetic, with rounding, and logical.
    Asr(d: Out<Q>, a: In<Q>, n: Num<1, 32>) other(), "vshr.s32 {d}, {a}, #{n}" => d = each(Lane::W, a, |a| a >> n);
    ShrRound(d: Out<Q>, a: In<Q>, n: Num<1, 32>) other().late(2), "vrshr.s32 {d}, {a}, #{n}" => d = each(Lane::W, a, |a| rounded(a, n));
    Shr(d: Out<Q>, a: In<Q>, n: Num<1, 32>) other(), "vshr.u32 {d}, {a}, #{n}" => d = each(Lane::W, a, |a| (a & 0xffff_ffff) >> n);

    /// Left shift of bytes by 0..=7.
    ShlBytes(d: Out<Q>, a: In<Q>, n: Num<0, 7>) other(), "vshl.i8 {d}, {a}, #{n}" => d = each(Lane::B, a, |a| a << n);

    /// The predicate: true for the first `r` lanes.
    Vctp(p: Out<P>, l: Lane, r: In<R>) Form { held: 1, ..vector(Pipe::Predicate) }, "vctp.{l} {r}" => p = l.first(r);
}
