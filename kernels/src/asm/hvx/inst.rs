//! The instructions of Hexagon with HVX, a row each ([`crate::asm::table`]). The first register is
//! the result, except of stores; the only scalar predicate is `p0`.
//!
//! Source: Qualcomm Hexagon V66 and V67 HVX Programmer's Reference Manuals (resources and slots of
//! each instruction).

#[cfg(any(test, feature = "testing"))]
use crate::asm::hvx::VECTOR;
#[cfg(any(test, feature = "testing"))]
use crate::asm::hvx::simulate::{Model, halves, halves_of, lanes, line, of_halves, of_words, signed, words};
#[cfg(any(test, feature = "testing"))]
use crate::asm::simulate::clip;
use crate::asm::table::{self, Both, Imm, In, Moved, Num, Operand, Out, Touch, instructions, registers};
#[cfg(any(test, feature = "testing"))]
use crate::asm::table::{Draw, Value};

type Base = table::Base<R>;
/// An amount of bytes or bits; some instructions have three bits for its register.
type Amount = table::Amount<R>;

/// The places of the first vector and of the first predicate.
pub(crate) const VECTORS: u32 = 32;
pub(crate) const PREDICATES: u32 = 64;

registers! {
    /// A scalar register, `r0`..`r15` or `r28`.
    R(u32) from 0, |n| format!("r{n}");
    /// A vector register; pairs are named by their even one.
    V(u32) from VECTORS, |n| format!("v{n}");
    /// A vector predicate, `q0`..`q3`: a bit for each byte.
    Q(u32) from PREDICATES, |n| format!("q{n}");
}

/// A vector and the one behind it, that is written; and one that is read before.
pub struct OutPair;
pub struct BothPair;

macro_rules! pairs {
    ($($role:ident $touch:ident)*) => { $(
        impl Operand for $role {
            type Field = V;
            fn visit(v: V, f: &mut dyn FnMut(u32, Touch)) {
                (0..2).for_each(|n| f(VECTORS + v.0 + n, Touch::$touch));
            }
            fn legal(v: V) -> bool {
                v.0 % 2 == 0
            }
            #[cfg(any(test, feature = "testing"))]
            fn draw(draw: &mut dyn Draw) -> Option<V> {
                Some(V(draw.register(VECTORS, Touch::$touch)))
            }
        }
        #[cfg(any(test, feature = "testing"))]
        impl<'a> Value<Model<'a>> for $role {
            type Value = [[u8; VECTOR]; 2];
            fn get(v: V, m: &Model) -> Self::Value {
                [0, 1].map(|n| m.old.v[(v.0 + n) as usize])
            }
            fn put(v: V, values: Self::Value, m: &mut Model) {
                m.new.v[v.0 as usize..][..2].copy_from_slice(&values);
            }
        }
    )* };
}
pairs! { OutPair Write BothPair Both }

/// The pipes of the vector unit that an instruction takes: two for multiplications, one for
/// shifts, one for permutations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pipes {
    None,
    /// Any one.
    Any,
    /// Both for multiplications, or both others.
    Half,
    Multiply,
    Multiplies,
    Shift,
    Permute,
    /// Shifts and permutations.
    Move,
}

/// What an instruction takes of a packet, and what it touches besides its operands.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    pub pipes: Pipes,
    /// Of the two slots for memory.
    pub slots: u32,
    /// Of the two others.
    pub high: u32,
    /// Whether it accesses memory with a vector: one a packet.
    pub vector: bool,
    /// A constant that does not fit takes another word.
    pub words: u32,
    /// How memory and the scalar predicate are touched.
    pub memory: Option<Touch>,
    pub predicate: Option<Touch>,
    pub encodes: bool,
}

const fn plain(pipes: Pipes) -> Form {
    Form { pipes, slots: 0, high: 0, vector: false, words: 1, memory: None, predicate: None, encodes: true }
}
const fn high(pipes: Pipes) -> Form {
    Form { high: 1, ..plain(pipes) }
}
const fn load(slots: u32, pipes: Pipes) -> Form {
    Form { slots, vector: true, memory: Some(Touch::Read), ..plain(pipes) }
}
/// No load beside a store is asked for.
const fn store(pipes: Pipes) -> Form {
    Form { memory: Some(Touch::Write), ..load(2, pipes) }
}
const fn on(predicate: Touch) -> Form {
    Form { predicate: Some(predicate), ..plain(Pipes::None) }
}

