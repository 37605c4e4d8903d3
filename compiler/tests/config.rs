//! `secateur.toml`: found, over-ruled, printed and refused by the commands; and the macro, which
//! reads the same file to the same text.

// The expansion itself, as the macro crate has it: a proc macro cannot be called from a test.
#[path = "../../macros/src/arguments.rs"]
mod arguments;
#[path = "../../macros/src/cache.rs"]
mod cache;
#[path = "../../macros/src/expand.rs"]
mod expand;

use cache::Cache;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d");

/// A folder with `models/watch.onnx`, samples and a file of options beside it.
fn workplace(config: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path().join("models");
    std::fs::create_dir(&models).unwrap();
    for (from, to) in [("model.onnx", "watch.onnx"), ("calib.npy", "calib.npy"), ("test_x.npy", "test_x.npy")]
    {
        std::fs::copy(Path::new(MODEL).join(from), models.join(to)).unwrap();
    }
    if !config.is_empty() {
        std::fs::write(models.join("secateur.toml"), config).unwrap();
    }
    folder
}

fn secateur(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_secateur"));
    command.args(args).current_dir(folder).output().expect("the binary starts")
}

/// Standard output of what succeeds.
fn told(folder: &Path, args: &[&str]) -> String {
    let out = secateur(folder, args);
    assert!(out.status.success(), "{args:?}: {}", words(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// The words of what is refused with `code`.
fn refused(folder: &Path, args: &[&str], code: i32) -> String {
    let out = secateur(folder, args);
    assert_eq!(out.status.code(), Some(code), "{args:?}: {}", words(&out.stderr));
    words(&out.stderr)
}

/// Errors are wrapped at the width of the terminal; words matter, line ends do not.
fn words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace(['│', '╰', '─', '▶', '×'], " ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every file of a folder: name, text.
fn files(folder: &Path) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let mut files: Vec<(String, String)> = entries
        .map(|e| (e.file_name().into_string().unwrap(), std::fs::read_to_string(e.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn the_file_beside_the_model_says_what_flags_would() {
    let text = "quantize = 'int8'\ncalibrate = 'calib.npy'\n\
                [model.watch]\nname = 'net'\ntarget = 'nrf52840'\noptimize = 'size'\nemit = ['c', 'rust']\n\
                dump-after = ['import']\n[model.watch.layer.'*MaxPool*']\nkernel = 'portable'\n";
    let folder = workplace(text);
    told(folder.path(), &["compile", "models/watch.onnx", "-o", "by_file"]);
    let by_file = files(&folder.path().join("by_file"));
    assert!(by_file.iter().any(|(name, _)| name == "net.import.txt"));
    std::fs::remove_file(folder.path().join("models/secateur.toml")).unwrap();
    told(
        folder.path(),
        &[
            "compile",
            "models/watch.onnx",
            "-o",
            "by_flags",
            "--calibrate",
            "models/calib.npy",
            "--name",
            "net",
            "--target",
            "nrf52840",
            "--optimize",
            "size",
            "--emit",
            "c,rust",
            "--dump-after",
            "import",
            "--kernel",
            "*MaxPool*=portable",
        ],
    );
    assert_eq!(by_file, files(&folder.path().join("by_flags")));

    // From within the model's folder, and from a file elsewhere, whose samples are beside it.
    std::fs::write(folder.path().join("elsewhere.toml"), text.replace("calib.npy", "models/calib.npy"))
        .unwrap();
    told(
        &folder.path().join("models"),
        &["compile", "watch.onnx", "--config", "../elsewhere.toml", "-o", "../third"],
    );
    assert_eq!(by_file, files(&folder.path().join("third")));
}

/// What `--print-config` prints, without comments.
fn holds(folder: &Path, more: &[&str]) -> Vec<String> {
    let text = told(folder, &[&["compile", "models/watch.onnx", "--print-config"], more].concat());
    text.lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn a_named_file_stands_for_the_one_beside_and_a_flag_for_both() {
    let folder = workplace("optimize = 'size'\nquantize = 'none'\n");
    std::fs::write(folder.path().join("other.toml"), "optimize = 'speed'\n").unwrap();
    let has = |more: &[&str], line: &str| {
        let lines = holds(folder.path(), more);
        assert!(lines.iter().any(|l| l == line), "no {line} in {lines:#?}");
    };
    has(&[], "optimize = \"size\"  # models/secateur.toml:1");
    has(&[], "quantize = \"none\"  # models/secateur.toml:2");
    has(&["--config", "other.toml"], "optimize = \"speed\"  # other.toml:1");
    has(&["--config", "other.toml"], "quantize = \"int8\"  # default");
    has(&["--config", "other.toml", "--optimize", "balanced"], "optimize = \"balanced\"  # flag --optimize");
    // Said as the default would have it, a flag is a flag.
    has(&["--quantize", "int8"], "quantize = \"int8\"  # flag --quantize");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(left.len(), 2, "something was written: {left:?}");
}

#[test]
fn what_is_printed_compiles_to_the_same_anywhere() {
    let text = "calibrate = 'calib.npy'\nkernel = { '*' = 'portable' }\n\
                [model.watch]\ncore = 'cortex-m4'\nflash = '1M'\nram = 65536\n";
    let folder = workplace(text);
    let flags = ["--kernel", "*Pool*=max_run_s8", "--kernel", "*Pool*=portable", "--emit", "rust,c"];
    let all = [&["compile", "models/watch.onnx"], flags.as_slice()].concat();
    let printed = told(folder.path(), &[&all[..], &["--print-config"]].concat());
    told(folder.path(), &[&all[..], &["-o", "first"]].concat());
    std::fs::create_dir(folder.path().join("far")).unwrap();
    std::fs::write(folder.path().join("far/printed.toml"), &printed).unwrap();
    told(folder.path(), &["compile", "models/watch.onnx", "--config", "far/printed.toml", "-o", "second"]);
    assert_eq!(files(&folder.path().join("first")), files(&folder.path().join("second")));
    // Printed again, it differs in its comments alone.
    let again = told(
        folder.path(),
        &["compile", "models/watch.onnx", "--config", "far/printed.toml", "--print-config"],
    );
    let bare =
        |text: &str| text.lines().map(|l| l.split("  #").next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(bare(&printed), bare(&again));
}

#[test]
fn every_command_with_a_model_reads_it() {
    let text = "calibrate = 'calib.npy'\ntarget = 'nrf52840'\noptimize = 'size'\n";
    let folder = workplace(text);
    let report = |args: &[&str]| -> serde_json::Value {
        let said = told(folder.path(), &[args, &["--json"]].concat());
        serde_json::from_str(&said).unwrap()
    };
    let compiled = report(&["compile", "models/watch.onnx", "-o", "out"]);
    let benched = report(&["bench", "models/watch.onnx", "--emit", "c"]);
    assert_eq!(benched["target"], "nrf52840");
    assert_eq!(benched["optimize"], "size");
    assert_eq!(benched["total"]["code"], compiled["total"]["code"], "{benched:#}");
    let eval =
        ["eval", "models/watch.onnx", "--data", "models/test_x.npy", "--engine", "eval", "--limit", "2"];
    assert_eq!(report(&eval)["target"], "nrf52840");
    assert_eq!(report(&["compare", "models/watch.onnx", "--limit", "1"])["name"], "watch");
    told(folder.path(), &["run", "models/watch.onnx", "--input", "models/test_x.npy", "--limit", "1"]);

    std::fs::write(folder.path().join("models/secateur.toml"), "dim = { nowhere = 2 }\noptimize = 'size'\n")
        .unwrap();
    let said = refused(folder.path(), &["inspect", "models/watch.onnx"], 2);
    assert!(
        said.contains("models/secateur.toml:1:19: option `dim`: the model has no dimension `nowhere`"),
        "{said}"
    );
    told(folder.path(), &["inspect", "models/watch.onnx", "--config", "/dev/null"]);
}

#[test]
fn refusals_name_the_line_also_of_what_only_the_compiler_knows() {
    let folder = workplace("calibrate = 'calib.npy'\noptimze = 'size'\n");
    let compile = ["compile", "models/watch.onnx", "-o", "out"];
    let said = refused(folder.path(), &compile, 2);
    let want = "secateur::option models/secateur.toml:2:1: `optimze` is none of the keys; did you mean \
                `optimize`?";
    assert_eq!(said, want);
    let with = |text: &str, code: i32, want: &str| {
        std::fs::write(folder.path().join("models/secateur.toml"), text).unwrap();
        let said = refused(folder.path(), &compile, code);
        assert!(said.contains(want), "no {want} in: {said}");
    };
    with(
        "calibrate = 'calib.npy'\nname = '1x'",
        2,
        "models/secateur.toml:2:8: option `name`: `1x` is no name",
    );
    with("\ntarget = 'nrf5284'", 1, "models/secateur.toml:2:10: option `target`: there is no chip or core");
    with("target = 'mine.toml'", 1, "file `models/mine.toml`: cannot be read");
    with("calibrate = 'none.npy'", 1, "file `models/none.npy`: cannot be read");
    let layers =
        "calibrate = 'calib.npy'\n[layer.'*']\nkernel = 'portable'\n[layer.'nobody']\nkernel = 'portable'\n";
    with(layers, 2, "models/secateur.toml:5:10: option `kernel`: no layer is called `nobody`");
    let layers =
        "calibrate = 'calib.npy'\n[layer.'*']\nkernel = 'portable'\n[layer.'*Pool*']\nkernel = 'winograd9'\n";
    with(layers, 2, "models/secateur.toml:5:10: option `kernel`: node");
    with(
        "calibrate = 'calib.npy'\n[dim]\nn = 3\n",
        2,
        "models/secateur.toml:3:5: option `dim`: the model has no dimension `n`",
    );
    let small = "calibrate = 'calib.npy'\ncore = 'cortex-m4'\nflash = '4K'\nram = '64K'\n";
    with(small, 1, "models/secateur.toml:3:9: option `flash`:");
    assert!(!folder.path().join("out").exists());
}

#[test]
fn a_file_that_cannot_be_read_is_a_clear_error() {
    let folder = workplace("");
    let print = |file: &str| {
        refused(folder.path(), &["compile", "models/watch.onnx", "--print-config", "--config", file], 1)
    };
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    assert_eq!(print("models"), "secateur::environment file `models`: is a folder; options stand in a file");
    assert!(
        print("none.toml")
            .starts_with("secateur::environment file `none.toml`: cannot be read: No such file")
    );
    write("latin1.toml", b"# a\nname = 'gr\xf6\xdfer'\n");
    let want = "secateur::environment file `latin1.toml`: is not UTF-8 text: line 2 holds other bytes";
    assert_eq!(print("latin1.toml"), want);
    write("large.toml", &vec![b'#'; 10 << 20]);
    let want = "secateur::environment file `large.toml`: holds more than 262144 bytes, which no file of options takes";
    assert_eq!(print("large.toml"), want);
    // What lies beside the model is not passed over because it cannot be read.
    std::fs::create_dir(folder.path().join("models/secateur.toml")).unwrap();
    let said = refused(folder.path(), &["inspect", "models/watch.onnx"], 1);
    assert!(said.contains("`models/secateur.toml`: is a folder"), "{said}");
    #[cfg(unix)]
    {
        std::fs::remove_dir(folder.path().join("models/secateur.toml")).unwrap();
        std::os::unix::fs::symlink("gone.toml", folder.path().join("models/secateur.toml")).unwrap();
        let said = refused(folder.path(), &["inspect", "models/watch.onnx"], 1);
        assert!(said.contains("`models/secateur.toml`: cannot be read"), "{said}");
    }
}

#[test]
fn a_section_for_a_model_that_is_not_there_is_a_warning() {
    let folder = workplace("calibrate = 'calib.npy'\n[model.watsh]\noptimize = 'size'\n");
    let print =
        || words(&secateur(folder.path(), &["compile", "models/watch.onnx", "--print-config"]).stderr);
    let want =
        "warning: models/secateur.toml:2:8: no section is for the model `watch`; this one is for `watsh`";
    assert!(print().starts_with(want), "{}", print());
    // Where nothing is compiled for lack of what the section has, it is said as well; and in JSON.
    let eval = ["eval", "models/watch.onnx", "--data", "models/test_x.npy", "--limit", "1", "--engine"];
    for engine in ["float", "eval"] {
        let out = secateur(folder.path(), &[&eval[..], &[engine, "--json"]].concat());
        assert!(words(&out.stderr).starts_with(want), "{engine}: {}", words(&out.stderr));
        let said: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(said["warnings"][0]["place"], "models/secateur.toml:2:8");
    }
    let out = secateur(folder.path(), &["inspect", "models/watch.onnx"]);
    assert!(words(&out.stderr).starts_with(want), "{}", words(&out.stderr));
    let said = refused(folder.path(), &["compile", "models/watch.onnx", "-o", "out", "--name", "1x"], 2);
    assert!(said.starts_with(want) && said.contains("option `name`"), "{said}");
    std::fs::write(folder.path().join("models/watsh.onnx"), "another").unwrap();
    assert_eq!(print(), "");
}

/// Tokens of Rust, without comments: the command line writes what it has measured there.
fn tokens(text: &str) -> String {
    text.parse::<proc_macro2::TokenStream>().unwrap().to_string()
}

#[test]
fn the_macro_reads_the_same_file_to_the_same_text() {
    let text = "calibrate = 'calib.npy'\noptimize = 'speed'\nemit = ['rust']\n\
                [model.watch]\ntarget = 'nrf52840'\noptimize = 'size'\n\
                [model.watch.layer.'*MaxPool*']\nkernel = 'portable'\n";
    let folder = workplace(text);
    let emitted = |flags: &[&str]| {
        told(folder.path(), &[&["compile", "models/watch.onnx", "-o", "out"], flags].concat());
        tokens(&std::fs::read_to_string(folder.path().join("out/watch.rs")).unwrap())
    };
    let expanded = |arguments: &str| {
        let item = "pub struct Watch;".parse().unwrap();
        let expanded = expand::expand(arguments.parse().unwrap(), item, folder.path(), &Cache(None)).unwrap();
        assert!(expanded.note.starts_with("watch: "), "{}", expanded.note);
        expanded.to_string()
    };
    let text = emitted(&[]);
    let by_macro = expanded("\"models/watch.onnx\"");
    assert!(by_macro.contains(&text), "the macro's text is not that of the command line");
    let tracked = "include_bytes ! (concat ! (env ! (\"CARGO_MANIFEST_DIR\") , \"/models/secateur.toml\"))";
    assert!(by_macro.contains(tracked), "a change of the file does not rebuild");

    let other = emitted(&["--optimize", "balanced", "--kernel", "*=portable"]);
    assert_ne!(other, text);
    let by_macro = expanded("\"models/watch.onnx\", optimize = \"balanced\", kernel(\"*\" = \"portable\")");
    assert!(by_macro.contains(&other), "an argument goes over the file as a flag does");

    std::fs::write(folder.path().join("other.toml"), "calibrate = 'models/calib.npy'\nemit = ['rust']\n")
        .unwrap();
    let third = emitted(&["--config", "other.toml"]);
    let by_macro = expanded("\"models/watch.onnx\", config = \"other.toml\"");
    assert!(by_macro.contains(&third) && third != text);
    assert!(by_macro.contains("\"/other.toml\"") && !by_macro.contains("secateur.toml"));
}

#[test]
fn the_macro_refuses_what_the_commands_refuse() {
    let folder = workplace("calibrate = 'calib.npy'\noptimze = 'size'\n");
    let said = |config: &str| {
        std::fs::write(folder.path().join("models/secateur.toml"), config).unwrap();
        let arguments = "\"models/watch.onnx\"".parse().unwrap();
        expand::expand(arguments, "struct Watch;".parse().unwrap(), folder.path(), &Cache(None))
            .unwrap_err()
            .to_string()
    };
    let text = said("calibrate = 'calib.npy'\noptimze = 'size'\n");
    assert!(
        text.starts_with("models/secateur.toml:2:1: `optimze` is none of the keys; did you mean"),
        "{text}"
    );
    let text = said("\ntarget = 'nrf5284'\n");
    assert!(
        text.starts_with("models/secateur.toml:2:10: option `target`: there is no chip or core"),
        "{text}"
    );
    let text = said("calibrate = 'calib.npy'\n[layer.'nobody']\nkernel = 'portable'\n");
    assert!(
        text.starts_with("models/secateur.toml:3:10: option `kernel`: no layer is called `nobody`"),
        "{text}"
    );
    let text = said(&"#".repeat(10 << 20));
    assert_eq!(
        text,
        "file `models/secateur.toml` holds more than 262144 bytes, which no file of options takes"
    );
}
