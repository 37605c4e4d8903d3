//! Folders that build: what `--layout` writes is built as its files say, alone and in a project around it, for this
//! machine and for a Cortex-M4, one model and two; what runs gives the evaluator's bits.

use secateur_compiler::artifact::{Artifact, compile};
use secateur_compiler::cli::toolchain;
use secateur_compiler::observe::Silent;
use secateur_compiler::options::{Language, Layout, Options, Quantize};
use secateur_compiler::tensor::{Data, Samples, Tensor};
use secateur_tests::{engines, host, npy, repository, tools};
use std::path::Path;
use std::process::Command;

/// The two models of a program: one in int8, with native kernels, and the same in floats, without.
const MODELS: [(&str, Quantize); 2] = [("kws", Quantize::Int8), ("har", Quantize::None)];

fn artifact(name: &str, quantize: Quantize, layout: Layout) -> Artifact {
    let bundled = repository().join("compiler/models/watch_cnn1d");
    let model = std::fs::read(bundled.join("model.onnx")).unwrap();
    let mut samples = Samples::default();
    samples.arrays.insert(String::new(), npy(&bundled.join("calib.npy")));
    let emit = vec![layout.language().unwrap_or(Language::C)];
    let options = Options { name: name.into(), quantize, emit, layout, ..Options::default() };
    let samples = (quantize == Quantize::Int8).then_some(&samples);
    compile(&model, &engines::target("nrf52840"), samples, &options, &mut Silent).unwrap()
}

/// A folder with each model in its own, and what the evaluator answers to zeros, as lines of numbers.
fn project(layout: Layout) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut answers = String::new();
    for (name, quantize) in MODELS {
        let artifact = artifact(name, quantize, layout);
        host::write(&dir.path().join(name), &artifact.files);
        let port = &artifact.program.inputs[0];
        let zeros = Tensor::zeros(port.elem, &port.shape);
        let output = engines::evaluate(&artifact, &[vec![zeros]]).remove(0).remove(0);
        let bits: Vec<String> = match output.data() {
            Data::F32(values) => values.iter().map(|v| v.to_bits().to_string()).collect(),
            _ => output.to_f64_vec().iter().map(|v| (*v as i64).to_string()).collect(),
        };
        answers += &(bits.join(" ") + "\n");
    }
    std::fs::write(dir.path().join("main.c"), MAIN).unwrap();
    (dir, answers)
}

/// Runs both models on zeros and prints the bits of what they answer.
const MAIN: &str = r#"#include "kws.h"
#include "har.h"
#include <stdio.h>
#include <string.h>
static kws_arena kws;
static har_arena har;
int main(void)
{
    int i;
    static int8_t zeros[KWS_IMU_LEN];
    static float floats[HAR_IMU_LEN];
    int8_t logits[KWS_LOGITS_LEN];
    float scores[HAR_LOGITS_LEN];
    kws_init(&kws);
    har_init(&har);
    kws_run(&kws, zeros, logits);
    har_run(&har, floats, scores);
    for (i = 0; i < KWS_LOGITS_LEN; i++) {
        printf(i ? " %d" : "%d", logits[i]);
    }
    printf("\n");
    for (i = 0; i < HAR_LOGITS_LEN; i++) {
        uint32_t bits;
        memcpy(&bits, &scores[i], sizeof bits);
        printf(i ? " %lu" : "%lu", (unsigned long)bits);
    }
    printf("\n");
    return 0;
}
"#;

#[track_caller]
fn run(command: &mut Command, dir: &Path) -> String {
    let out = command.current_dir(dir).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{command:?}\n{text}{said}");
    text
}

#[track_caller]
fn shell(line: &str, dir: &Path) -> String {
    run(tools::command("bash").args(["-c", line]), dir)
}

/// The objects of a library, and that its native kernels are what the flags of the chip make of them.
#[track_caller]
fn is_for_the_chip(library: &Path, native: bool) {
    let headers = run(tools::command("arm-none-eabi-objdump").arg("-ht").arg(library), Path::new("/"));
    assert!(headers.contains("elf32-littlearm"), "{headers}");
    assert_eq!(headers.contains("_in_kws_kernels_S"), native, "{headers}");
}

