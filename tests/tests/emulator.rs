//! Built models on the host and on emulated boards: the harness itself, on a model written by
//! hand, so that a failure here is never the compiler's.

use secateur_compiler::artifact::compile;
use secateur_compiler::cli::toolchain::protocol::{Frame, read, write};
use secateur_compiler::cli::toolchain::{Elf, Image, Model, Optimize, build, measure};
use secateur_compiler::emit::File;
use secateur_compiler::observe::Silent;
use secateur_compiler::options::{Language, Options};
use secateur_compiler::program::{Port, Program};
use secateur_compiler::targets::{self, Target};
use secateur_compiler::tensor::{DType, Data, Samples, Tensor};

const CORES: [&str; 10] = [
    "cortex-m0plus",
    "cortex-m3",
    "cortex-m4",
    "cortex-m33",
    "cortex-m7",
    "cortex-m55",
    "cortex-m85",
    "rv32imc",
    "rv32imcv",
    "hexagon-v67",
];

fn target(name: &str) -> Target {
    targets::find(name).expect("a known target")
}

fn port(name: &str, shape: &[usize], elem: DType) -> Port {
    Port { name: name.into(), shape: shape.to_vec(), elem, real: elem, declared: elem, affine: None, at: 0 }
}

/// Two inputs, two outputs, a state: `sum` adds all bytes seen so far, `half` halves floats.
fn program() -> Program {
    Program {
        name: "hand_made".into(),
        inputs: vec![port("a", &[1, 5], DType::I8), port("b", &[3], DType::F32)],
        outputs: vec![port("sum", &[1], DType::I32), port("half", &[3], DType::F32)],
        arena: 4,
        ..Program::default()
    }
}

const HEADER: &str = "\
#ifndef HAND_MADE_H
#define HAND_MADE_H
#include <stdint.h>
typedef struct { int32_t total; int8_t a[5]; float b[3]; int32_t sum; float half[3]; } hand_made_arena;
static inline int8_t *hand_made_input_a(hand_made_arena *arena) { return arena->a; }
static inline float *hand_made_input_b(hand_made_arena *arena) { return arena->b; }
static inline int32_t *hand_made_output_sum(hand_made_arena *arena) { return &arena->sum; }
static inline float *hand_made_output_half(hand_made_arena *arena) { return arena->half; }
void hand_made_init(hand_made_arena *arena);
void hand_made_run(hand_made_arena *arena, const int8_t *a, const float *b, int32_t *sum, float *half);
#endif
";

const SOURCE: &str = "\
#include \"hand_made.h\"
void hand_made_init(hand_made_arena *arena) { arena->total = 0; }
__attribute__((noinline)) static int32_t add(const int8_t *a, int32_t to)
{
    volatile int8_t room[256];
    for (int i = 0; i < 256; i++) room[i] = a[i % 5];
    for (int i = 0; i < 5; i++) to += room[i];
    return to;
}
void hand_made_run(hand_made_arena *arena, const int8_t *a, const float *b, int32_t *sum, float *half)
{
    arena->total = add(a, arena->total);
    *sum = arena->total;
    for (int i = 0; i < 3; i++) half[i] = b[i] * 0.5f;
}
";

const MODULE: &str = "
pub struct HandMade { total: i32, a: [i8; 5], b: [f32; 3], sum: [i32; 1], half: [f32; 3] }
impl HandMade {
    pub const fn new() -> Self { HandMade { total: 0, a: [0; 5], b: [0.0; 3], sum: [0], half: [0.0; 3] } }
    pub fn a_mut(&mut self) -> &mut [i8; 5] { &mut self.a }
    pub fn b_mut(&mut self) -> &mut [f32; 3] { &mut self.b }
    pub fn sum(&self) -> &[i32; 1] { &self.sum }
    pub fn half(&self) -> &[f32; 3] { &self.half }
    pub fn run_in_place(&mut self) {
        let mut room = [0i8; 256];
        let room: &mut [i8; 256] = core::hint::black_box(&mut room);
        for (to, from) in room.iter_mut().zip(self.a.iter().cycle()) { *to = *from; }
        for x in room.iter().take(5) { self.total = self.total.wrapping_add(i32::from(*x)); }
        self.sum = [self.total];
        for (h, b) in self.half.iter_mut().zip(&self.b) { *h = *b * 0.5; }
    }
}
";

