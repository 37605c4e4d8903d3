//! Blocks for Hexagon with HVX, vectors of 128 bytes: instructions over machine registers, put
//! into packets here and printed for LLVM's assembler.
//!
//! In: straight stretches and hardware loops written by a generator (`gemm`, `depthwise`, `line`, `runs`). Out: a
//! [`Native`](crate::kernel::Native).
//!
//! Source: Qualcomm Hexagon V66 and V67 HVX Programmer's Reference Manuals (resources and slots of
//! each instruction, packet rules).
//!
//! Laws: a packet reads all its registers before it writes any, so a later writer may stand beside
//! an earlier reader, and nothing else that depends may share a packet. Only registers that a
//! callee may spoil are used: r0-r15, r28, p0, v0-v31, and the hardware loops.

mod packet;
#[cfg(test)]
pub(crate) mod simulate;

#[cfg(test)]
use crate::asm::armv7em::simulate::simulation;
use crate::kernel::Native;
use std::fmt::Write;

/// Bytes of a vector.
pub(crate) const VECTOR: usize = 128;

/// A scalar register, `r0`..`r15` or `r28`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct R(pub(crate) u32);

/// A vector register; pairs are named by their even one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct V(pub(crate) u32);

/// A vector predicate, `q0`..`q3`: a bit for each byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Q(pub(crate) u32);

/// One instruction. The first register is the result, except of stores; the only scalar predicate
/// is `p0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inst {
    /// Any 32-bit constant.
    Set(R, i32),
    Mov(R, R),
    /// Constant of -32768..=32767.
    Add(R, R, i32),
    /// With a constant of -512..=511.
    And(R, R, i32),
    /// The low bits, as many as the constant tells.
    LowBits(R, R, u32),
    /// Arithmetic shift by a constant.
    ShiftBy(R, R, u32),
    /// The low halves of two registers, the last operand's in the lower half.
    Halves(R, R, R),
    /// Whether the register is greater than a constant of -512..=511.
    Greater(R, i32),
    /// The register where the last comparison held, else zero.
    Kept(R, R),
    /// Zero where the last comparison held, else the register.
    Dropped(R, R),
    /// Word at a byte offset.
    LoadWord(R, R, i32),
    /// The vector at an aligned address, which then moves on by one vector.
    LoadNext(V, R),
    /// The aligned vector around an address, `n` vectors on.
    Load(V, R, i32),
    /// At any address, `n` vectors on.
    LoadAny(V, R, i32),
    StoreAny(R, i32, V),
    /// The bytes of the predicate, to the aligned vector around an address.
    StoreMasked(Q, R, V),
    /// The word in all lanes.
    Splat(V, R),
    Copy(V, V),
    /// The byte in all bytes.
    SplatByte(V, R),
    SplatHalf(V, R),
    /// Each lane: sum of four products of an unsigned byte and the scalar's signed byte.
    Dot(V, V, R),
    /// The same, added.
    DotAdd(V, V, R),
    /// Each lane: sum of four products of signed bytes, added.
    DotLanes(V, V, V),
    /// Each word: products of its signed halves with the scalar's, summed.
    DotHalves(V, V, R),
    /// Products of signed halves into a pair of words: those at even places, and at odd ones.
    MulHalves(V, V, V),
    /// The same with the scalar's halves, added.
    MulHalvesAdd(V, V, R),
    /// Signed bytes to halves, into a pair: those at even places, and at odd ones.
    Widen(V, V),
    /// Bytes (halves) of two vectors side by side, into a pair: those at even places, and at odd
    /// ones. The last operand's come first.
    PairBytes(V, V, V),
    PairHalves(V, V, V),
    AddWords(V, V, V),
    SubWords(V, V, V),
    SubHalves(V, V, V),
    AndWords(V, V, V),
    Xor(V, V, V),
    /// 64-bit product of words with the low, unsigned halves of others, into a pair.
    MulLow(V, V, V),
    /// Adds the product with the high halves: the odd register is the product's high word then.
    MulHighAdd(V, V, V),
    /// Arithmetic shift of each word by another's amount.
    ShiftRight(V, V, V),
    /// Shifts of all words by the register's amount; the last adds what it shifts left.
    ShiftRightAll(V, V, R),
    ShiftLeftAll(V, V, R),
    ShiftLeftAdd(V, V, R),
    /// Words to halves and halves to bytes, saturated: first the lanes of the last operand.
    PackHalves(V, V, V),
    PackBytes(V, V, V),
    /// Words to halves and halves to bytes, saturated, side by side: the last operand's first.
    /// For bytes the register, `r0`..`r7`, holds zero.
    NarrowWords(V, V, V),
    NarrowHalves(V, V, V, R),
    /// Bytes from the register's low bits on, of the last vector and then the one before it;
    /// `r0`..`r7`.
    Align(V, V, V, R),
    /// Bytes moved up to the place that the register's low bits tell, around the end; `r0`..`r7`.
    RotateUp(V, V, R),
    /// Bytes exchanged with those 64 further on or back, then 32, 16 and so on, where the last
    /// vector's byte has that bit.
    Exchange(V, V, V),
    /// Bytes moved down by the register's low bits, around the end.
    RotateDown(V, V, R),
    /// The two halves of a vector, byte by byte side by side.
    Interleave(V, V),
    /// Bytes by a table: those with indices of the `n`th 32, else zero. 64 pairs of bytes are a
    /// quarter's entries and those 64 further on.
    Lookup(V, V, V, u32),
    /// The same, joined to what there is.
    LookupMore(V, V, V, u32),
    /// The first bytes: as many as the low bits tell, none at zero.
    First(Q, R),
    /// The same, and all at zero.
    FirstOrAll(Q, R),
    /// Those of the first predicate that are not of the second.
    Without(Q, Q, Q),
    /// Bytes of the first vector where the predicate holds, else of the second.
    Select(V, Q, V, V),
    MaxBytes(V, V, V),
    MinBytes(V, V, V),
}

