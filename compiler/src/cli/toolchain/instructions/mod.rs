//! Every instruction on every core that has it: the emulator runs its spelling over a table of
//! operands, extreme ones and random ones, and its results are those of its meaning. The bytes
//! that a native announces are held against the assembler's. One file for each dialect.

mod dsp;
mod helium;
mod hvx;
mod riscv;
mod thumb;

use super::{Elf, Model, Optimize, build};
use crate::asm::table::{Draw, Touch};
use crate::emit::{self, EmitOptions};
use crate::kernel::{Access, Kernel, KernelBuilder, Native};
use crate::kernels::call::{Bind, Call};
use crate::kernels::trial::{Placed, Random, program};
use crate::options::Language;
use crate::tensor::{DType, Data, Tensor};
use secateur_targets::Target;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What each case reads and writes, in words. Both arrays have room for one entry more than are
/// tried, for accesses just beyond one.
#[derive(Debug, Clone, Copy)]
struct Table {
    entries: usize,
    /// Words of an entry, and of its results.
    words: usize,
    results: usize,
}

impl Table {
    fn input(&self) -> usize {
        self.words * (self.entries + 1)
    }
    fn output(&self) -> usize {
        self.results * (self.entries + 1)
    }
    /// Operands, two in three of them extreme.
    fn fill(&self) -> Vec<i32> {
        const ENDS: &[u32] = &[
            0,
            1,
            2,
            0xffff_ffff,
            0x7fff_ffff,
            0x8000_0000,
            0x7fff_8000,
            0x8000_7fff,
            0x8000_8000,
            0xffff_0000,
            0x0000_ffff,
            0x00ff_00ff,
            0x8080_8080,
            0x7f7f_7f7f,
            0xff80_007f,
            0x0000_0100,
        ];
        let mut random = Random(5);
        let mut word = |i: usize| match i % 3 {
            0 => random.next() as i32 ^ (random.next() << 16) as i32,
            _ => ENDS[random.within(0, ENDS.len() as i64 - 1) as usize] as i32,
        };
        (0..self.input()).map(&mut word).collect()
    }
}

/// Draws the operands of instructions: constants at the ends of their ranges first, then those at
/// which encodings change, then any.
struct Drawn {
    random: Random,
    round: usize,
    /// Ways to take the choices of the row that were drawn so far.
    choices: usize,
}

/// Chooses a register, as [`Draw::register`] does.
type Registers<'a> = &'a dyn Fn(&mut Drawn, u32, Touch) -> u32;

impl Drawn {
    /// The same numbers for the same row.
    fn new(row: &str) -> Drawn {
        Drawn {
            random: Random(row.bytes().fold(7u64, |v, b| v.wrapping_mul(31).wrapping_add(b.into()))),
            round: 0,
            choices: 1,
        }
    }
    /// One of the first numbers.
    fn any(&mut self, below: usize) -> usize {
        self.random.within(0, below as i64 - 1) as usize
    }
    /// An instruction whose operands may stand beside each other, unless the row has some that
    /// cannot be drawn.
    fn legal<I>(
        &mut self,
        registers: Registers,
        draw: impl Fn(&mut dyn Draw) -> Option<I>,
        legal: impl Fn(&I) -> bool,
    ) -> Option<I> {
        for tries in 0.. {
            assert!(tries < 10_000, "no legal operands");
            self.choices = 1;
            let inst = draw(&mut Drawing { drawn: self, registers })?;
            self.round += 1;
            if legal(&inst) {
                return Some(inst);
            }
        }
        None
    }
    /// Instructions with all choices of the row, and four constants each.
    fn all<I>(
        row: &str,
        registers: Registers,
        draw: impl Fn(&mut dyn Draw) -> Option<I>,
        legal: impl Fn(&I) -> bool,
    ) -> Vec<I> {
        let (mut drawn, mut all) = (Drawn::new(row), Vec::new());
        while drawn.round < 4 * drawn.choices
            && let Some(inst) = drawn.legal(registers, &draw, &legal)
        {
            all.push(inst);
        }
        all
    }
}