fn files() -> Vec<File> {
    let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
    vec![file("hand_made.h", HEADER), file("hand_made.c", SOURCE), file("hand_made.rs", MODULE)]
}

fn made(language: Language, target: &Target, optimize: Optimize) -> Image {
    let (program, files) = (program(), files());
    let model = Model { program: &program, files: &files };
    build(language, &[model], target, optimize).unwrap_or_else(|e| panic!("{}: {e}", target.name))
}

/// Runs 40 samples and compares with what the program means.
fn check(image: &Image) -> Option<usize> {
    let inputs: Vec<Vec<Tensor>> = (0..40i64)
        .map(|s| {
            let a: Vec<i64> = (0..5).map(|i| (s * 37 + i * 91) % 256 - 128).collect();
            let b = vec![s as f32, -1.5, f32::MIN_POSITIVE];
            vec![Tensor::new(vec![1, 5], Data::from_i64(DType::I8, &a)).expect("fits"), Tensor::f32(&[3], b)]
        })
        .collect();
    let replies = image.run(0, &inputs, &mut Silent).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(replies.outputs.len(), inputs.len());
    let mut total = 0;
    for (sample, outputs) in inputs.iter().zip(&replies.outputs) {
        total += sample[0].to_i64_vec().iter().sum::<i64>();
        let half: Vec<f32> = sample[1].to_f32_vec().iter().map(|x| x * 0.5).collect();
        assert_eq!(outputs[0].to_i64_vec(), [total]);
        assert_eq!(outputs[1].to_f32_vec(), half);
    }
    replies.stack
}

#[test]
fn the_host_runs_c_and_rust() {
    for language in [Language::C, Language::Rust] {
        assert_eq!(check(&made(language, &target("host"), Optimize::Debug)), None, "{language:?}");
    }
}

#[test]
fn every_core_runs_c_on_its_emulator() {
    for core in CORES {
        let stack = check(&made(Language::C, &target(core), Optimize::Speed)).expect("painted");
        assert!((256..600).contains(&stack), "{core}: {stack} bytes of stack");
    }
}

#[test]
fn the_cortex_m4_runs_rust_without_a_panic_path() {
    for optimize in [Optimize::Speed, Optimize::Size] {
        let image = made(Language::Rust, &target("cortex-m4"), optimize);
        let stack = check(&image).expect("painted");
        assert!((256..600).contains(&stack), "{stack} bytes of stack");
        let elf = Elf::read(&std::fs::read(image.file()).expect("built")).expect("ELF");
        let panics: Vec<_> = elf.symbols.iter().filter(|s| s.name.contains("panic")).collect();
        assert!(panics.is_empty(), "{panics:?}");
    }
}

/// Building `core` for four instruction sets takes a minute, so only the full run does.
#[test]
fn every_core_runs_rust_on_its_emulator() {
    if std::env::var("SECATEUR_FULL").as_deref() != Ok("1") {
        eprintln!("skipped: set SECATEUR_FULL=1");
        return;
    }
    for core in CORES {
        // No Rust compiler makes code for Hexagon: there firmware links the C.
        if core.starts_with("hexagon") {
            continue;
        }
        check(&made(Language::Rust, &target(core), Optimize::Speed)).expect("painted");
    }
}

#[test]
fn code_and_stack_are_measured() {
    let (program, files) = (program(), files());
    let model = Model { program: &program, files: &files };
    for core in ["cortex-m0plus", "cortex-m4"] {
        let measured = measure(&model, &target(core)).expect("measured");
        let painted = check(&made(Language::C, &target(core), Optimize::Speed)).expect("painted");
        assert!((60..600).contains(&measured.code), "{measured:?}");
        let bound = measured.stack.as_ref().expect("a bound");
        assert!((painted..painted + 200).contains(bound), "{painted} against {measured:?}");
    }
}

