//! The C and Rust printers: hand-made programs over every operator, type and statement give the
//! evaluator's bits on this machine, and the text compiles without a warning.

use secateur_compiler::artifact::compile;
use secateur_compiler::cli::toolchain::{Elf, Image, Model, Optimize, build};
use secateur_compiler::emit::{EmitOptions, File, c, names, rust};
use secateur_compiler::kernel::*;
use secateur_compiler::options::Language;
use secateur_compiler::program::machine::Machine;
use secateur_compiler::program::*;
use secateur_compiler::tensor::{DType, Data, Samples, Tensor};
use secateur_compiler::{Options, Silent, targets};
use secateur_tests::host;
use std::sync::Arc;

/// A reproducible stream of numbers (xorshift).
struct Random(u64);
impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn within(&mut self, lo: i64, hi: i64) -> i64 {
        lo + (self.next() % (hi - lo + 1) as u64) as i64
    }
}

fn port(name: &str, elem: DType, len: usize, at: usize) -> Port {
    Port { name: name.into(), shape: vec![len], elem, real: elem, declared: elem, affine: None, at }
}

/// A program of one step: buffers that the kernel only reads are inputs, the others outputs.
fn program_of(kernel: Arc<Kernel>) -> Program {
    let mut p = Program { name: kernel.name.clone(), ..Program::default() };
    let mut args = Vec::new();
    for param in &kernel.params {
        let ParamKind::Buffer { elem, len, access } = param.kind else { panic!("only buffers") };
        let ports = if access == Access::Read { &mut p.inputs } else { &mut p.outputs };
        ports.push(port(&param.name, elem, len, p.arena));
        let place = Place::Arena(p.arena);
        p.arena = (p.arena + len * elem.size()).next_multiple_of(8);
        p.buffers.push(Buffer { name: param.name.clone(), elem, len, place, holds: None });
        args.push(Arg::Buffer { buffer: BufferId(p.buffers.len() as u32 - 1), offset: 0 });
    }
    p.entries = vec![Entry { name: "run".into(), steps: vec![Step { layer: 0, kernel, args }] }];
    p
}

fn tensors(program: &Program, sample: &[Data]) -> Vec<Tensor> {
    let pairs = sample.iter().zip(&program.inputs);
    pairs.map(|(d, p)| Tensor::new(p.shape.clone(), d.clone()).unwrap()).collect()
}

fn evaluate(program: &Program, samples: &[Vec<Data>]) -> Vec<Vec<Data>> {
    let mut machine = Machine::new(program).unwrap();
    let mut run = |sample: &Vec<Data>| {
        let out = machine.run(&tensors(program, sample)).unwrap_or_else(|e| panic!("{}: {e}", program.name));
        out.into_iter().map(Tensor::into_data).collect()
    };
    samples.iter().map(&mut run).collect()
}

/// Evaluator, C of every compiler found, and Rust on the same samples.
fn check(program: &Program, samples: &[Vec<Data>]) {
    let want = evaluate(program, samples);
    let options = EmitOptions { digest: "test".into(), ..EmitOptions::default() };
    let c_files = c::emit(program, &options).unwrap();
    for cc in host::c_compilers() {
        let got = host::run_c(cc, program, &c_files, samples);
        same(&want, &got, &format!("{} by {cc}", program.name));
    }
    let rust_files = rust::emit(program, &options).unwrap();
    // Level 0 asserts every index, level 3 is what ships.
    for opt in ["0", "3"] {
        let got = host::run_rust(program, &rust_files, samples, opt);
        same(&want, &got, &format!("{} by rustc at {opt}", program.name));
    }
}

/// Bits, but one NaN is as good as another.
fn same(want: &[Vec<Data>], got: &[Vec<Data>], what: &str) {
    assert_eq!(want.len(), got.len(), "{what}");
    for (s, (want, got)) in want.iter().zip(got).enumerate() {
        for (o, (want, got)) in want.iter().zip(got).enumerate() {
            if let (Data::F32(w), Data::F32(g)) = (want, got) {
                for (i, (w, g)) in w.iter().zip(g).enumerate() {
                    assert!(
                        w.to_bits() == g.to_bits() || w.is_nan() && g.is_nan(),
                        "{what}: sample {s}, output {o}, element {i}: {g:e}, not {w:e}"
                    );
                }
            } else {
                assert_eq!(want, got, "{what}: sample {s}, output {o}");
            }
        }
    }
}

