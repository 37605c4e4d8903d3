//! `secateur_compiler::build`: what a build script makes is what macro and command line make, as Rust and as C; Cargo
//! hears of the files that decide it and of no others; errors read as on the command line.

// The expansion itself, as the macro crate has it: a proc macro cannot be called from a test.
#[path = "../../macros/src/arguments.rs"]
mod arguments;
#[path = "../../macros/src/cache.rs"]
mod cache;
#[path = "../../macros/src/expand.rs"]
mod expand;

use cache::Cache;
use secateur_compiler::artifact::{Artifact, compile};
use secateur_compiler::options::{Language, Options};
use secateur_compiler::tensor::Samples;
use secateur_compiler::{Silent, targets};
use secateur_tests::{npy, repository, tools, zoo};
use std::path::{Path, PathBuf};
use std::process::Output;

/// What Cargo sets for a build script, for a target.
fn variables(target: &str, out: &Path) -> Vec<(String, String)> {
    let (os, arch) = match target {
        t if t.starts_with("thumb") => ("none", "arm"),
        t if t.starts_with("riscv32") => ("none", "riscv32"),
        _ => (std::env::consts::OS, std::env::consts::ARCH),
    };
    let set = [
        ("OUT_DIR", out.display().to_string()),
        ("TARGET", target.to_owned()),
        ("HOST", host_triple()),
        ("OPT_LEVEL", "1".to_owned()),
        ("DEBUG", "false".to_owned()),
        ("PROFILE", "debug".to_owned()),
        ("CARGO_CFG_TARGET_OS", os.to_owned()),
        ("CARGO_CFG_TARGET_ARCH", arch.to_owned()),
    ];
    set.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

fn host_triple() -> String {
    let said = tools::command("rustc").arg("-vV").output().expect("rustc starts");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    text.lines().find_map(|l| l.strip_prefix("host: ")).expect("a host").to_owned()
}

/// Runs the script in a folder.
fn script(folder: &Path, target: &str, words: &[&str]) -> Output {
    let out = folder.join("out");
    std::fs::create_dir_all(&out).expect("a folder");
    let mut command = tools::built(Path::new(env!("CARGO_BIN_EXE_build-script")));
    command.args(words).current_dir(folder).env_clear().envs(variables(target, &out));
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).output().expect("it starts")
}

#[track_caller]
fn works(folder: &Path, target: &str, words: &[&str]) -> String {
    let done = script(folder, target, words);
    assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("text")
}

/// A folder with the bundled model and its samples.
fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("models")).expect("a folder");
    let bundled = repository().join("compiler/models/watch_cnn1d");
    for (from, to) in [("model.onnx", "models/watch.onnx"), ("calib.npy", "models/calib.npy")] {
        std::fs::copy(bundled.join(from), folder.path().join(to)).expect("a file");
    }
    folder
}

/// What the command line's entry makes of a model.
fn artifact(model: &Path, calib: &Path, chip: &str, name: &str, language: Language) -> Artifact {
    let mut samples = Samples::default();
    samples.arrays.insert(String::new(), npy(calib));
    let options = Options { name: name.into(), emit: vec![language], ..Options::default() };
    let bytes = std::fs::read(model).expect("a model");
    compile(&bytes, &targets::find(chip).expect("a chip"), Some(&samples), &options, &mut Silent)
        .unwrap_or_else(|e| panic!("{e}"))
}

/// The same code by macro, build script and command line, of a model with its samples.
fn agrees(folder: &Path, model: &str, calib: &str, name: &str) {
    for chip in ["nrf52840", "stm32u575"] {
        let triple = targets::find(chip).unwrap().core.toolchain.unwrap().rust_triple;
        let (target, calibrate) = (format!("target={chip}"), format!("calibrate={calib}"));
        let name_is = format!("name={name}");
        let words = |language| [model, language, target.as_str(), calibrate.as_str(), name_is.as_str()];
        let path = |file: &str| folder.join(file);
        works(folder, &triple, &words("rust"));
        let module = std::fs::read_to_string(path("out").join(format!("{name}.rs"))).expect("a module");
        let rust = artifact(&path(model), &path(calib), chip, name, Language::Rust);
        assert_eq!(module, rust.files[0].text, "{chip}: build script and command line");
        let arguments = format!("{model:?}, target = {chip:?}, calibrate = {calib:?}");
        let item = format!("pub struct {};", secateur_compiler::emit::names::type_name(name));
        let expanded =
            expand::expand(arguments.parse().unwrap(), item.parse().unwrap(), folder, &Cache(None)).unwrap();
        assert!(expanded.note.starts_with(&format!("{name}: ")), "{}", expanded.note);
        let code: proc_macro2::TokenStream = module.parse().expect("it is Rust");
        assert!(expanded.to_string().contains(&code.to_string()), "{chip}: macro and build script");
        works(folder, &triple, &words("c"));
        let c = artifact(&path(model), &path(calib), chip, name, Language::C);
        for file in &c.files {
            let made = std::fs::read_to_string(path("out").join(name).join(&file.path)).expect("a file");
            assert_eq!(made, file.text, "{chip}: {}", file.path);
        }
        // The library is for the chip: its native kernels are in it.
        let library = path("out").join(format!("libsecateur_{name}.a"));
        let headers =
            tools::command("arm-none-eabi-objdump").arg("-h").arg(&library).output().expect("it starts");
        let headers = String::from_utf8_lossy(&headers.stdout).into_owned();
        assert!(headers.contains("_in_") && headers.contains("_kernels_S"), "{headers}");
    }
}