/// Most turns of a hardware loop whose count stands in the instruction.
pub(crate) const MAX_TURNS: usize = 1023;

/// Code in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Code {
    Straight(Vec<Inst>),
    /// A hardware loop of `turns`, 1 to [`MAX_TURNS`]; at most two deep.
    Loop {
        turns: usize,
        body: Vec<Code>,
    },
}

impl Code {
    /// `body` that many times: nothing, itself, or a loop.
    pub(crate) fn repeated(turns: usize, body: Vec<Code>) -> Vec<Code> {
        match turns {
            0 => Vec::new(),
            1 => body,
            _ => vec![Code::Loop { turns, body }],
        }
    }
    /// Straight stretches that follow each other as one; empty ones gone.
    pub(crate) fn joined(code: Vec<Code>) -> Vec<Code> {
        let mut joined: Vec<Code> = Vec::new();
        for part in code {
            match (joined.last_mut(), part) {
                (_, Code::Straight(line)) if line.is_empty() => {}
                (Some(Code::Straight(before)), Code::Straight(line)) => before.extend(line),
                (_, part) => joined.push(part),
            }
        }
        joined
    }
}

impl Inst {
    /// Text of the instruction.
    fn text(&self) -> String {
        use Inst::*;
        let r = |r: R| format!("r{}", r.0);
        let v = |v: V| format!("v{}", v.0);
        let pair = |v: V| format!("v{}:{}", v.0 + 1, v.0);
        match *self {
            Set(d, c) => format!("{} = ##{c}", r(d)),
            Mov(d, a) => format!("{} = {}", r(d), r(a)),
            Add(d, a, c) => format!("{} = add({},#{c})", r(d), r(a)),
            And(d, a, c) => format!("{} = and({},#{c})", r(d), r(a)),
            LowBits(d, a, n) => format!("{} = extractu({},#{n},#0)", r(d), r(a)),
            ShiftBy(d, a, n) => format!("{} = asr({},#{n})", r(d), r(a)),
            Halves(d, a, b) => format!("{} = combine({}.l,{}.l)", r(d), r(a), r(b)),
            Greater(a, c) => format!("p0 = cmp.gt({},#{c})", r(a)),
            Kept(d, a) => format!("{} = mux(p0,{},#0)", r(d), r(a)),
            Dropped(d, a) => format!("{} = mux(p0,#0,{})", r(d), r(a)),
            LoadWord(d, a, o) => format!("{} = memw({}+#{o})", r(d), r(a)),
            LoadNext(d, a) => format!("{} = vmem({}++#1)", v(d), r(a)),
            Load(d, a, o) => format!("{} = vmem({}+#{o})", v(d), r(a)),
            LoadAny(d, a, o) => format!("{} = vmemu({}+#{o})", v(d), r(a)),
            StoreAny(a, o, s) => format!("vmemu({}+#{o}) = {}", r(a), v(s)),
            StoreMasked(q, a, s) => format!("if (q{}) vmem({}+#0) = {}", q.0, r(a), v(s)),
            Splat(d, a) => format!("{} = vsplat({})", v(d), r(a)),
            SplatByte(d, a) => format!("{}.b = vsplat({})", v(d), r(a)),
            SplatHalf(d, a) => format!("{}.h = vsplat({})", v(d), r(a)),
            Copy(d, a) => format!("{} = {}", v(d), v(a)),
            Dot(d, a, b) => format!("{}.w = vrmpy({}.ub,{}.b)", v(d), v(a), r(b)),
            DotAdd(d, a, b) => format!("{}.w += vrmpy({}.ub,{}.b)", v(d), v(a), r(b)),
            DotLanes(d, a, b) => format!("{}.w += vrmpy({}.b,{}.b)", v(d), v(a), v(b)),
            DotHalves(d, a, b) => format!("{}.w = vdmpy({}.h,{}.h):sat", v(d), v(a), r(b)),
            MulHalves(d, a, b) => format!("{}.w = vmpy({}.h,{}.h)", pair(d), v(a), v(b)),
            MulHalvesAdd(d, a, b) => format!("{}.w += vmpy({}.h,{}.h):sat", pair(d), v(a), r(b)),
            Widen(d, a) => format!("{}.h = vsxt({}.b)", pair(d), v(a)),
            PairBytes(d, a, b) => format!("{}.b = vshuffoe({}.b,{}.b)", pair(d), v(a), v(b)),
            PairHalves(d, a, b) => format!("{}.h = vshuffoe({}.h,{}.h)", pair(d), v(a), v(b)),
            AddWords(d, a, b) => format!("{}.w = vadd({}.w,{}.w)", v(d), v(a), v(b)),
            SubWords(d, a, b) => format!("{}.w = vsub({}.w,{}.w)", v(d), v(a), v(b)),
            SubHalves(d, a, b) => format!("{}.h = vsub({}.h,{}.h)", v(d), v(a), v(b)),
            AndWords(d, a, b) => format!("{} = vand({},{})", v(d), v(a), v(b)),
            Xor(d, a, b) => format!("{} = vxor({},{})", v(d), v(a), v(b)),
            ShiftRightAll(d, a, b) => format!("{}.w = vasr({}.w,{})", v(d), v(a), r(b)),
            ShiftLeftAll(d, a, b) => format!("{}.w = vasl({}.w,{})", v(d), v(a), r(b)),
            ShiftLeftAdd(d, a, b) => format!("{}.w += vasl({}.w,{})", v(d), v(a), r(b)),
            MulLow(d, a, b) => format!("{} = vmpye({}.w,{}.uh)", pair(d), v(a), v(b)),
            MulHighAdd(d, a, b) => format!("{} += vmpyo({}.w,{}.h)", pair(d), v(a), v(b)),
            ShiftRight(d, a, b) => format!("{}.w = vasr({}.w,{}.w)", v(d), v(a), v(b)),
            PackHalves(d, a, b) => format!("{}.h = vpack({}.w,{}.w):sat", v(d), v(a), v(b)),
            PackBytes(d, a, b) => format!("{}.b = vpack({}.h,{}.h):sat", v(d), v(a), v(b)),
            NarrowWords(d, a, b) => format!("{}.h = vsat({}.w,{}.w)", v(d), v(a), v(b)),
            NarrowHalves(d, a, b, z) => {
                format!("{}.b = vasr({}.h,{}.h,{}):sat", v(d), v(a), v(b), r(z))
            }
            Align(d, a, b, n) => format!("{} = valign({},{},{})", v(d), v(a), v(b), r(n)),
            RotateUp(d, a, n) => format!("{} = vlalign({},{},{})", v(d), v(a), v(a), r(n)),
            RotateDown(d, a, n) => format!("{} = vror({},{})", v(d), v(a), r(n)),
            Exchange(d, a, b) => format!("{} = vdelta({},{})", v(d), v(a), v(b)),
            Interleave(d, a) => format!("{}.b = vshuff({}.b)", v(d), v(a)),
            Lookup(d, a, b, n) => format!("{}.b = vlut32({}.b,{}.b,#{n})", v(d), v(a), v(b)),
            LookupMore(d, a, b, n) => format!("{}.b |= vlut32({}.b,{}.b,#{n})", v(d), v(a), v(b)),
            First(q, a) => format!("q{} = vsetq({})", q.0, r(a)),
            FirstOrAll(q, a) => format!("q{} = vsetq2({})", q.0, r(a)),
            Without(q, a, b) => format!("q{} = and(q{},!q{})", q.0, a.0, b.0),
            Select(d, q, a, b) => format!("{} = vmux(q{},{},{})", v(d), q.0, v(a), v(b)),
            MaxBytes(d, a, b) => format!("{}.b = vmax({}.b,{}.b)", v(d), v(a), v(b)),
            MinBytes(d, a, b) => format!("{}.b = vmin({}.b,{}.b)", v(d), v(a), v(b)),
        }
    }
    /// Words of the instruction; constants that do not fit take another.
    fn words(&self) -> u32 {
        match self {
            Inst::Set(..) => 2,
            _ => 1,
        }
    }
}