/// A program and samples for its inputs.
type Case = (Program, Vec<Vec<Data>>);

/// One test a group, so that they run side by side.
macro_rules! groups {
    ($($test:ident $cases:ident),* $(,)?) => {
        $( #[test] fn $test() { $cases().iter().for_each(|(program, samples)| check(program, samples)); } )*
        fn all_cases() -> Vec<Case> {
            let groups: Vec<fn() -> Vec<Case>> = vec![$($cases),*];
            groups.iter().flat_map(|cases| cases()).collect()
        }
    };
}
groups!(
    host_gives_the_same_bits_for_integer_arithmetic integer_arithmetic,
    host_gives_the_same_bits_for_extremes_of_integers extremes_of_integers,
    host_gives_the_same_bits_for_shifts shifts,
    host_gives_the_same_bits_for_float_arithmetic float_arithmetic,
    host_gives_the_same_bits_for_float_functions float_functions,
    host_gives_the_same_bits_for_casts casts,
    host_gives_the_same_bits_for_element_types element_types,
    host_gives_the_same_bits_for_statements statements,
    host_gives_the_same_bits_for_instructions instructions,
    host_gives_the_same_bits_for_memory_and_state memory_and_state,
);

/// All programs in one firmware, in C and in Rust, on the emulated processor.
#[test]
fn an_emulated_cortex_m4_gives_the_same_bits() {
    let target = targets::find("cortex-m4").unwrap();
    let cases: Vec<Case> = all_cases()
        .into_iter()
        .map(|(mut program, samples)| {
            program.name = names::base_name(&program.name);
            (program, samples)
        })
        .collect();
    let options = EmitOptions { features: target.core.features.clone(), ..EmitOptions::default() };
    for language in [Language::C, Language::Rust] {
        let files: Vec<Vec<File>> = cases
            .iter()
            .map(|(program, _)| match language {
                Language::C => c::emit(program, &options).unwrap(),
                Language::Rust => rust::emit(program, &options).unwrap(),
            })
            .collect();
        let models: Vec<Model> =
            cases.iter().zip(&files).map(|((program, _), files)| Model { program, files }).collect();
        let image = build(language, &models, &target, Optimize::Speed).unwrap();
        no_panic_path(language, &image);
        for (i, (program, samples)) in cases.iter().enumerate() {
            let inputs: Vec<Vec<Tensor>> = samples.iter().map(|s| tensors(program, s)).collect();
            let got = image.run(i, &inputs, &mut Silent).unwrap().outputs;
            let got: Vec<Vec<Data>> =
                got.into_iter().map(|s| s.into_iter().map(Tensor::into_data).collect()).collect();
            same(
                &evaluate(program, samples),
                &got,
                &format!("{} in {language:?} on a Cortex-M4", program.name),
            );
        }
    }
}

fn no_panic_path(language: Language, image: &Image) {
    let elf = Elf::read(&std::fs::read(image.file()).unwrap()).unwrap();
    assert!(elf.symbols.iter().any(|s| s.defined), "the firmware has symbols");
    let panics: Vec<_> = elf.symbols.iter().filter(|s| s.name.contains("panicking")).collect();
    assert!(panics.is_empty(), "{language:?}: {panics:?}");
}

/// The bundled int8 model, instruction blocks included, optimised for speed and for size.
#[test]
fn a_real_model_has_no_panic_path_in_its_firmware() {
    let bundled = secateur_tests::repository().join("compiler/models/watch_cnn1d");
    let model = std::fs::read(bundled.join("model.onnx")).unwrap();
    let mut samples = Samples::default();
    samples.arrays.insert(String::new(), secateur_tests::npy(&bundled.join("calib.npy")));
    let target = targets::find("nrf52840").unwrap();
    let options =
        Options { name: "watch".into(), emit: vec![Language::C, Language::Rust], ..Options::default() };
    let artifact = compile(&model, &target, Some(&samples), &options, &mut Silent).unwrap();
    let rust = artifact.files.iter().find(|f| f.path == "watch.rs").unwrap();
    assert!(rust.text.contains("naked_asm!"), "the target has blocks");
    for optimize in [Optimize::Speed, Optimize::Size] {
        let image = build(Language::Rust, &[(&artifact).into()], &target, optimize).unwrap();
        no_panic_path(Language::Rust, &image);
    }
}

const N: usize = 24;

type Operator = (&'static str, fn(Expr, Expr) -> Expr);

const ARITHMETIC: [Operator; 8] = [
    ("add", |a, b| a + b),
    ("sub", |a, b| a - b),
    ("mul", |a, b| a * b),
    ("div", |a, b| a / b),
    ("div_const", |a, _| a / -7),
    ("min", |a, b| a.min(b)),
    ("max", |a, b| a.max(b)),
    ("mix", |a, b| (a.clone() - b.clone()) - (a.clone() + (b.clone() - a)) * 2 - b),
];
const BITS: [Operator; 8] = [
    ("rem", |a, b| a % b),
    ("rem_const", |a, _| a % 10),
    ("rem_minus_one", |a, _| {
        let minus_one = -1;
        a % minus_one
    }),
    ("and", |a, b| a & b),
    ("or", |a, b| a | b),
    ("xor", |a, b| a ^ b),
    ("mask", |a, b| ((a & 255) | (b & 3)) ^ -1),
    ("halves", |a, b| (a >> 3) - (b >> 1) / 2),
];
const COMPARISONS: [Operator; 8] = [
    ("lt", |a, b| a.lt(b)),
    ("le", |a, b| a.le(b)),
    ("gt", |a, b| a.gt(b)),
    ("ge", |a, b| a.ge(b)),
    ("eq", |a, b| a.equals(b)),
    ("ne", |a, b| a.differs(b)),
    ("both", |a, b| a.lt(&b).and(b.gt(5)) + 1),
    ("either", |a, b| (a.lt(&b).or(a.equals(3))).select(4, 9)),
];

/// `y[op][i] = op(a[i], b[i])` over elements of one type.
fn operators(name: &str, elem: DType, table: &[Operator], out: DType) -> Arc<Kernel> {
    let mut k = KernelBuilder::new(name);
    let a = k.buffer("a", elem, N, Access::Read);
    let b = k.buffer("b", elem, N, Access::Read);
    let y = k.buffer("y", out, N * table.len(), Access::Write);
    for (row, (what, f)) in table.iter().enumerate() {
        k.for_("i", 0, N, |k, i| {
            let v = k.let_(what, f(a.at(i), b.at(i)));
            k.store(y, i + row * N, v);
        });
    }
    k.finish().unwrap()
}

fn integer_arithmetic() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut random = Random(7);
    for (elem, bound) in [(DType::I32, 15_000), (DType::I64, 1i64 << 29)] {
        let sets: Vec<Vec<Data>> = (0..20)
            .map(|_| {
                let a: Vec<i64> = (0..N).map(|_| random.within(-bound, bound)).collect();
                let b: Vec<i64> = (0..N)
                    .map(|_| Some(random.within(-bound, bound)).filter(|&x| x != 0).unwrap_or(1))
                    .collect();
                vec![Data::from_i64(elem, &a), Data::from_i64(elem, &b)]
            })
            .collect();
        let name = |what: &str| format!("{what}_{}", elem.name());
        cases.push((program_of(operators(&name("arithmetic"), elem, &ARITHMETIC, elem)), sets.clone()));
        cases.push((program_of(operators(&name("bits"), elem, &BITS, elem)), sets.clone()));
        cases.push((program_of(operators(&name("compare"), elem, &COMPARISONS, DType::I32)), sets.clone()));
    }
    cases
}

fn extremes_of_integers() -> Vec<Case> {
    let mut cases = Vec::new();
    // Operators that cannot overflow, on the ends of the types.
    for (elem, ends) in [
        (DType::I32, [i64::from(i32::MIN), i32::MIN as i64 + 1, -1, 0, 1, i64::from(i32::MAX)]),
        (DType::I64, [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX]),
    ] {
        let sets: Vec<Vec<Data>> = (0..6)
            .map(|shift| {
                let a: Vec<i64> = (0..N).map(|i| ends[i % 6]).collect();
                let b: Vec<i64> = (0..N).map(|i| ends[(i + shift) % 6]).collect();
                vec![Data::from_i64(elem, &a), Data::from_i64(elem, &b)]
            })
            .collect();
        let name = |what: &str| format!("ends_{what}_{}", elem.name());
        cases.push((program_of(operators(&name("bits"), elem, &BITS[3..6], elem)), sets.clone()));
        cases.push((
            program_of(operators(&name("compare"), elem, &COMPARISONS[..6], DType::I32)),
            sets.clone(),
        ));
    }
    cases
}

fn shifts() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut random = Random(11);
    for (elem, width) in [(DType::I32, 32), (DType::I64, 64)] {
        let mut k = KernelBuilder::new(format!("shifts_{}", elem.name()));
        let a = k.buffer("a", elem, N, Access::Read);
        let s = k.buffer("s", DType::U8, N, Access::Read);
        let y = k.buffer("y", elem, 4 * N, Access::Write);
        k.for_("i", 0, N, |k, i| {
            k.store(y, i, a.at(i) >> s.at(i));
            k.store(y, i + N, a.at(i) >> 5);
            k.store(y, i + 2 * N, (a.at(i) >> s.at(i)) << s.at(i));
            k.store(y, i + 3 * N, (a.at(i) >> 9) << 8);
        });
        let sets: Vec<Vec<Data>> = (0..20)
            .map(|_| {
                let a: Vec<i64> = (0..N).map(|_| random.next() as i64 >> (64 - width)).collect();
                let s: Vec<i64> = (0..N).map(|_| random.within(0, width - 1)).collect();
                vec![Data::from_i64(elem, &a), Data::from_i64(DType::U8, &s)]
            })
            .collect();
        cases.push((program_of(k.finish().unwrap()), sets.clone()));
    }
    cases
}

