//! What users' builds do with emitted files: the recipes of `docs/build-systems.md` are taken from the
//! page and run as they stand there.

use secateur_compiler::artifact::compile;
use secateur_compiler::emit::File;
use secateur_compiler::observe::Silent;
use secateur_compiler::options::{Arena, Language, Layout, Quantize};
use secateur_compiler::tensor::Samples;
use secateur_compiler::{Options, targets};
use secateur_tests::onnx::{FLOAT, Model, dims, node, port};
use secateur_tests::{host, npy, repository, tools};
use std::path::Path;
use std::process::Command;

const MAIN: &str = "#include \"kws.h\"\nstatic kws_arena arena;\nint main(void)\n{\n    kws_init(&arena);\n    \
    kws_run(&arena, kws_input_imu(&arena), kws_output_logits(&arena));\n    return kws_output_logits(&arena)[0];\n}\n";

/// A wearable model for the Cortex-M4, called `kws`.
fn emitted(language: Language, layout: Layout) -> Vec<File> {
    let bundled = repository().join("compiler/models/watch_cnn1d");
    let model = std::fs::read(bundled.join("model.onnx")).unwrap();
    let mut samples = Samples::default();
    samples.arrays.insert(String::new(), npy(&bundled.join("calib.npy")));
    let options = Options { name: "kws".into(), emit: vec![language], layout, ..Options::default() };
    let target = targets::find("nrf52840").unwrap();
    compile(&model, &target, Some(&samples), &options, &mut Silent).unwrap().files
}

/// A folder with `main.c`, and the emitted C in `model`.
fn firmware() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    host::write(&dir.path().join("model"), &emitted(Language::C, Layout::Files));
    std::fs::write(dir.path().join("main.c"), MAIN).unwrap();
    dir
}

/// The fenced blocks of a section of the page.
fn blocks(section: &str) -> Vec<String> {
    let page = std::fs::read_to_string(repository().join("docs/build-systems.md")).unwrap();
    let (_, rest) = page.split_once(&format!("\n## {section}\n")).expect("a section");
    let text = rest.split("\n## ").next().unwrap();
    let fenced = text.split("```").skip(1).step_by(2);
    fenced.map(|b| b.split_once('\n').expect("a language").1.to_string()).collect()
}

fn there(tool: &str) -> bool {
    let found = tools::find(tool).is_some();
    if !found {
        eprintln!("skipped: no {tool}");
    }
    found
}

/// Runs a command in a folder: whether it succeeded, and what it said.
fn run(command: &mut Command, dir: &Path) -> (bool, String) {
    let out = command.current_dir(dir).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (out.status.success(), text)
}

fn shell(line: &str, dir: &Path) -> (bool, String) {
    run(tools::command("bash").args(["-c", line]), dir)
}

#[test]
fn a_plain_command_links_with_the_assembly_and_without() {
    if !there("arm-none-eabi-gcc") {
        return;
    }
    let dir = firmware();
    let lines = blocks("Command line");
    let [with, without] = &lines[..] else { panic!("two commands") };
    for line in [with, without] {
        let (ok, text) = shell(line, dir.path());
        assert!(ok, "{line}{text}");
    }
    assert!(without.contains("-DSECATEUR_PORTABLE") && !without.contains(".S"));
    let (ok, text) = shell(&without.replace("-DSECATEUR_PORTABLE ", ""), dir.path());
    assert!(!ok && text.contains("_in_kws_kernels_S"), "the linker names the file that is missing: {text}");
}

#[test]
fn make_links() {
    if !there("make") || !there("arm-none-eabi-gcc") {
        return;
    }
    let dir = firmware();
    std::fs::write(dir.path().join("Makefile"), &blocks("Make")[0]).unwrap();
    let (ok, text) = run(&mut tools::command("make"), dir.path());
    assert!(ok && dir.path().join("fw.elf").is_file(), "{text}");
}