/// Text under construction.
#[derive(Debug, Default)]
struct Printed {
    text: String,
    words: u32,
    /// Packets executed.
    packets: u64,
    labels: u32,
}

impl Printed {
    /// Prints code that runs `turns` times; its last packet ends the hardware loop `ends`.
    fn code(&mut self, code: &[Code], turns: u64, ends: Option<u32>) {
        for (i, part) in code.iter().enumerate() {
            let ends = ends.filter(|_| i + 1 == code.len());
            match part {
                Code::Straight(insts) => {
                    let packets = packet::packets(insts);
                    for (j, p) in packets.iter().enumerate() {
                        self.packet(p, turns, ends.filter(|_| j + 1 == packets.len()));
                    }
                }
                Code::Loop { turns: own, body } => {
                    // The inner loop is 0.
                    let inner = !body.iter().any(|c| matches!(c, Code::Loop { .. }));
                    let which = u32::from(!inner);
                    self.labels += 1;
                    let label = self.labels;
                    let _ = writeln!(self.text, "{{ loop{which}({label}f,#{own}) }}\n{label}:");
                    self.words += 1;
                    self.packets += turns;
                    self.code(body, turns * *own as u64, Some(which));
                    if ends.is_some() {
                        self.packet(&[], turns, ends);
                    }
                }
            }
        }
    }
    fn packet(&mut self, insts: &[Inst], turns: u64, ends: Option<u32>) {
        let mut texts: Vec<String> = insts.iter().map(Inst::text).collect();
        // The packet that ends a loop has a word for each bit of that news.
        let least = ends.map_or(1, |which| 2 + which as usize);
        texts.resize(texts.len().max(least), "nop".to_string());
        let end = ends.map_or(String::new(), |which| format!(":endloop{which}"));
        let _ = writeln!(self.text, "{{ {} }}{end}", texts.join("; "));
        let nops = texts.len() as u32 - insts.len() as u32;
        self.words += nops + insts.iter().map(Inst::words).sum::<u32>();
        self.packets += turns;
    }
}

/// A native kernel of some code. Arguments stand in r0..r5.
pub(crate) fn native(code: &[Code]) -> Native {
    let mut out = Printed::default();
    out.code(code, 1, None);
    out.text.push_str("{ jumpr r31 }");
    Native {
        feature: "hvx".to_string(),
        text: out.text,
        stack: 0,
        cycles: out.packets + 1,
        bytes: 4 * (out.words + 1),
        #[cfg(test)]
        simulation: {
            let code = code.to_vec();
            simulation(move |args, memory| simulate::run(&code, args, memory, true))
        },
    }
}