fn special_floats() -> Vec<f32> {
    vec![
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        1.5,
        2.5,
        -2.5,
        1e-45,
        -1e-45,
        1e-38,
        3.4e38,
        -3.4e38,
        88.8,
        -104.5,
        8388609.0,
        2147483648.0,
        -2147483904.0,
        9.3e18,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        0.1,
    ]
}

fn float_sets() -> Vec<Vec<Data>> {
    let specials = special_floats();
    assert_eq!(specials.len(), N);
    let mut random = Random(3);
    let mut sets: Vec<Vec<Data>> = (0..N)
        .map(|shift| {
            let mut b = specials.clone();
            b.rotate_left(shift);
            vec![Data::F32(specials.clone()), Data::F32(b)]
        })
        .collect();
    for _ in 0..40 {
        let mut draw = || (0..N).map(|_| f32::from_bits(random.next() as u32)).collect();
        sets.push(vec![Data::F32(draw()), Data::F32(draw())]);
    }
    sets
}

fn float_arithmetic() -> Vec<Case> {
    vec![
        (program_of(operators("arithmetic_f32", DType::F32, &ARITHMETIC, DType::F32)), float_sets()),
        (program_of(operators("compare_f32", DType::F32, &COMPARISONS, DType::I32)), float_sets()),
    ]
}