/// The harness refuses damaged and unfit frames with a reason, and serves the next one.
#[test]
fn damaged_frames_are_answered_and_passed_over() {
    let wrong = |frame: Frame, bit: Option<usize>| {
        let mut bytes = Vec::new();
        write(&frame, &mut bytes);
        if let Some(bit) = bit {
            let at = bytes.len() - 1 - bit / 8;
            bytes[at] ^= 1 << (bit % 8);
        }
        bytes
    };
    // Two inputs, five bytes and three floats.
    let good = || Frame::Input { model: 0, bytes: vec![1; 17] };
    let mut requests = b"noise \xA5\xA5".to_vec();
    requests.extend(wrong(good(), Some(0)));
    requests.extend(wrong(good(), Some(70)));
    requests.extend(wrong(Frame::Input { model: 0, bytes: vec![1; 16] }, None));
    requests.extend(wrong(Frame::Input { model: 7, bytes: vec![1; 17] }, None));
    requests.extend(wrong(Frame::Failed("?".into()), None));
    requests.extend(wrong(good(), None));
    requests.extend(wrong(Frame::End, None));
    for (language, on) in [(Language::C, "host"), (Language::Rust, "host"), (Language::C, "cortex-m3")] {
        let image = made(language, &target(on), Optimize::Debug);
        let replies = image.exchange(&requests, 36, 1, &mut Silent).unwrap_or_else(|e| panic!("{e}"));
        let mut rest = replies.as_slice();
        let (mut failures, mut outputs) = (Vec::new(), Vec::new());
        while let Some(frame) = read(&mut rest).expect("replies are whole") {
            match frame {
                Frame::Failed(why) => failures.push(why),
                Frame::Output { bytes, .. } => outputs.push(bytes),
                Frame::Hello(sizes) => assert_eq!(sizes, [(17, 16)]),
                other => assert_eq!(other, Frame::End),
            }
        }
        let expected = ["wrong checksum", "wrong checksum", "wrong length", "no model", "unknown kind"];
        assert_eq!(failures.len(), expected.len(), "{language:?} on {on}: {failures:?}");
        for (why, part) in failures.iter().zip(expected) {
            assert!(why.contains(part), "{language:?} on {on}: {why}");
        }
        // One run, of the good frame: the damaged ones did not reach the model.
        assert_eq!(outputs.len(), 1, "{language:?} on {on}");
        assert_eq!(outputs[0][..4], 5i32.to_le_bytes(), "{language:?} on {on}");
    }
}

/// Our reading of an image's sections against binutils'.
#[test]
fn flash_is_counted_as_binutils_count_it() {
    let image = made(Language::C, &target("cortex-m4"), Optimize::Speed);
    let (code, data) = Elf::read(&std::fs::read(image.file()).expect("built")).expect("ELF").flash();
    let output =
        secateur_tests::tools::command("arm-none-eabi-size").arg(image.file()).output().expect("size");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let counted = text.lines().nth(1).and_then(|l| l.split_whitespace().next()).map(str::to_owned);
    assert_eq!(counted, Some((code + data).to_string()), "{text}");
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let image = made(Language::C, &target("host"), Optimize::Debug);
    let wrong = vec![vec![Tensor::f32(&[5], vec![0.0; 5]), Tensor::f32(&[3], vec![0.0; 3])]];
    let said = image.run(0, &wrong, &mut Silent).expect_err("refused").to_string();
    assert!(said.contains("the model takes i8 [1, 5]"), "{said}");
}

/// Firmware's own flags cannot tell whether a processor has vectors: a debug build asks it.
#[test]
fn code_for_vectors_stops_on_a_processor_without_them() {
    let bundled = secateur_tests::repository().join("compiler/models/watch_cnn1d");
    let model = std::fs::read(bundled.join("model.onnx")).unwrap();
    let mut samples = Samples::default();
    samples.arrays.insert(String::new(), secateur_tests::npy(&bundled.join("calib.npy")));
    let (with, without) = (targets::find("apollo510").unwrap(), targets::find("nrf52840").unwrap());
    let options = Options { name: "watch".into(), emit: vec![Language::Rust], ..Options::default() };
    let artifact = compile(&model, &with, Some(&samples), &options, &mut Silent).unwrap();
    let port = &artifact.program.inputs[0];
    let zeros = Data::from_le_bytes(port.elem, &vec![0; port.bytes()]);
    let sample = vec![Tensor::new(port.shape.clone(), zeros).unwrap()];
    let image = build(Language::Rust, &[(&artifact).into()], &without, Optimize::Debug).unwrap();
    let stopped = image.run(0, &[sample], &mut Silent).unwrap_err();
    assert!(stopped.message.contains("this processor has no vectors (Helium)"), "{stopped}");
}