/// A block of the page on build systems, in a language.
fn block(language: &str) -> String {
    let page = std::fs::read_to_string(repository().join("docs/build-systems.md")).unwrap();
    let (_, rest) = page.split_once("\n## A folder that builds\n").expect("a section");
    let (_, text) = rest.split_once(&format!("```{language}\n")).expect("a block");
    text.split("```").next().unwrap_or_default().to_owned()
}

#[test]
fn make_builds_a_library_alone_and_again_when_something_changes() {
    tools::require(&["make", "arm-none-eabi-gcc"]);
    let (dir, _) = project(Layout::Make);
    let make = |words: &[&str]| run(tools::command("make").args(words), dir.path());
    make(&["-C", "kws"]);
    make(&["-C", "har"]);
    is_for_the_chip(&dir.path().join("kws/build/libkws.a"), true);
    is_for_the_chip(&dir.path().join("har/build/libhar.a"), false);
    let again = make(&["-C", "kws"]);
    assert!(!again.contains("gcc"), "nothing changed: {again}");
    let portable = make(&["-C", "kws", "kws_ARCH=-mcpu=cortex-m0plus -mthumb -DSECATEUR_PORTABLE"]);
    assert!(portable.contains("cortex-m0plus"), "{portable}");
    is_for_the_chip(&dir.path().join("kws/build/libkws.a"), false);
    make(&["-C", "kws", "clean"]);
    assert!(!dir.path().join("kws/build").exists());
}

#[test]
fn a_makefile_includes_two_models() {
    tools::require(&["make", "arm-none-eabi-gcc"]);
    let (dir, answers) = project(Layout::Make);
    let makefile = block("make");
    std::fs::write(dir.path().join("Makefile"), &makefile).unwrap();
    run(&mut tools::command("make"), dir.path());
    assert!(dir.path().join("fw.elf").is_file());
    // For this machine, with flags and folders of the project's own; included first, the goal is still the project's.
    let (_, rule) = makefile.split_once("fw.elf:").expect("a rule");
    let own = format!(
        "CC = cc\nCFLAGS = -O1\nkws_ARCH =\nhar_ARCH =\nkws_BUILD = out\nhar_BUILD = out\ninclude kws/Makefile\ninclude \
         har/Makefile\nfw.elf:{}",
        rule.replace("--specs=nosys.specs ", "")
    );
    std::fs::write(dir.path().join("Makefile"), own).unwrap();
    std::fs::remove_file(dir.path().join("fw.elf")).unwrap();
    run(&mut tools::command("make"), dir.path());
    assert!(dir.path().join("out/libkws.a").is_file());
    assert_eq!(run(&mut tools::built(&dir.path().join("fw.elf")), dir.path()), answers);
}

#[test]
fn cmake_builds_alone_installs_and_is_found() {
    tools::require(&["cmake", "make", "arm-none-eabi-gcc"]);
    let (dir, answers) = project(Layout::Cmake);
    for name in ["kws", "har"] {
        shell(
            &format!(
                "cmake -S {name} -B chip/{name} --toolchain toolchain.cmake && cmake --build chip/{name}"
            ),
            dir.path(),
        );
        let host =
            format!("cmake -S {name} -B built/{name} -DCMAKE_BUILD_TYPE=Debug && cmake --build built/{name}");
        shell(&format!("{host} && cmake --install built/{name} --prefix installed"), dir.path());
    }
    is_for_the_chip(&dir.path().join("chip/kws/libkws.a"), true);
    is_for_the_chip(&dir.path().join("chip/har/libhar.a"), false);
    let lists = "cmake_minimum_required(VERSION 3.16)\nproject(fw C)\nfind_package(secateur_kws CONFIG REQUIRED)\n\
        find_package(secateur_har CONFIG REQUIRED)\nadd_executable(fw main.c)\n\
        target_link_libraries(fw PRIVATE secateur::kws secateur::har)\n";
    let app = dir.path().join("app");
    std::fs::create_dir(&app).unwrap();
    std::fs::write(app.join("CMakeLists.txt"), lists).unwrap();
    std::fs::write(app.join("main.c"), MAIN).unwrap();
    shell("cmake -S . -B build -DCMAKE_PREFIX_PATH=$PWD/../installed && cmake --build build", &app);
    assert_eq!(run(&mut tools::built(&app.join("build/fw")), &app), answers);
}