fn float_functions() -> Vec<Case> {
    let mut cases = Vec::new();
    let table: [Operator; 10] = [
        ("neg", |a, _| -a),
        ("abs", |a, _| a.abs()),
        ("sqrt", |a, _| a.sqrt()),
        ("exp", |a, _| a.exp()),
        ("log", |a, _| a.log()),
        ("tanh", |a, _| a.tanh()),
        ("sigmoid", |a, _| a.sigmoid()),
        ("floor", |a, _| a.floor()),
        ("round", |a, _| a.round()),
        ("mix", |a, b| (-(a.clone() + 0.25f32)).exp() - float(f32::INFINITY).min(b) * float(-1.5)),
    ];
    cases.push((program_of(operators("functions_f32", DType::F32, &table, DType::F32)), float_sets()));
    cases
}

fn casts() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut k = KernelBuilder::new("casts");
    let f = k.buffer("f", DType::F32, N, Access::Read);
    let w = k.buffer("w", DType::I64, N, Access::Read);
    let i32s = k.buffer("i", DType::I32, N, Access::Read);
    let y32 = k.buffer("y32", DType::I32, 2 * N, Access::Write);
    let y64 = k.buffer("y64", DType::I64, 2 * N, Access::Write);
    let yf = k.buffer("yf", DType::F32, 2 * N, Access::Write);
    k.for_("n", 0, N, |k, n| {
        k.store(y32, n, f.at(n).i32());
        k.store(y32, n + N, (w.at(n) >> 33).i32());
        k.store(y64, n, f.at(n).i64());
        k.store(y64, n + N, i32s.at(n).i64() * i32s.at(n).i64());
        k.store(yf, n, w.at(n).f32());
        k.store(yf, n + N, i32s.at(n).f32() * 0.5f32);
    });
    let mut random = Random(23);
    let sets: Vec<Vec<Data>> = float_sets()
        .into_iter()
        .map(|mut set| {
            let w: Vec<i64> = (0..N).map(|_| random.next() as i64 >> random.within(0, 63)).collect();
            let i: Vec<i64> = (0..N).map(|_| random.next() as i32 as i64).collect();
            set.truncate(1);
            set.extend([Data::I64(w), Data::from_i64(DType::I32, &i)]);
            set
        })
        .collect();
    cases.push((program_of(k.finish().unwrap()), sets.clone()));
    cases
}