#[test]
fn macro_script_and_command_line_give_the_same_code() {
    tools::require(&["arm-none-eabi-gcc"]);
    let folder = workplace();
    agrees(folder.path(), "models/watch.onnx", "models/calib.npy", "watch");
}

#[test]
fn they_do_for_models_of_the_zoo() {
    tools::require(&["arm-none-eabi-gcc"]);
    let Some(zoo) = zoo() else { return };
    for (name, at) in [("kws", "third_party/mlperf_kws_dscnn"), ("watch_cnn1d", "ours/watch_cnn1d")] {
        let folder = tempfile::tempdir().expect("a folder");
        for file in ["model.onnx", "calib.npy"] {
            std::fs::copy(zoo.join(at).join(file), folder.path().join(file)).expect("a file of the zoo");
        }
        agrees(folder.path(), "model.onnx", "calib.npy", name);
    }
}

/// A program around a model that the script made, as Rust or as C, and what it prints.
const MAIN: &str = "mod watch {\n    include!(concat!(env!(\"OUT_DIR\"), \"/watch.rs\"));\n}\nuse watch::Watch;\nfn main() {\n    \
    static MODEL: std::sync::Mutex<Watch> = std::sync::Mutex::new(Watch::new());\n    let mut model = MODEL.lock().unwrap();\n    \
    let (mut input, mut output) = ([0; Watch::IMU_LEN], [0; Watch::LOGITS_LEN]);\n    for seed in 0..20i32 {\n        \
    for (i, x) in input.iter_mut().enumerate() {\n            *x = (seed * 37 + i as i32 * (11 + seed)) as i8;\n        }\n        \
    model.run(&input, &mut output);\n        println!(\"{output:?}\");\n        *model.imu_mut() = input;\n        \
    model.run_in_place();\n        println!(\"{:?} {}\", model.logits(), Watch::ARENA_BYTES);\n    }\n}\n";

#[test]
fn rust_and_c_have_one_interface_and_give_the_same_bits() {
    let mut answers = Vec::new();
    for (language, arena) in [("rust", "own"), ("c", "own"), ("rust", "shared"), ("c", "shared")] {
        let folder = workplace();
        let arena_is = format!("arena={arena}");
        let words =
            ["models/watch.onnx", language, "target=nrf52840", "calibrate=models/calib.npy", &arena_is];
        let said = works(folder.path(), &host_triple(), &words);
        for (name, text) in secateur_runtime::sources::RUST {
            let path = folder.path().join("runtime").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let lent = "let mut arena = secateur::Arena::<{ Watch::ARENA_BYTES }>::new();\n    let mut model = model.on(&mut arena);\n    let (mut input";
        let main = if arena == "own" { MAIN.to_owned() } else { MAIN.replace("let (mut input", lent) };
        std::fs::write(folder.path().join("main.rs"), main).unwrap();
        let rustc = |words: &[String]| {
            let mut command = tools::command("rustc");
            command.arg("--edition=2024").args(words).current_dir(folder.path());
            let done = command.env("OUT_DIR", folder.path().join("out")).output().expect("rustc starts");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        };
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        rustc(&words("--crate-type=rlib --crate-name=secateur runtime/lib.rs"));
        let mut link = words("-Dwarnings --extern secateur=libsecateur.rlib main.rs");
        // As Cargo does with what the script says.
        for line in said.lines() {
            let line = line.strip_prefix("cargo::").or_else(|| line.strip_prefix("cargo:")).unwrap_or(line);
            match line.split_once('=') {
                Some(("rustc-link-lib", library)) => link.push(format!("-l{library}")),
                Some(("rustc-link-search", folder)) => link.push(format!("-L{folder}")),
                _ => {}
            }
        }
        assert_eq!(link.iter().any(|w| w.starts_with("-l")), language == "c", "{said}");
        rustc(&link);
        let ran = tools::built(&folder.path().join("main")).output().expect("it starts");
        assert!(ran.status.success(), "{language}");
        answers.push(String::from_utf8(ran.stdout).unwrap());
    }
    assert_eq!(answers[0].lines().count(), 40);
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "Rust and C, in arenas of their own and lent"
    );
}

/// What is public of a module, line by line.
fn public(module: &str) -> Vec<&str> {
    module.lines().filter(|l| l.trim_start().starts_with("pub ")).collect()
}