/// The rules of a generated STM32 project: objects are named after their sources, all in one folder.
#[test]
fn a_generated_makefile_links() {
    if !there("make") || !there("arm-none-eabi-gcc") {
        return;
    }
    let dir = firmware();
    let makefile = "C_SOURCES = main.c\nASMM_SOURCES =\nC_INCLUDES =\n@lines@\nBUILD_DIR = build\nCC = arm-none-eabi-gcc\n\
        CFLAGS = -mcpu=cortex-m4 -mthumb -Os $(C_INCLUDES)\nall: $(BUILD_DIR)/fw.elf\n\
        OBJECTS = $(addprefix $(BUILD_DIR)/,$(notdir $(C_SOURCES:.c=.o)))\nvpath %.c $(sort $(dir $(C_SOURCES)))\n\
        OBJECTS += $(addprefix $(BUILD_DIR)/,$(notdir $(ASMM_SOURCES:.S=.o)))\nvpath %.S $(sort $(dir $(ASMM_SOURCES)))\n\
        $(BUILD_DIR)/%.o: %.c Makefile | $(BUILD_DIR)\n\t$(CC) -c $(CFLAGS) $< -o $@\n\
        $(BUILD_DIR)/%.o: %.S Makefile | $(BUILD_DIR)\n\t$(CC) -c $(CFLAGS) $< -o $@\n\
        $(BUILD_DIR)/fw.elf: $(OBJECTS)\n\t$(CC) $(OBJECTS) $(CFLAGS) --specs=nosys.specs -Wl,--gc-sections -o $@\n\
        $(BUILD_DIR):\n\tmkdir $@\n";
    let lines = &blocks("STM32CubeMX, STM32CubeIDE")[0];
    std::fs::write(dir.path().join("Makefile"), makefile.replace("@lines@", lines)).unwrap();
    let (ok, text) = run(&mut tools::command("make"), dir.path());
    assert!(ok && dir.path().join("build/fw.elf").is_file(), "{text}");
}

#[test]
fn cmake_links_and_says_what_it_left_out() {
    if !there("cmake") || !there("make") || !there("arm-none-eabi-gcc") {
        return;
    }
    let dir = firmware();
    let lists = blocks("CMake").remove(0);
    assert!(lists.contains("project(fw C ASM)"));
    let configure = "cmake -S . -B build -DCMAKE_SYSTEM_NAME=Generic -DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY \
        -DCMAKE_C_COMPILER=arm-none-eabi-gcc -DCMAKE_ASM_COMPILER=arm-none-eabi-gcc '-DCMAKE_C_FLAGS=-mcpu=cortex-m4 -mthumb' \
        '-DCMAKE_ASM_FLAGS=-mcpu=cortex-m4 -mthumb' -DCMAKE_EXE_LINKER_FLAGS=--specs=nosys.specs && cmake --build build";
    std::fs::write(dir.path().join("CMakeLists.txt"), &lists).unwrap();
    let (ok, text) = shell(configure, dir.path());
    assert!(ok, "{text}");
    std::fs::remove_dir_all(dir.path().join("build")).unwrap();
    let forgotten = lists.replace("project(fw C ASM)", "project(fw C)");
    std::fs::write(dir.path().join("CMakeLists.txt"), forgotten).unwrap();
    let (ok, text) = shell(configure, dir.path());
    assert!(!ok && text.contains("_in_kws_kernels_S"), "the linker names what CMake left out: {text}");
}