fn element_types() -> Vec<Case> {
    let mut cases = Vec::new();
    use DType::*;
    let types = [I8, U8, I16, U16, I32, U32, I64, U64, Bool, F32];
    let mut k = KernelBuilder::new("types");
    let ins: Vec<Buf> =
        types.iter().map(|&t| k.buffer(&format!("in_{}", t.name()), t, N, Access::Read)).collect();
    let outs: Vec<Buf> =
        types.iter().map(|&t| k.buffer(&format!("out_{}", t.name()), t, N, Access::Write)).collect();
    k.for_("i", 0, N, |k, i| {
        for (x, y) in ins.iter().zip(&outs) {
            // Loads widen and stores narrow.
            let v = k.let_("v", x.at(int(N as i32 - 1) - i));
            k.store(*y, i, v);
        }
    });
    let mut random = Random(5);
    let sets: Vec<Vec<Data>> = (0..10)
        .map(|_| {
            types
                .iter()
                .map(|&t| {
                    let bytes: Vec<u8> = (0..N * t.size()).map(|_| random.next() as u8).collect();
                    match t {
                        Bool => Data::Bool(bytes.iter().map(|b| b & 1 == 1).collect()),
                        t => Data::from_le_bytes(t, &bytes),
                    }
                })
                .collect()
        })
        .collect();
    cases.push((program_of(k.finish().unwrap()), sets.clone()));
    cases
}

/// Reads as `callee(y[8..], x[4..], 3)`: `y[i] = x[i] * by + i`.
fn callee() -> Arc<Kernel> {
    let mut k = KernelBuilder::new("scale");
    let y = k.buffer("y", DType::I32, 4, Access::ReadWrite);
    let x = k.buffer("x", DType::I8, 4, Access::Read);
    let by = k.scalar("by", -5, 5);
    k.scalar("unused", 0, 1);
    k.for_("i", 0, 4, |k, i| k.store(y, i, x.at(i) * by + i + y.at(i)));
    k.finish().unwrap()
}