/// Two models in one project, also in one that knows no C by itself.
#[test]
fn cmake_adds_two_models_to_a_project() {
    tools::require(&["cmake", "make", "g++", "arm-none-eabi-gcc"]);
    let (dir, answers) = project(Layout::Cmake);
    let lists = block("cmake");
    std::fs::write(dir.path().join("CMakeLists.txt"), &lists).unwrap();
    shell("cmake -S . -B build && cmake --build build", dir.path());
    assert_eq!(run(&mut tools::built(&dir.path().join("build/fw")), dir.path()), answers);
    shell(
        "cmake -S . -B chip --toolchain kws/toolchain.cmake -DCMAKE_EXE_LINKER_FLAGS=--specs=nosys.specs && cmake \
         --build chip",
        dir.path(),
    );
    is_for_the_chip(&dir.path().join("chip/kws/libkws.a"), true);
    // A target of the project may have the model's own name.
    let plus = lists.replace("project(fw C)", "project(fw CXX)").replace("main.c", "main.cc");
    let plus = plus + "add_custom_target(kws)\n";
    std::fs::write(dir.path().join("CMakeLists.txt"), plus).unwrap();
    std::fs::write(dir.path().join("main.cc"), MAIN).unwrap();
    shell("cmake -S . -B plus && cmake --build plus", dir.path());
    assert_eq!(run(&mut tools::built(&dir.path().join("plus/fw")), dir.path()), answers);
}

#[test]
fn cargo_builds_two_crates() {
    let (dir, answers) = project(Layout::Cargo);
    let facade = repository().join("runtime/facade");
    let manifest = format!(
        "[package]\nname = \"fw\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[dependencies]\nkws = {{ path = \"kws\" }}\nhar = \
         {{ path = \"har\" }}\n[patch.crates-io]\nsecateur = {{ path = {facade:?} }}\n[workspace]\n"
    );
    let answer = "#![cfg_attr(target_os = \"none\", no_std)]\npub fn answer() -> ([i8; 7], [f32; 7]) {\n    \
        let (mut a, mut b) = ([0; 7], [0.0; 7]);\n    kws::Kws::new().run(&[0; 768], &mut a);\n    \
        har::Har::new().run(&[0.0; 768], &mut b);\n    (a, b)\n}\n";
    let main = "fn main() {\n    let (a, b) = fw::answer();\n    let line = |bits: Vec<String>| println!(\"{}\", bits.join(\" \
        \"));\n    line(a.iter().map(|x| x.to_string()).collect());\n    line(b.iter().map(|x| \
        x.to_bits().to_string()).collect());\n}\n";
    std::fs::create_dir(dir.path().join("src")).unwrap();
    for (path, text) in [("Cargo.toml", manifest.as_str()), ("src/lib.rs", answer), ("src/main.rs", main)] {
        std::fs::write(dir.path().join(path), text).unwrap();
    }
    // The versions that are fetched already.
    std::fs::copy(repository().join("Cargo.lock"), dir.path().join("Cargo.lock")).unwrap();
    let cargo = |words: &[&str], set: Vec<(String, String)>| {
        let mut command = tools::command("cargo");
        command.args(words).args(["--quiet", "--offline"]).envs(set);
        run(command.env("CARGO_TARGET_DIR", dir.path().join("target")), dir.path())
    };
    assert_eq!(cargo(&["run"], Vec::new()), answers);
    let chip = engines::target("nrf52840");
    let set = toolchain::cargo_environment(&chip).unwrap_or_else(|e| panic!("{e}"));
    cargo(&["build", "--lib", "--target", "thumbv7em-none-eabihf"], set);
}

#[test]
fn a_layout_without_its_language_is_refused() {
    for (layout, wrong, want) in [
        (Layout::Make, Language::Rust, "`--emit c`"),
        (Layout::Cmake, Language::Rust, "`--emit c`"),
        (Layout::Cargo, Language::C, "`--emit rust`"),
    ] {
        let model = std::fs::read(repository().join("compiler/models/watch_cnn1d/model.onnx")).unwrap();
        let options = Options {
            name: "kws".into(),
            quantize: Quantize::None,
            emit: vec![wrong],
            layout,
            ..Options::default()
        };
        let error = compile(&model, &engines::target("host"), None, &options, &mut Silent).unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
    }
}