/// Inputs, outputs, states and constants are seen from Rust alike, whatever runs; what `new` begins with is there too.
#[test]
fn states_are_seen_alike() {
    let cases = repository().join("tests/cases/int8");
    let path = |name: &str| cases.join(name).display().to_string();
    let real = "quantize=none";
    let mut seen = Vec::new();
    for language in ["rust", "c"] {
        let folder = workplace();
        let words = [&path("rnn_step_state.onnx"), language, "name=step", "state=h=h_out", real];
        works(folder.path(), &host_triple(), &words);
        seen.push(std::fs::read_to_string(folder.path().join("out/step.rs")).unwrap());
    }
    let interface = public(&seen[1]);
    assert!(interface.iter().any(|l| l.contains("const fn reset(")), "{interface:#?}");
    assert!(interface.iter().any(|l| l.contains("fn state_")), "{interface:#?}");
    assert_eq!(public(seen[0].split("mod kernels {").next().unwrap()), interface);
}

/// Lines by which Cargo knows what to watch, without the folder.
fn watched(said: &str, folder: &Path) -> Vec<PathBuf> {
    let lines = said.lines().filter_map(|l| l.strip_prefix("cargo::rerun-if-changed="));
    lines.map(|l| Path::new(l).strip_prefix(folder).unwrap_or(Path::new(l)).to_path_buf()).collect()
}

#[test]
fn cargo_hears_of_what_decides_and_of_nothing_else() {
    let folder = workplace();
    let host = host_triple();
    std::fs::write(folder.path().join("models/other.txt"), "").unwrap();
    let common = ["models/watch.onnx", "rust", "calibrate=models/calib.npy"];
    let said = works(folder.path(), &host, &common);
    assert_eq!(watched(&said, folder.path()), ["models/watch.onnx", "models/calib.npy"].map(PathBuf::from));
    // A chip of one's own, and a file of options beside the model, or elsewhere.
    let chip = repository().join("targets/chips/nrf52840.toml");
    std::fs::copy(chip, folder.path().join("mine.toml")).unwrap();
    std::fs::write(folder.path().join("models/secateur.toml"), "target = '../mine.toml'\n").unwrap();
    let said = works(folder.path(), &host, &common);
    let mut files = watched(&said, folder.path());
    files.sort();
    assert_eq!(files.len(), 4, "{files:?}");
    assert!(
        files.iter().any(|f| f.ends_with("mine.toml")) && files.iter().any(|f| f.ends_with("secateur.toml"))
    );
    std::fs::write(folder.path().join("options.toml"), "optimize = 'size'\n").unwrap();
    let said = works(folder.path(), &host, &[&common[..], &["config=options.toml"]].concat());
    let want = ["models/watch.onnx", "options.toml", "models/calib.npy"].map(PathBuf::from);
    assert_eq!(watched(&said, folder.path()), want);
    // Tensors in a file beside the model.
    let external = repository().join("tests/field");
    for name in ["external_weights.onnx", "external_weights.onnx.data"] {
        std::fs::copy(external.join(name), folder.path().join("models").join(name)).unwrap();
    }
    std::fs::remove_file(folder.path().join("models/secateur.toml")).unwrap();
    let said = works(folder.path(), &host, &["models/external_weights.onnx", "rust", "quantize=none"]);
    let want = ["models/external_weights.onnx", "models/external_weights.onnx.data"].map(PathBuf::from);
    assert_eq!(watched(&said, folder.path()), want);
}

#[test]
fn what_is_wrong_is_said_as_on_the_command_line() {
    let folder = workplace();
    let host = host_triple();
    for (words, target, says) in [
        (&["models/none.onnx", "rust"][..], &host, "cannot be read"),
        (&["models/watch.onnx", "rust"], &host, "needs calibration samples"),
        (&["models/watch.onnx", "rust", "optimise=size"], &host, "did you mean `optimize`?"),
        (&["models/watch.onnx", "rust", "emit=c"], &host, "`emit` is none of the arguments"),
        (&["models/watch.onnx", "rust", "optimize=tiny"], &host, "`optimize` takes"),
        (&["models/watch.onnx", "rust", "target=nrf5284"], &host, "did you mean `nrf52840`?"),
        (
            &["models/watch.onnx", "rust", "calibrate=models/calib.npy", "target=nrf52840", "max-ram=1K"],
            &host,
            "max-ram",
        ),
        (
            &["models/watch.onnx", "c", "calibrate=models/calib.npy", "target=nrf52840"],
            &"riscv32imc-unknown-none-elf".to_owned(),
            "is built for riscv32imc-unknown-none-elf",
        ),
    ] {
        let done = script(folder.path(), target, words);
        assert_eq!(done.status.code(), Some(1), "{words:?}");
        let told = String::from_utf8_lossy(&done.stderr).replace(['│', '×'], " ");
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains(says) && told.starts_with("secateur::"), "{words:?}: {told}");
    }
}