fn statements() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut k = KernelBuilder::new("statements");
    // Names that mean something else in C or Rust.
    let x = k.buffer("in", DType::I8, 16, Access::Read);
    let y = k.buffer("type", DType::I32, 16, Access::ReadWrite);
    let inner = callee();
    let count = k.var("fn", 0);
    let sum = k.var("float", 0);
    k.for_step("i", 1, 16, 3, |k, i| {
        let v = k.let_("int", x.at(i));
        k.if_else(
            v.gt(0).and(v.lt(100)),
            |k| {
                k.add_to(count, 1);
                k.add_to(sum, v * v);
            },
            |k| k.if_(v.equals(-128), |k| k.set(sum, sum - 1)),
        );
    });
    // The bound is evaluated once, though the body changes what it is made of.
    k.for_("j", 0, count + 2, |k, _| k.add_to(count, 1));
    k.store(y, 0, sum);
    k.store(y, 1, count);
    k.for_("n", 0, x.at(0) & 7, |k, n| k.store(y, n + 2, sum.gt(10).select(sum - n, n * 2)));
    k.for_("c", 0, 2, |k, c| {
        k.call(
            &inner,
            vec![y.from(c * 4 + 8), x.from(c * 8), CallArg::Scalar(c * 3 - 2), CallArg::Scalar(int(0))],
        );
    });
    let kernel = k.finish().unwrap();
    let mut program = program_of(kernel);
    program.name = "1 odd; name\n*/".into();
    // Outputs start as what the caller left there; clear them first.
    let mut clear = KernelBuilder::new("clear");
    let y = clear.buffer("y", DType::I32, 16, Access::Write);
    clear.for_("i", 0, 16, |k, i| k.store(y, i, 0));
    let args = vec![Arg::Buffer { buffer: BufferId(1), offset: 0 }];
    program.entries[0].steps.insert(0, Step { layer: 0, kernel: clear.finish().unwrap(), args });
    let mut random = Random(99);
    let sets: Vec<Vec<Data>> = (0..50)
        .map(|_| {
            vec![Data::I8(
                (0..16)
                    .map(|_| if random.next().is_multiple_of(5) { -128 } else { random.next() as i8 })
                    .collect(),
            )]
        })
        .collect();
    cases.push((program, sets));
    cases
}

fn instructions() -> Vec<Case> {
    let mut cases = Vec::new();
    let var = |i| Expr::Var(VarId(i));
    let v = |name: &str, ty| Var { name: name.into(), ty };
    // Two signed 16-bit products and a sum, as `smlad` has them.
    let smlad = Arc::new(Instr {
        name: "smlad".into(),
        params: vec![v("a", Ty::I32), v("b", Ty::I32), v("acc", Ty::I32)],
        result: Ty::I32,
        body: (((var(0) & 0xffff) ^ 0x8000) - 0x8000) * (((var(1) & 0xffff) ^ 0x8000) - 0x8000)
            + (var(0) >> 16) * (var(1) >> 16)
            + var(2),
    });
    let high = Arc::new(Instr {
        name: "high".into(),
        params: vec![v("a", Ty::I32), v("m", Ty::I64)],
        result: Ty::I32,
        body: ((Expr::Cast(Ty::I64, Box::new(var(0))) * var(1)) >> 33).i32(),
    });
    let mut k = KernelBuilder::new("uses");
    let a = k.buffer("a", DType::I32, N, Access::Read);
    let b = k.buffer("b", DType::I32, N, Access::Read);
    let y = k.buffer("y", DType::I32, N, Access::Write);
    k.for_("i", 0, N, |k, i| {
        let acc = k.let_("acc", instr(&smlad, vec![a.at(i), b.at(i), (a.at(i) >> 20) - 1]));
        k.store(y, i, instr(&high, vec![acc.into(), long(0x7fff_0001)]));
    });
    let mut random = Random(1234);
    let sets: Vec<Vec<Data>> = (0..20)
        .map(|_| {
            let mut draw = || {
                // Halves below 2^14, so that the sum of two products stays inside.
                (0..N)
                    .map(|_| (random.within(-16000, 16000) << 16 | random.within(0, 16000)) as i32)
                    .collect()
            };
            vec![Data::I32(draw()), Data::I32(draw())]
        })
        .collect();
    cases.push((program_of(k.finish().unwrap()), sets.clone()));
    cases
}

