//! `secateur new`: projects build and run by the commands of their own README, for five chips, in every layout.

use secateur_compiler::artifact::compile;
use secateur_compiler::cli::toolchain;
use secateur_compiler::options::Options;
use secateur_compiler::program::machine::Machine;
use secateur_compiler::tensor::{Data, Samples, Tensor};
use secateur_compiler::{Silent, npy, targets};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const CHIPS: [&str; 5] = ["nrf52840", "stm32u575", "rp2040", "apollo510", "rp2350-riscv"];

fn secateur(arguments: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_secateur")).args(arguments).current_dir(dir).output().unwrap()
}

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

fn bundled() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/watch_cnn1d")
}

/// What the bundled model answers to zeros for a chip, as a project prints it.
fn answer(chip: &str) -> String {
    let model = std::fs::read(bundled().join("model.onnx")).unwrap();
    let mut samples = Samples::default();
    samples
        .arrays
        .insert(String::new(), npy::read(&std::fs::read(bundled().join("calib.npy")).unwrap()).unwrap());
    let options = Options { name: "watch_cnn1d".into(), ..Options::default() };
    let artifact =
        compile(&model, &targets::find(chip).unwrap(), Some(&samples), &options, &mut Silent).unwrap();
    let port = &artifact.program.inputs[0];
    let zero = port.affine.map_or(0, |(_, zero)| i64::from(zero));
    let zeros = Data::from_i64(port.elem, &vec![zero; port.shape.iter().product()]);
    let zeros = Tensor::new(port.shape.clone(), zeros).unwrap();
    let output = Machine::new(&artifact.program).unwrap().run(&[zeros]).unwrap().remove(0);
    let numbers: Vec<String> = output.to_f64_vec().iter().map(|x| format!("{x:.0}")).collect();
    format!("logits: {}\n", numbers.join(" "))
}

/// The blocks of a README, a shell command a line.
fn blocks(readme: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(readme).unwrap();
    text.split("```sh\n").skip(1).map(|b| b.split("\n```").next().unwrap_or_default().to_owned()).collect()
}

