//! The attribute as a user meets it: `tests/ui/cases/*.rs` compile and run, or are refused with
//! the text beside them on the argument at fault (`INSTA_UPDATE=always` writes it anew); and the Rust and the lines of `Cargo.toml` in the
//! README.
//!
//! The cases are built with the crate `secateur` that Cargo built for this suite: no second build
//! of the compiler.

use secateur_tests::{repository, tools};
use std::path::{Path, PathBuf};
use std::process::Output;

/// The newest `secateur` beside this test.
fn secateur() -> PathBuf {
    let deps = std::env::current_exe().expect("this test").parent().expect("a folder").to_owned();
    let built = std::fs::read_dir(deps).expect("it is listed").flatten().map(|e| e.path());
    let ours = built.filter(|p| {
        let name = p.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        name.starts_with("libsecateur-") && name.ends_with(".rlib")
    });
    ours.max_by_key(|p| p.metadata().and_then(|m| m.modified()).ok()).expect("Cargo built `secateur`")
}

/// A package as the macro sees it: the files that the cases name.
fn package() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let models = folder.path().join("models");
    std::fs::create_dir(&models).expect("a folder");
    for (from, to) in [
        ("compiler/models/watch_cnn1d/model.onnx", "watch.onnx"),
        // Four of that model's calibration windows: enough, and quick without optimisation.
        ("tests/ui/models/calib.npy", "calib.npy"),
        ("tests/ui/models/wrong.npy", "wrong.npy"),
        // An input and three outputs.
        ("tests/field/two_outputs_shared.onnx", "several.onnx"),
        ("tests/ui/models/unsupported.onnx", "unsupported.onnx"),
        ("tests/ui/models/wrong.toml", "wrong.toml"),
    ] {
        std::fs::copy(repository().join(from), models.join(to)).expect(from);
    }
    folder
}

/// Builds a program, named from `folder`, as part of `package`.
fn rustc(package: &Path, folder: &Path, program: &str, secateur: &Path) -> Output {
    let mut extern_ = std::ffi::OsString::from("secateur=");
    extern_.push(secateur);
    let mut deps = std::ffi::OsString::from("dependency=");
    deps.push(secateur.parent().expect("a folder"));
    tools::command("rustc")
        .args(["--edition=2024", "--color=never", "-o"])
        .arg(package.join("case"))
        .arg("--extern")
        .arg(extern_)
        .arg("-L")
        .arg(deps)
        .arg(program)
        .current_dir(folder)
        .env("CARGO_MANIFEST_DIR", package)
        .output()
        .expect("rustc starts")
}

/// What the compiler said, without its last words on how many errors there were.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let end = text.find("error: aborting due to").unwrap_or(text.len());
    text[..end].trim().to_owned()
}

#[test]
fn what_is_right_compiles_and_runs() {
    let package = package();
    let built = rustc(package.path(), &repository().join("tests/ui"), "cases/compiles.rs", &secateur());
    assert!(built.status.success(), "{}", said(&built));
    let case = package.path().join("case");
    let shares = rustc(package.path(), &repository().join("tests/ui"), "cases/shares.rs", &secateur());
    assert!(shares.status.success(), "{}", said(&shares));
    let ran = tools::built(&case).output().expect("it starts");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let built = rustc(package.path(), &repository().join("tests/ui"), "cases/compiles.rs", &secateur());
    assert!(built.status.success(), "{}", said(&built));
    let ran = tools::built(&case).output().expect("it starts");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    // Where one of the models asks its weights to stand.
    let (program, section) = (std::fs::read(case).expect("a program"), b"\0.model_weights\0");
    assert!(program.windows(section.len()).any(|bytes| bytes == section));
}

/// A library that publishes a model: rustc and rustdoc have nothing to say, and the docs tell what the ports are.
#[test]
fn every_generated_item_has_docs() {
    let (package, secateur) = (package(), secateur());
    let program = "//! A crate with a model.\n#![no_std]\n#![deny(warnings, missing_docs, missing_debug_implementations)]\n\
                   /// What moves.\n#[secateur::model(\"models/watch.onnx\", target = \"cortex-m4\", \
                   calibrate = \"models/calib.npy\")]\npub struct Watch;\n";
    let file = package.path().join("published.rs");
    std::fs::write(&file, program).expect("it is written");
    let told = |tool: &str, more: &[&str]| {
        let mut extern_ = std::ffi::OsString::from("secateur=");
        extern_.push(&secateur);
        let mut deps = std::ffi::OsString::from("dependency=");
        deps.push(secateur.parent().expect("a folder"));
        let mut command = tools::command(tool);
        command.args(["--edition=2024", "--crate-type=lib", "--color=never", "--extern"]).arg(extern_);
        command.arg("-L").arg(deps).args(more).arg(&file).current_dir(package.path());
        let output = command.env("CARGO_MANIFEST_DIR", package.path()).output().expect("it starts");
        assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
    };
    told("rustc", &["--emit=metadata", "-o", "published.rmeta"]);
    told("rustdoc", &["-Drustdoc::all", "-o", "docs"]);
    let page = package.path().join("docs/published/struct.Watch.html");
    let page = std::fs::read_to_string(page).expect("a page");
    for says in
        ["What moves.", "in the shape <code>[1, 6, 128]</code>, worth <code>", "Stored integer of a real 0"]
    {
        assert!(page.contains(says), "{says}");
    }
}