/// Two steps of one kernel, an equal kernel under another `Arc`, in place over the arena, with
/// constants of several types, an offset, a float that has no literal, and a state.
fn memory_program() -> Program {
    let add = || {
        let mut k = KernelBuilder::new("add_s16");
        let x = k.buffer("x", DType::I16, 8, Access::Read);
        let w = k.buffer("w", DType::I16, 8, Access::Read);
        let y = k.buffer("y", DType::I16, 8, Access::Write);
        let by = k.scalar("by", -100, 100);
        k.for_("i", 0, 8, |k, i| k.store(y, i, (x.at(i) + w.at(i) * by).clamp(-32768, 32767)));
        k.finish().unwrap()
    };
    let mut k = KernelBuilder::new("finish");
    let x = k.buffer("x", DType::I16, 8, Access::Read);
    let f = k.buffer("f", DType::F32, 3, Access::Read);
    let sum = k.buffer("sum", DType::I64, 1, Access::ReadWrite);
    let y = k.buffer("y", DType::F32, 9, Access::Write);
    k.for_("i", 0, 8, |k, i| {
        k.store(sum, 0, sum.at(0) + x.at(i).i64());
        k.store(y, i, x.at(i).f32() * f.at(1) + f.at(0).min(f.at(2)));
    });
    k.store(y, 8, sum.at(0).f32());
    let finish = k.finish().unwrap();
    let constant = |name: &str, data: Data, align| Constant {
        name: name.into(),
        dtype: data.dtype(),
        bytes: data.to_le_bytes(),
        align,
    };
    let buffer = |name: &str, elem, len, place| Buffer { name: name.into(), elem, len, place, holds: None };
    let at = |b, offset| Arg::Buffer { buffer: BufferId(b), offset };
    let of = |c, offset| Arg::Constant { constant: ConstantId(c), offset };
    let (init, next, declared) = (Initial::Constant(ConstantId(2)), "s".into(), DType::I64);
    Program {
        name: "recall".into(),
        constants: vec![
            constant("w:0", Data::I16((0..24).map(|i| i * 997 - 9000).collect()), 4),
            constant("w/0", Data::F32(vec![f32::INFINITY, 0.1, -1.5e-7]), 4),
            constant("start", Data::I64(vec![-5]), 8),
            constant("nobody reads this", Data::I8(vec![1]), 1),
        ],
        buffers: vec![
            buffer("x", DType::I16, 8, Place::Arena(32)),
            buffer("t", DType::I16, 8, Place::Arena(16)),
            buffer("u", DType::I16, 8, Place::Arena(16)),
            buffer("state", DType::I64, 1, Place::State(0)),
            buffer("y", DType::F32, 9, Place::Arena(48)),
        ],
        inputs: vec![port("serving_default:0", DType::I16, 8, 32)],
        outputs: vec![port("serving/default:0", DType::F32, 9, 48)],
        states: vec![State { buffer: BufferId(3), init, next, declared }],
        entries: vec![Entry {
            name: "run".into(),
            steps: vec![
                Step { layer: 0, kernel: add(), args: vec![at(0, 0), of(0, 3), at(1, 0), Arg::Scalar(-7)] },
                Step { layer: 0, kernel: add(), args: vec![at(1, 0), of(0, 16), at(2, 0), Arg::Scalar(3)] },
                Step { layer: 1, kernel: finish, args: vec![at(2, 0), of(1, 0), at(3, 0), at(4, 0)] },
            ],
        }],
        arena: 88,
        arena_lower_bound: 88,
        ..Program::default()
    }
}

fn memory_and_state() -> Vec<Case> {
    let mut random = Random(77);
    let sets: Vec<Vec<Data>> =
        (0..10).map(|_| vec![Data::I16((0..8).map(|_| random.next() as i16).collect())]).collect();
    let shared = Program { name: "lent".into(), shares_arena: true, ..memory_program() };
    vec![(memory_program(), sets.clone()), (shared, sets)]
}