/// The crate `cc` in a build script, for this machine.
#[test]
fn a_build_script_links() {
    let dir = firmware();
    let manifest = "[package]\nname = \"fw\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[build-dependencies]\ncc = \"1\"\n[workspace]\n";
    let main = "unsafe extern \"C\" {\n    fn kws_init(arena: *mut u64);\n}\nfn main() {\n    let mut arena = [0u64; 4096];\n    \
        unsafe { kws_init(arena.as_mut_ptr()) };\n}\n";
    for (path, text) in
        [("Cargo.toml", manifest), ("src/main.rs", main), ("build.rs", &blocks("Cargo: C from Rust")[0])]
    {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let cargo = |arguments: &[&str]| {
        let mut command = tools::command("cargo");
        run(command.args(arguments).env("CARGO_TARGET_DIR", dir.path().join("target")), dir.path())
    };
    let (fetched, text) = cargo(&["fetch", "--quiet"]);
    if !fetched {
        eprintln!("skipped: the crate `cc` cannot be had here\n{text}");
        return;
    }
    let (ok, text) = cargo(&["run", "--quiet", "--offline"]);
    assert!(ok, "{text}");
}

/// Emitted Rust in a crate that forbids `unsafe`: as a module it is refused, as a crate it serves.
#[test]
fn a_crate_that_forbids_unsafe_takes_the_model_as_a_crate() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in secateur_runtime::sources::RUST {
        let path = dir.path().join("runtime").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let module = emitted(Language::Rust, Layout::Files);
    assert!(module[0].text.contains("`#![forbid(unsafe_code)]`"), "the module says so itself");
    host::write(dir.path(), &module);
    host::write(&dir.path().join("kws"), &emitted(Language::Rust, Layout::Cargo));
    let body = "fn main() {\n    let mut model = kws::Kws::new();\n    model.run_in_place();\n}\n";
    let forbids = "#![forbid(unsafe_code)]\n";
    for (name, text) in [
        ("with_module.rs", format!("{forbids}mod kws;\n{body}")),
        ("with_crate.rs", format!("{forbids}{body}")),
        ("allowed.rs", format!("#![deny(unsafe_code)]\n#[allow(unsafe_code)]\nmod kws;\n{body}")),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let rustc = |arguments: &str| {
        let mut command = tools::command("rustc");
        run(command.args(["--edition=2024", "-Ldependency=."]).args(arguments.split_whitespace()), dir.path())
    };
    let done = rustc("--crate-type=rlib --crate-name=secateur runtime/lib.rs");
    assert!(done.0, "{}", done.1);
    let (ok, text) = rustc("--extern secateur=libsecateur.rlib with_module.rs");
    let page = std::fs::read_to_string(repository().join("docs/build-systems.md")).unwrap();
    let message = "usage of an `unsafe` block";
    assert!(!ok && text.contains(message) && page.contains(message), "{text}");
    let done = rustc("--crate-type=rlib --crate-name=kws --extern secateur=libsecateur.rlib kws/src/lib.rs");
    assert!(done.0, "{}", done.1);
    for line in ["--extern kws=libkws.rlib with_crate.rs", "--extern secateur=libsecateur.rlib allowed.rs"] {
        let (ok, text) = rustc(line);
        assert!(ok, "{line}: {text}");
    }
}

/// Two models in one arena, as the page on options has them in C: one keeps a state between its runs.
#[test]
fn models_share_an_arena_as_the_page_says() {
    if !there("arm-none-eabi-gcc") {
        return;
    }
    let page = std::fs::read_to_string(repository().join("docs/configuration.md")).unwrap();
    let block =
        page.split("```c\n").skip(1).find(|block| block.contains("words_arena")).expect("the page has it");
    let (declared, body) = block.split("```").next().unwrap().split_once("\n\n").expect("two parts");
    let words = Model {
        nodes: vec![
            node("sum", "Add", &["audio", "h"], &["h_out"], &[]),
            node("cut", "Relu", &["h_out"], &["scores"], &[]),
        ],
        inputs: vec![port("audio", FLOAT, &dims(&[1, 4])), port("h", FLOAT, &dims(&[1, 4]))],
        outputs: vec![port("scores", FLOAT, &dims(&[1, 4])), port("h_out", FLOAT, &dims(&[1, 4]))],
        ..Model::default()
    };
    let motion = std::fs::read(repository().join("compiler/models/watch_cnn1d/model.onnx")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let target = targets::find("nrf52840").unwrap();
    let state = vec![("h".to_string(), "h_out".to_string())];
    for (name, model, states) in [("words", words.bytes(), state), ("motion", motion, Vec::new())] {
        let options = Options {
            name: name.into(),
            quantize: Quantize::None,
            arena: Arena::Shared,
            states,
            emit: vec![Language::C],
            ..Options::default()
        };
        host::write(dir.path(), &compile(&model, &target, None, &options, &mut Silent).unwrap().files);
    }
    let main = format!(
        "#include \"words.h\"\n#include \"motion.h\"\n{declared}\nstatic float audio[4], scores[4];\n\
         int main(void)\n{{\n{body}return (int)scores[0];\n}}\n"
    );
    std::fs::write(dir.path().join("main.c"), &main).unwrap();
    let flags = "-mcpu=cortex-m4 -mthumb -std=c99 -Wall -Wextra -Werror -ffp-contract=off --specs=rdimon.specs -o main";
    let mut gcc = tools::command("arm-none-eabi-gcc");
    gcc.args(flags.split(' '));
    for entry in std::fs::read_dir(dir.path()).unwrap().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|e| e == "c" || e == "S") {
            gcc.arg(path);
        }
    }
    let (built, said) = run(&mut gcc, dir.path());
    assert!(built, "{main}\n{said}");
}