struct Drawing<'a> {
    drawn: &'a mut Drawn,
    registers: Registers<'a>,
}

impl Draw for Drawing<'_> {
    fn register(&mut self, first: u32, touch: Touch) -> u32 {
        (self.registers)(self.drawn, first, touch)
    }
    fn number(&mut self, lo: i64, hi: i64) -> i64 {
        const EDGES: [i64; 14] = [-256, -255, -33, -32, -8, 0, 7, 8, 31, 32, 124, 128, 255, 256];
        let edges: Vec<i64> = EDGES.into_iter().filter(|e| (lo..=hi).contains(e)).collect();
        match self.drawn.round / self.drawn.choices {
            0 => lo,
            1 => hi,
            n if n % 2 == 0 && !edges.is_empty() => edges[self.drawn.any(edges.len())],
            _ => self.drawn.random.within(lo, hi),
        }
    }
    fn choice(&mut self, of: usize) -> usize {
        let before = self.drawn.choices;
        self.drawn.choices *= of;
        self.drawn.round / before % of
    }
}

/// Bytes of an array of words, and back.
fn bytes(words: &[i32]) -> Vec<u8> {
    words.iter().flat_map(|v| v.to_le_bytes()).collect()
}
fn words(bytes: &[u8]) -> Vec<i32> {
    bytes.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// Where the models of cores put the two arrays.
const X: u32 = 0x1000_0000;
const Y: u32 = 0x2000_0000;

/// A function `(x, y)` around an instruction, in a loop over all entries.
struct Case {
    name: String,
    native: Native,
    /// The results for these operands, words both, where all were zeros before.
    meaning: Box<dyn Fn(&[i32]) -> Vec<i32>>,
}

impl Case {
    /// Its kernel, whose body says nothing: only its instructions run.
    fn kernel(&self, table: &Table, number: usize) -> Arc<Kernel> {
        let mut k = KernelBuilder::new("instruction");
        k.buffer("x", DType::I32, table.input(), Access::Read);
        let y = k.buffer("y", DType::I32, table.output(), Access::Write);
        // Kernels of equal bodies and texts would be one.
        k.store(y, 0, number as i32);
        k.native(self.native.clone());
        k.finish().unwrap()
    }
}

/// Runs all cases on the emulated core, in one program. With `open`, announced bytes are no more
/// than a bound, as the assembler chooses shorter encodings by itself.
fn spellings_equal_meanings(core: &str, table: Table, cases: &[Case], open: bool) {
    let target: Target = secateur_targets::find(core).unwrap();
    let x = table.fill();
    // Equal texts would be one function.
    let mut texts = BTreeSet::new();
    let cases: Vec<&Case> = cases.iter().filter(|c| texts.insert(&c.native.text)).collect();
    let kernels: Vec<Arc<Kernel>> = cases.iter().enumerate().map(|(i, c)| c.kernel(&table, i)).collect();
    // One kernel calls them all.
    let mut k = KernelBuilder::new("all");
    let len = table.output() * cases.len();
    let from = k.buffer("x", DType::I32, x.len(), Access::Read);
    let to = k.buffer("y", DType::I32, len, Access::Write);
    for (i, kernel) in kernels.iter().enumerate() {
        k.call(kernel, vec![from.from(0), to.from(i * table.output())]);
    }
    let call = Call { kernel: k.finish().unwrap(), args: vec![Bind::Operand(0), Bind::Result(0)] };
    let program = program(&call, &[Data::I32(x.clone())], (DType::I32, len), Placed::apart());
    let options = EmitOptions { features: target.core.features.clone(), ..EmitOptions::default() };
    let files = emit::c::emit(&program, &options).unwrap();
    let model = Model { program: &program, files: &files };
    // Clang calls a library of its own to save registers in little code, where it is asked to.
    let optimize = if target.has("hvx") { Optimize::Speed } else { Optimize::Size };
    let image = build(Language::C, &[model], &target, optimize).unwrap_or_else(|e| panic!("{e}"));
    let input = vec![vec![Tensor::new(vec![x.len()], Data::I32(x.clone())).unwrap()]];
    let replies = image.run(0, &input, &mut crate::observe::Silent).unwrap_or_else(|e| panic!("{e}"));
    let Data::I32(got) = replies.outputs[0][0].data() else { panic!("not words") };

    let elf = Elf::read(&std::fs::read(image.file()).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for (i, case) in cases.iter().enumerate() {
        let (name, want) = (&case.name, (case.meaning)(&x));
        let got = &got[i * table.output()..][..table.output()];
        assert_eq!(want.len(), got.len(), "{name}");
        if let Some(at) = (0..got.len()).find(|&at| got[at] != want[at]) {
            let entry = &x[at / table.results * table.words..][..table.words];
            wrong.push(format!("{name}: word {at} is {:#x} for {:#x}, of {entry:x?}", got[at], want[at]));
        }
        // The first keeps the plain name, the others are numbered.
        let own = if i == 0 { "instruction".into() } else { format!("instruction_{}", i + 1) };
        let symbol = format!("trial_{own}_in_trial_kernels_S");
        let size = elf.symbols.iter().find(|s| s.name == symbol && s.defined).map_or(0, |s| s.bytes as u32);
        let announced = case.native.bytes;
        if size == 0 || size > announced || size < announced && !open {
            wrong.push(format!("{name}: {announced} bytes announced, {size} assembled"));
        }
    }
    assert!(!cases.is_empty() && wrong.is_empty(), "{core}:\n{}", wrong.join("\n"));
}

/// A native that changes a register of its caller is caught by the harness, on every kind of core and
/// in each bank of registers.
#[test]
fn changed_registers_are_caught() {
    let cases = [
        ("cortex-m0plus", "thumb", "mov r9, r0\nbx lr"),
        ("cortex-m3", "thumb", "mov r11, r0\nbx lr"),
        ("cortex-m4", "dsp", "mov r8, r0\nbx lr"),
        ("cortex-m7", "dsp", "vmov s20, r0\nbx lr"),
        ("cortex-m55", "mve", "vmov.i32 q7, #3\nbx lr"),
        ("rv32imc", "rv32", "li s11, 7\nret"),
        ("rv32imcv", "rvv", "li s7, 7\nret"),
    ];
    for (core, feature, text) in cases {
        let target: Target = secateur_targets::find(core).unwrap();
        let native = |text: &str| {
            let mut k = KernelBuilder::new("spoils");
            k.buffer("x", DType::I32, 1, Access::Read);
            let y = k.buffer("y", DType::I32, 1, Access::Write);
            k.store(y, 0, 0);
            let simulation = crate::asm::simulate::simulation(|_, _| ());
            let (feature, text) = (feature.to_string(), text.to_string());
            k.native(Native { feature, text, stack: 0, cycles: 1, bytes: 8, simulation });
            let args = vec![Bind::Operand(0), Bind::Result(0)];
            let call = Call { kernel: k.finish().unwrap(), args };
            let program = program(&call, &[Data::I32(vec![0])], (DType::I32, 1), Placed::apart());
            let options = EmitOptions { features: target.core.features.clone(), ..EmitOptions::default() };
            let files = emit::c::emit(&program, &options).unwrap();
            let model = Model { program: &program, files: &files };
            let image =
                build(Language::C, &[model], &target, Optimize::Size).unwrap_or_else(|e| panic!("{e}"));
            let input = vec![vec![Tensor::new(vec![1], Data::I32(vec![0])).unwrap()]];
            image.run(0, &input, &mut crate::observe::Silent).map(|_| ())
        };
        let kept = text.rsplit_once('\n').map_or("", |(_, back)| back);
        native(kept).unwrap_or_else(|e| panic!("{core}: {e}"));
        let refused = native(text).expect_err(core).to_string();
        assert!(refused.contains("a register that it had to keep"), "{core}: {refused}");
    }
}