#[test]
fn equal_kernels_are_one_function() {
    let options = EmitOptions::default();
    let text = &c::emit(&memory_program(), &options).unwrap()[0].text;
    assert_eq!(text.matches("static void recall_add_s16").count(), 1);
    assert!(!text.contains("nobody"), "unread constants are left out");
}

#[test]
fn int8_text_has_no_float() {
    let mut k = KernelBuilder::new("copy");
    let x = k.buffer("x", DType::I8, 4, Access::Read);
    let y = k.buffer("y", DType::I8, 4, Access::Write);
    k.for_("i", 0, 4, |k, i| k.store(y, i, x.at(i)));
    let mut program = program_of(k.finish().unwrap());
    for p in program.inputs.iter_mut().chain(&mut program.outputs) {
        (p.affine, p.real) = (Some((0.037, -3)), DType::F32);
    }
    let files = c::emit(&program, &EmitOptions::default()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    host::write(dir.path(), &files);
    for cc in host::c_compilers() {
        let out = secateur_tests::tools::command(cc)
            .args(["-std=c99", "-E", "-P", "copy.c"])
            .current_dir(dir.path())
            .output()
            .unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(text.contains("copy_run"));
        for word in ["float", "double", "malloc"] {
            assert!(!text.contains(word), "{cc}: {word} in\n{text}");
        }
    }
    let rust = &rust::emit(&program, &EmitOptions::default()).unwrap()[0].text;
    let kernels = &rust[rust.find("mod kernels").unwrap()..];
    assert!(!kernels.contains("f32"), "{kernels}");
}

/// The border helpers in the header, from C and from C++.
#[test]
fn border_helpers() {
    let mut k = KernelBuilder::new("border");
    let x = k.buffer("x", DType::I8, 8, Access::Read);
    let y = k.buffer("y", DType::I8, 8, Access::Write);
    k.for_("i", 0, 8, |k, i| k.store(y, i, x.at(i)));
    let mut program = program_of(k.finish().unwrap());
    (program.inputs[0].affine, program.outputs[0].affine) = (Some((0.5, -3)), Some((0.25, 10)));
    let files = c::emit(&program, &EmitOptions::default()).unwrap();
    let main = "#include \"border.h\"\n#include <stdio.h>\n\
        static border_arena arena;\n\
        int main(void) {\n    static const float real[BORDER_X_LEN] = {0.0f, 0.25f, 0.75f, -0.25f, 1e9f, -1e30f, 61.4f, 65.1f};\n\
        int8_t x[BORDER_X_LEN], y[BORDER_Y_LEN];\n    float back[BORDER_Y_LEN];\n    int i;\n\
        border_init(&arena);\n    border_quantize_x(real, x);\n    border_run(&arena, x, y);\n    border_dequantize_y(y, back);\n\
        for (i = 0; i < BORDER_Y_LEN; i++) {\n        printf(\"%d %g\\n\", x[i], (double)back[i]);\n    }\n    return 0;\n}\n";
    // stored = round_half_even(real / 0.5) - 3; back = 0.25 * (stored - 10).
    let want = "-3 -3.25\n-3 -3.25\n-1 -2.75\n-3 -3.25\n127 29.25\n-128 -34.5\n120 27.5\n127 29.25\n";
    for cc in host::c_compilers() {
        for language in ["c", "c++"] {
            let out = host::build_and_run_c(cc, &files, main, language, &[]);
            assert_eq!(String::from_utf8(out).unwrap(), want, "{cc} {language}");
        }
    }
}

/// Emitted text as a snapshot small enough to read.
#[test]
fn snapshots() {
    let options = EmitOptions { digest: "0123".into(), ..EmitOptions::default() };
    let join = |files: Vec<File>| -> String {
        files
            .into_iter()
            .filter(|f| !f.path.starts_with("secateur"))
            .map(|f| format!("=== {}\n{}", f.path, f.text))
            .collect()
    };
    insta::assert_snapshot!("memory_c", join(c::emit(&memory_program(), &options).unwrap()));
    insta::assert_snapshot!("memory_rust", join(rust::emit(&memory_program(), &options).unwrap()));
}