#[test]
fn what_is_wrong_is_refused_where_it_stands() {
    let (package, secateur) = (package(), secateur());
    let cases = repository().join("tests/ui/cases");
    let mut names: Vec<String> = std::fs::read_dir(&cases)
        .expect("it is listed")
        .flatten()
        .filter_map(|e| Some(e.file_name().to_str()?.strip_suffix(".stderr")?.to_owned()))
        .collect();
    names.sort();
    assert!(names.len() >= 25, "{names:?}");
    for name in names {
        let program = format!("cases/{name}.rs");
        let built = rustc(package.path(), &repository().join("tests/ui"), &program, &secateur);
        assert!(!built.status.success(), "{name} compiles");
        let file = cases.join(format!("{name}.stderr"));
        if std::env::var_os("INSTA_UPDATE").is_some_and(|v| v == "always") {
            std::fs::write(&file, said(&built) + "\n").expect("it is written");
        }
        let want = std::fs::read_to_string(file).expect("it is read");
        assert_eq!(said(&built), want.trim(), "{name}");
    }
    // Where this is found, rustc's words are its own.
    let small = rustc(package.path(), &repository().join("tests/ui"), "cases/arena_too_small.rs", &secateur);
    assert!(!small.status.success(), "a model runs in an arena that is too small");
    assert!(
        said(&small).contains("the shared arena is smaller than the `ARENA_BYTES` of a model"),
        "{}",
        said(&small)
    );
}

/// The README's fenced blocks in a language.
fn readme(language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(repository().join("README.md")).expect("the README");
    let begin = format!("\n```{language}\n");
    text.split(&begin).skip(1).map(|b| b.split("\n```").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_rust_in_the_readme_compiles_and_runs() {
    let package = package();
    let models = repository().join("examples/host-quickstart/models");
    for name in ["har.onnx", "har_calib.npy"] {
        std::fs::copy(models.join(name), package.path().join("models").join(name)).expect(name);
    }
    let blocks = readme("rust");
    assert!(!blocks.is_empty());
    for block in blocks {
        let (item, statements) = block.split_once("\n\n").expect("an item, then statements");
        // What the reader brings along.
        let given = "let (input, mut output) = ([0i8; Har::IMU_LEN], [0i8; Har::LOGITS_LEN]);\n\
                     let window = [0.5f32; Har::IMU_LEN];";
        let used = "assert_eq!(scores.len(), Har::LOGITS_LEN);";
        let program = format!("{item}\n\nfn main() {{\n{given}\n{statements}\n{used}\n}}\n");
        std::fs::write(package.path().join("readme.rs"), program).expect("it is written");
        let built = rustc(package.path(), package.path(), "readme.rs", &secateur());
        assert!(built.status.success(), "{}", said(&built));
        let ran = tools::built(&package.path().join("case")).output().expect("it starts");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
}

/// The crates that a package with these lines in its `Cargo.toml` builds besides its own, with
/// `secateur` taken from the repository.
fn crates(lines: &str) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let facade = repository().join("runtime/facade");
    let manifest = format!(
        "[package]\nname = \"firmware\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n{lines}\n\n\
         [patch.crates-io]\nsecateur = {{ path = {facade:?} }}\n\n[workspace]\n"
    );
    std::fs::create_dir(folder.path().join("src")).expect("a folder");
    std::fs::write(folder.path().join("src/lib.rs"), "#![no_std]\n").expect("it is written");
    std::fs::write(folder.path().join("Cargo.toml"), manifest).expect("it is written");
    // The versions that are fetched already.
    std::fs::copy(repository().join("Cargo.lock"), folder.path().join("Cargo.lock")).expect("a lock file");
    let tree = tools::command("cargo")
        .args(["tree", "--offline", "--prefix", "none", "--format", "{p}", "--edges", "normal,build"])
        .current_dir(folder.path())
        .output()
        .expect("cargo starts");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).expect("names");
    let mut names: Vec<String> =
        text.lines().filter_map(|l| l.split_whitespace().next()).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names.retain(|n| n != "firmware");
    names
}

#[test]
fn firmware_with_an_emitted_module_builds_no_compiler() {
    let lines = readme("toml");
    let (lean, macros): (Vec<&String>, Vec<&String>) =
        lines.iter().partition(|l| l.contains("default-features = false"));
    assert!(!lean.is_empty() && !macros.is_empty(), "{lines:?}");
    for lines in lean {
        assert_eq!(crates(lines), ["secateur", "secateur-runtime"]);
    }
    for lines in macros {
        let all = crates(lines);
        assert!(
            all.iter().any(|n| n == "secateur-macros") && all.iter().any(|n| n == "secateur-compiler"),
            "{all:?}"
        );
    }
}

/// What `--layout cargo` writes depends on the runtime alone, too.
#[test]
fn an_emitted_crate_builds_no_compiler() {
    use secateur_compiler::artifact::compile;
    use secateur_compiler::observe::Silent;
    use secateur_compiler::options::{Language, Layout, Options, Quantize};
    let model = std::fs::read(repository().join("compiler/models/watch_cnn1d/model.onnx")).expect("a model");
    let options = Options {
        name: "watch".into(),
        quantize: Quantize::None,
        emit: vec![Language::Rust],
        layout: Layout::Cargo,
        ..Options::default()
    };
    let artifact = compile(&model, &secateur_tests::engines::target("nrf52840"), None, &options, &mut Silent)
        .expect("compiles");
    let manifest = artifact.files.iter().find(|f| f.path == "Cargo.toml").expect("a crate has a manifest");
    let lines = &manifest.text[manifest.text.find("[dependencies]").expect("it depends on something")..];
    assert_eq!(crates(lines), ["secateur", "secateur-runtime"]);
}