impl Form {
    /// The register of an amount has to be one of `r0`..`r7`.
    const fn low(self, r: R) -> Form {
        Form { encodes: r.0 < 8, ..self }
    }
}

/// A pair of vectors as it is written.
fn both(v: V) -> String {
    format!("v{}:{}", v.0 + 1, v.0)
}

use Pipes::{Any, Half, Move, Multiplies, Multiply, None as Scalar, Permute, Shift};

instructions! {
    form Form, text _s, model m: Model<'_>;

    /// Any 32-bit constant.
    Set(d: Out<R>, c: Imm<{ i32::MIN }, { i32::MAX }>) Form { words: 2, ..plain(Scalar) }, "{d} = ##{c}" => d = c as u32;
    Mov(d: Out<R>, a: In<R>) plain(Scalar), "{d} = {a}" => d = a;
    /// Constant of -32768..=32767.
    Add(d: Out<R>, a: In<R>, c: Imm<-32768, 32767>) plain(Scalar), "{d} = add({a},#{c})" => d = a.wrapping_add(c as u32);
    Sum(d: Out<R>, a: In<R>, b: In<R>) plain(Scalar), "{d} = add({a},{b})" => d = a.wrapping_add(b);
    /// With a constant of -512..=511.
    And(d: Out<R>, a: In<R>, c: Imm<-512, 511>) plain(Scalar), "{d} = and({a},#{c})" => d = a & c as u32;
    /// The low bits, as many as the constant tells.
    LowBits(d: Out<R>, a: In<R>, n: Num<1, 31>) high(Scalar), "{d} = extractu({a},#{n},#0)" => d = a & ((1 << n) - 1);
    /// Arithmetic shift by a constant.
    ShiftBy(d: Out<R>, a: In<R>, n: Num<0, 31>) high(Scalar), "{d} = asr({a},#{n})" => d = ((a as i32) >> n) as u32;
    /// The low halves of two registers, the last operand's in the lower half.
    Halves(d: Out<R>, a: In<R>, b: In<R>) plain(Scalar), "{d} = combine({a}.l,{b}.l)" => d = a << 16 | b & 0xffff;
    /// Whether the register is greater than a constant of -512..=511.
    Greater(a: In<R>, c: Imm<-512, 511>) on(Touch::Write), "p0 = cmp.gt({a},#{c})" => m.new.p = a as i32 > c;
    /// The register where the last comparison held, else zero.
    Kept(d: Out<R>, a: In<R>) on(Touch::Read), "{d} = mux(p0,{a},#0)" => d = if m.old.p { a } else { 0 };
    /// Zero where the last comparison held, else the register.
    Dropped(d: Out<R>, a: In<R>) on(Touch::Read), "{d} = mux(p0,#0,{a})" => d = if m.old.p { 0 } else { a };
    /// Word at a byte offset.
    LoadWord(d: Out<R>, a: Base, o: Imm<-4096, 4092, 4>) Form { vector: false, ..load(1, Scalar) }, "{d} = memw({a}+#{o})" => d = m.memory.aligned(a.wrapping_add(o as u32));
    /// The vector at an aligned address, which then moves on by one vector.
    LoadNext(d: Out<V>, a: Moved<R>) load(1, Any), "{d} = vmem({a}++#1)" => { d = m.load(line(a)); a = a.wrapping_add(VECTOR as u32) };
    /// The aligned vector around an address, `n` vectors on.
    Load(d: Out<V>, a: Base, n: Imm<-8, 7>) load(1, Any), "{d} = vmem({a}+#{n})" => d = m.load(line(m.past(a, n)));
    /// At any address, `n` vectors on.
    LoadAny(d: Out<V>, a: Base, n: Imm<-8, 7>) load(2, Permute), "{d} = vmemu({a}+#{n})" => d = m.load(m.past(a, n));
    StoreAny(a: Base, n: Imm<-8, 7>, v: In<V>) store(Permute), "vmemu({a}+#{n}) = {v}" => m.stores.push((m.past(a, n), v.to_vec()));
    /// The bytes of the predicate, to the aligned vector around an address.
    StoreMasked(q: In<Q>, a: Base, v: In<V>) store(Any), "if ({q}) vmem({a}+#0) = {v}" => {
        let bytes = (0..VECTOR).filter(|&i| q[i]).map(|i| (line(a) + i as u32, vec![v[i]]));
        m.stores.extend(bytes)
    };
    /// The word in all lanes.
    Splat(d: Out<V>, a: In<R>) high(Multiply), "{d} = vsplat({a})" => d = of_words(|_| a as i32);
    Copy(d: Out<V>, a: In<V>) plain(Any), "{d} = {a}" => d = a;
    /// The byte in all bytes.
    SplatByte(d: Out<V>, a: In<R>) high(Multiply), "{d}.b = vsplat({a})" => d = [a as u8; VECTOR];
    SplatHalf(d: Out<V>, a: In<R>) high(Multiply), "{d}.h = vsplat({a})" => d = of_halves(|_| a as i32);
    /// Each lane: sum of four products of an unsigned byte and the scalar's signed byte.
    Dot(d: Out<V>, a: In<V>, b: In<R>) high(Multiply), "{d}.w = vrmpy({a}.ub,{b}.b)" => d = lanes([0; VECTOR], |i| i32::from(a[i]) * signed(b, i % 4));
    /// The same, added.
    DotAdd(d: Both<V>, a: In<V>, b: In<R>) high(Multiply), "{d}.w += vrmpy({a}.ub,{b}.b)" => d = lanes(d, |i| i32::from(a[i]) * signed(b, i % 4));
    /// Each lane: sum of four products of signed bytes, added.
    DotLanes(d: Both<V>, a: In<V>, b: In<V>) high(Multiplies), "{d}.w += vrmpy({a}.b,{b}.b)" => d = lanes(d, |i| i32::from(a[i] as i8) * i32::from(b[i] as i8));
    /// Each word: products of its signed halves with the scalar's, summed.
    DotHalves(d: Out<V>, a: In<V>, b: In<R>) high(Multiplies), "{d}.w = vdmpy({a}.h,{b}.h):sat" => {
        let (x, [k, n]) = (halves(&a), halves_of(b));
        d = of_words(|i| clip(i64::from(x[2 * i]) * k + i64::from(x[2 * i + 1]) * n, 32))
    };
    /// Products of signed halves into a pair of words: those at even places, and at odd ones.
    MulHalves(d: OutPair, a: In<V>, b: In<V>) high(Multiplies), "{of}.w = vmpy({a}.h,{b}.h)", of = both(d) => {
        let (x, y) = (halves(&a), halves(&b));
        d = [0, 1].map(|odd| of_words(|i| x[2 * i + odd].wrapping_mul(y[2 * i + odd])))
    };
    /// The same with the scalar's halves, added.
    MulHalvesAdd(d: BothPair, a: In<V>, b: In<R>) high(Multiplies), "{of}.w += vmpy({a}.h,{b}.h):sat", of = both(d) => {
        let (x, k, before) = (halves(&a), halves_of(b), d.map(|v| words(&v)));
        d = [0, 1].map(|odd| of_words(|i| clip(i64::from(before[odd][i]) + i64::from(x[2 * i + odd]) * k[odd], 32)))
    };
    /// Signed bytes to halves, into a pair: those at even places, and at odd ones.
    Widen(d: OutPair, a: In<V>) plain(Half), "{of}.h = vsxt({a}.b)", of = both(d) => d = [0, 1].map(|odd| of_halves(|i| i32::from(a[2 * i + odd] as i8)));
    /// Bytes (halves) of two vectors side by side, into a pair: those at even places, and at odd
    /// ones. The last operand's come first.
    PairBytes(d: OutPair, a: In<V>, b: In<V>) plain(Half), "{of}.b = vshuffoe({a}.b,{b}.b)", of = both(d) => d = [0, 1].map(|odd| std::array::from_fn(|i| [b, a][i % 2][i / 2 * 2 + odd]));
    PairHalves(d: OutPair, a: In<V>, b: In<V>) plain(Half), "{of}.h = vshuffoe({a}.h,{b}.h)", of = both(d) => {
        let from = [halves(&b), halves(&a)];
        d = [0, 1].map(|odd| of_halves(|i| from[i % 2][i / 2 * 2 + odd]))
    };
    AddWords(d: Out<V>, a: In<V>, b: In<V>) plain(Any), "{d}.w = vadd({a}.w,{b}.w)" => { let (x, y) = (words(&a), words(&b)); d = of_words(|i| x[i].wrapping_add(y[i])) };
    SubWords(d: Out<V>, a: In<V>, b: In<V>) plain(Any), "{d}.w = vsub({a}.w,{b}.w)" => { let (x, y) = (words(&a), words(&b)); d = of_words(|i| x[i].wrapping_sub(y[i])) };
    SubHalves(d: Out<V>, a: In<V>, b: In<V>) plain(Any), "{d}.h = vsub({a}.h,{b}.h)" => { let (x, y) = (halves(&a), halves(&b)); d = of_halves(|i| x[i] - y[i]) };
    AndWords(d: Out<V>, a: In<V>, b: In<V>) plain(Any), "{d} = vand({a},{b})" => d = std::array::from_fn(|i| a[i] & b[i]);
    Xor(d: Out<V>, a: In<V>, b: In<V>) plain(Any), "{d} = vxor({a},{b})" => d = std::array::from_fn(|i| a[i] ^ b[i]);
    /// 64-bit product of words with the low, unsigned halves of others, into a pair.
    MulLow(d: OutPair, a: In<V>, b: In<V>) high(Multiplies), "{of} = vmpye({a}.w,{b}.uh)", of = both(d) => {
        let (x, y) = (words(&a), words(&b));
        let at = |i: usize| i64::from(x[i]) * i64::from(y[i] & 0xffff);
        d = [of_words(|i| (at(i) << 16) as i32), of_words(|i| (at(i) >> 16) as i32)]
    };
    /// Adds the product with the high halves: the odd register is the product's high word then.
    MulHighAdd(d: BothPair, a: In<V>, b: In<V>) high(Multiplies), "{of} += vmpyo({a}.w,{b}.h)", of = both(d) => {
        let (x, y, [low, high]) = (words(&a), words(&b), d.map(|v| words(&v)));
        let at = |i: usize| i64::from(x[i]) * i64::from(y[i] >> 16) + i64::from(high[i]);
        let moved = |i: usize| ((low[i] as u32) >> 16) as i32 | (at(i) << 16) as i32;
        d = [of_words(moved), of_words(|i| (at(i) >> 16) as i32)]
    };
    /// Arithmetic shift of each word by another's amount: six bits, of which the negative ones
    /// shift left.
    ShiftRight(d: Out<V>, a: In<V>, b: In<V>) plain(Shift), "{d}.w = vasr({a}.w,{b}.w)" => {
        let (x, y) = (words(&a), words(&b));
        d = of_words(|i| match y[i] << 26 >> 26 {
            n if n >= 0 => x[i] >> n,
            n => (i64::from(x[i]) << -n) as i32,
        })
    };
    /// Shifts of all words by the register's amount; the last adds what it shifts left.
    ShiftRightAll(d: Out<V>, a: In<V>, b: In<R>) plain(Shift), "{d}.w = vasr({a}.w,{b})" => { let x = words(&a); d = of_words(|i| x[i] >> (b & 31)) };
    ShiftLeftAll(d: Out<V>, a: In<V>, b: In<R>) plain(Shift), "{d}.w = vasl({a}.w,{b})" => { let x = words(&a); d = of_words(|i| x[i] << (b & 31)) };
    ShiftLeftAdd(d: Both<V>, a: In<V>, b: In<R>) plain(Shift), "{d}.w += vasl({a}.w,{b})" => { let (x, to) = (words(&a), words(&d)); d = of_words(|i| to[i].wrapping_add(x[i] << (b & 31))) };
    /// Words to halves and halves to bytes, saturated: first the lanes of the last operand.
    PackHalves(d: Out<V>, a: In<V>, b: In<V>) plain(Permute), "{d}.h = vpack({a}.w,{b}.w):sat" => { let all = [words(&b), words(&a)].concat(); d = of_halves(|i| clip(all[i].into(), 16)) };
    PackBytes(d: Out<V>, a: In<V>, b: In<V>) plain(Permute), "{d}.b = vpack({a}.h,{b}.h):sat" => { let all = [halves(&b), halves(&a)].concat(); d = std::array::from_fn(|i| clip(all[i].into(), 8) as u8) };
    /// Words to halves and halves to bytes, saturated, side by side: the last operand's first.
    /// For bytes the register, `r0`..`r7`, holds zero.
    NarrowWords(d: Out<V>, a: In<V>, b: In<V>) plain(Any), "{d}.h = vsat({a}.w,{b}.w)" => { let of = [words(&b), words(&a)]; d = of_halves(|i| clip(of[i % 2][i / 2].into(), 16)) };
    NarrowHalves(d: Out<V>, a: In<V>, b: In<V>, n: Amount) plain(Shift).low(n), "{d}.b = vasr({a}.h,{b}.h,{n}):sat" => {
        let of = [halves(&b), halves(&a)];
        d = std::array::from_fn(|i| clip((of[i % 2][i / 2] >> (n & 7)).into(), 8) as u8)
    };
    /// Bytes from the register's low bits on, of the last vector and then the one before it;
    /// `r0`..`r7`.
    Align(d: Out<V>, a: In<V>, b: In<V>, n: Amount) plain(Permute).low(n), "{d} = valign({a},{b},{n})" => { let all = [b, a].concat(); d = std::array::from_fn(|i| all[i + n as usize % VECTOR]) };
    /// Bytes moved up to the place that the register's low bits tell, around the end; `r0`..`r7`.
    RotateUp(d: Out<V>, a: In<V>, n: Amount) plain(Permute).low(n), "{d} = vlalign({a},{a},{n})" => d = std::array::from_fn(|i| a[(i + VECTOR - n as usize % VECTOR) % VECTOR]);
    /// Bytes exchanged with those 64 further on or back, then 32, 16 and so on, where the last
    /// vector's byte has that bit.
    Exchange(d: Out<V>, a: In<V>, b: In<V>) plain(Permute), "{d} = vdelta({a},{b})" => {
        let swap = |x: [u8; VECTOR], by: usize| std::array::from_fn(|i| x[if usize::from(b[i]) & by == 0 { i } else { i ^ by }]);
        d = [64, 32, 16, 8, 4, 2, 1].into_iter().fold(a, swap)
    };
    /// Bytes moved down by the register's low bits, around the end.
    RotateDown(d: Out<V>, a: In<V>, n: In<R>) plain(Permute), "{d} = vror({a},{n})" => d = std::array::from_fn(|i| a[(i + n as usize % VECTOR) % VECTOR]);
    /// The two halves of a vector, byte by byte side by side.
    Interleave(d: Out<V>, a: In<V>) plain(Permute), "{d}.b = vshuff({a}.b)" => d = std::array::from_fn(|i| a[i / 2 + i % 2 * (VECTOR / 2)]);
    /// Bytes by a table: those with indices of the `n`th 32, else zero. 64 pairs of bytes are a
    /// quarter's entries and those 64 further on.
    Lookup(d: Out<V>, a: In<V>, b: In<V>, n: Num<0, 7>) plain(Permute), "{d}.b = vlut32({a}.b,{b}.b,#{n})" => d = a.map(|index| found(&b, index, n));
    /// The same, joined to what there is.
    LookupMore(d: Both<V>, a: In<V>, b: In<V>, n: Num<0, 7>) plain(Move), "{d}.b |= vlut32({a}.b,{b}.b,#{n})" => d = std::array::from_fn(|i| d[i] | found(&b, a[i], n));
    /// The first bytes: as many as the low bits tell, none at zero.
    First(q: Out<Q>, a: In<R>) plain(Permute), "{q} = vsetq({a})" => q = std::array::from_fn(|i| i < a as usize % VECTOR);
    /// The same, and all at zero.
    FirstOrAll(q: Out<Q>, a: In<R>) plain(Permute), "{q} = vsetq2({a})" => q = std::array::from_fn(|i| i <= a.wrapping_sub(1) as usize % VECTOR);
    /// Those of the first predicate that are not of the second.
    Without(q: Out<Q>, a: In<Q>, b: In<Q>) plain(Half), "{q} = and({a},!{b})" => q = std::array::from_fn(|i| a[i] && !b[i]);
    /// Bytes of the first vector where the predicate holds, else of the second.
    Select(d: Out<V>, q: In<Q>, a: In<V>, b: In<V>) plain(Any), "{d} = vmux({q},{a},{b})" => d = std::array::from_fn(|i| if q[i] { a[i] } else { b[i] });
    MaxBytes(d: Out<V>, a: In<V>, b: In<V>) plain(Any), "{d}.b = vmax({a}.b,{b}.b)" => d = std::array::from_fn(|i| (a[i] as i8).max(b[i] as i8) as u8);
    MinBytes(d: Out<V>, a: In<V>, b: In<V>) plain(Any), "{d}.b = vmin({a}.b,{b}.b)" => d = std::array::from_fn(|i| (a[i] as i8).min(b[i] as i8) as u8);
}

#[cfg(any(test, feature = "testing"))]
fn found(table: &[u8; VECTOR], index: u8, n: u32) -> u8 {
    if u32::from(index >> 5) == n { table[usize::from(index % 64) * 2 + (n as usize >> 1 & 1)] } else { 0 }
}