fn shell(lines: &str, dir: &Path, set: &[(String, String)]) -> String {
    let mut command = Command::new("bash");
    command.args(["-ec", lines]).current_dir(dir).envs(set.iter().cloned());
    command.env_remove("CARGO_TARGET_DIR").env_remove("MAKEFLAGS");
    let out = command.output().unwrap();
    assert!(out.status.success(), "{lines} in {}:\n{}", dir.display(), said(&out));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Makes a project of the bundled model, builds it for the chip and runs it on the emulated core.
fn builds_and_runs(chip: &str, layout: &str) {
    let dir = tempfile::tempdir().unwrap();
    let made = secateur(&["new", "fw", "--target", chip, "--layout", layout], dir.path());
    assert!(made.status.success(), "{chip} {layout}: {}", said(&made));
    let folder = dir.path().join("fw");
    let set = match layout {
        "cargo" => {
            let chip = targets::find(chip).unwrap();
            toolchain::cargo_environment(&chip).unwrap_or_else(|e| panic!("{e}"))
        }
        _ => Vec::new(),
    };
    let blocks = blocks(&folder.join("README.md"));
    let [build, run, compile] = &blocks[..] else { panic!("three blocks: {blocks:?}") };
    shell(build, &folder, &set);
    if layout == "cargo" {
        // In the other profile too.
        shell("cargo build", &folder, &set);
    }
    let built = match layout {
        "cargo" => {
            let triple = targets::find(chip).unwrap().core.toolchain.unwrap().rust_triple;
            folder.join("target").join(triple).join("release/fw")
        }
        _ => folder.join("build/fw.elf"),
    };
    starts_as_the_chip_wants(chip, &std::fs::read(&built).unwrap());
    let printed = shell(run, &folder, &set);
    assert!(printed.contains(&answer(chip)), "{chip} {layout}: {printed}");
    // The model compiles again to the same files.
    let before = std::fs::read_dir(folder.join("model")).unwrap().count();
    let words: Vec<&str> = compile.split_whitespace().skip(1).collect();
    let again = secateur(&words, &folder);
    assert!(again.status.success(), "{compile}: {}", said(&again));
    assert!(before >= std::fs::read_dir(folder.join("model")).unwrap().count(), "{chip} {layout}");
    assert!(!said(&again).contains("removed"), "{}", said(&again));
}

/// What stands at the start of the image: vectors or what the chip's ROM looks for, at the first address of its flash.
fn starts_as_the_chip_wants(chip: &str, elf: &[u8]) {
    let target = targets::find(chip).unwrap();
    let (flash, ram) = (&target.memory.flash[0], &target.memory.ram[0]);
    let word = |at: usize| u32::from_le_bytes(elf[at..at + 4].try_into().unwrap());
    let half = |at: usize| usize::from(u16::from_le_bytes(elf[at..at + 2].try_into().unwrap()));
    let (programs, size, count) = (word(28) as usize, half(42), half(44));
    let program = (0..count).map(|i| programs + i * size).find(|&p| u64::from(word(p + 12)) == flash.start.0);
    let start = word(program.expect("a segment at the start of flash") + 4) as usize;
    let block: Vec<u32> = (0..1024).map(|i| word(start + 4 * i)).collect();
    let vectors = match chip {
        "rp2040" => {
            assert_eq!(block[63], 0x327B_5CEE, "the checksum of the second stage");
            &block[64..]
        }
        _ => &block[..],
    };
    if chip.ends_with("riscv") {
        let at =
            block.iter().position(|&w| w == 0xFFFF_DED3).expect("an image definition in the first 4 KiB");
        assert_eq!(block[at + 3], word(24), "its entry point is that of the program");
        return;
    }
    assert_eq!(u64::from(vectors[0]), ram.start.0 + ram.size.0, "{chip}: the first stack");
    assert_eq!(vectors[1], word(24) | 1, "{chip}: the reset vector is the entry, in Thumb state");
}

#[test]
fn projects_of_make_build_and_run() {
    CHIPS.iter().for_each(|chip| builds_and_runs(chip, "make"));
}

#[test]
fn projects_of_cmake_build_and_run() {
    CHIPS.iter().for_each(|chip| builds_and_runs(chip, "cmake"));
}

#[test]
fn projects_of_cargo_build_and_run() {
    CHIPS.iter().for_each(|chip| builds_and_runs(chip, "cargo"));
}

/// A model of one's own, with its options and a chip of one's own.
#[test]
fn a_project_keeps_what_its_model_was_compiled_with() {
    let dir = tempfile::tempdir().unwrap();
    let chip =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../targets/chips/nrf52832.toml"))
            .unwrap()
            .replace("nrf52832", "my-chip");
    std::fs::write(dir.path().join("mine.toml"), chip).unwrap();
    std::fs::create_dir(dir.path().join("data")).unwrap();
    std::fs::copy(bundled().join("model.onnx"), dir.path().join("Gesture v2.onnx")).unwrap();
    std::fs::copy(bundled().join("calib.npy"), dir.path().join("data/x.npy")).unwrap();
    let words =
        ["new", "out", "--model", "Gesture v2.onnx", "--calibrate", "data/x.npy", "--target", "mine.toml"];
    let made = secateur(&[&words[..], &["--optimize", "size"]].concat(), dir.path());
    assert!(made.status.success(), "{}", said(&made));
    let out = dir.path().join("out");
    let options = std::fs::read_to_string(out.join("models/secateur.toml")).unwrap();
    for line in
        ["target = \"chip.toml\"", "optimize = \"size\"", "layout = \"make\"", "name = \"gesture_v2\""]
    {
        assert!(options.contains(line), "{line}: {options}");
    }
    assert!(options.contains("\"calibration.npy\""), "{options}");
    let main = std::fs::read_to_string(out.join("main.c")).unwrap();
    assert!(main.contains("gesture_v2_run("), "{main}");
    let kept = std::fs::read(out.join("model/gesture_v2.c")).unwrap();
    shell("make && make run", &out, &[]);
    let compile = blocks(&out.join("README.md")).pop().unwrap();
    let again = secateur(&compile.split_whitespace().skip(1).collect::<Vec<_>>(), &out);
    assert!(again.status.success(), "{}", said(&again));
    assert_eq!(std::fs::read(out.join("model/gesture_v2.c")).unwrap(), kept);
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("there")).unwrap();
    for (words, code, why) in [
        (&["new", "there", "--target", "nrf52840"][..], 1, "exists already"),
        (&["new", "no/such/fw", "--target", "nrf52840"], 1, "no folder to make a project in"),
        (&["new", "fw"], 1, "no chip is named"),
        (&["new", "fw", "--target", "cortex-m4"], 1, "how it starts is not known"),
        (&["new", "fw", "--target", "esp32-c3"], 1, "the maker's format"),
        (&["new", "a b", "--target", "nrf52840"], 2, "no name for a project"),
        (&["new", "fw", "--target", "nrf52840", "--layout", "files"], 2, "invalid value 'files'"),
        (&["new", "fw", "--target", "nrf52840", "--model", "no.onnx"], 1, "cannot be read"),
    ] {
        let out = secateur(words, dir.path());
        assert_eq!(out.status.code(), Some(code), "{words:?}: {}", said(&out));
        // Errors are wrapped at the width of the terminal.
        let told = said(&out).replace(['│', '×'], " ");
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains(why), "{words:?}: {told}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "{words:?}");
    }
}

/// Who copies an example in C and who takes a project of `new` start alike.
#[test]
fn the_examples_in_c_have_the_files_of_a_project() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read =
        |path: PathBuf| std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    for example in ["beats-c", "machine-health"] {
        for (template, copy) in
            [("start_arm.s", "start.s"), ("console.c", "console.c"), ("console.h", "console.h")]
        {
            let ours = read(root.join("src/cli/new/templates").join(template));
            let theirs = read(root.join("../examples").join(example).join(copy));
            assert!(ours == theirs, "{copy} of examples/{example} is not the template {template} any more");
        }
    }
}
