//! The attribute's code is the text of the command line. (What it accepts and what it says where
//! something is wrong: suite `ui`.)

// The expansion itself, as the macro crate has it: a proc macro cannot be called from a test.
#[path = "../../macros/src/arguments.rs"]
mod arguments;
#[path = "../../macros/src/cache.rs"]
mod cache;
#[path = "../../macros/src/expand.rs"]
mod expand;

use cache::Cache;
use proc_macro2::TokenStream;
use secateur_compiler::artifact::compile;
use secateur_compiler::options::Language;
use secateur_compiler::tensor::Samples;
use secateur_compiler::{Options, Silent, npy, targets};

/// A warning of the compiler becomes one of rustc: the note of a deprecated item that is used.
#[test]
fn warnings_become_deprecations() {
    let folder = secateur_tests::repository().join("compiler/models/watch_cnn1d");
    let expand = |arguments: &str, item: &str| {
        expand::expand(arguments.parse().unwrap(), item.parse().unwrap(), &folder, &Cache(None))
            .unwrap()
            .to_string()
    };
    let said = expand(
        "\"model.onnx\", quantize = \"none\", calibrate = \"calib.npy\"",
        "#[allow(deprecated)] pub struct Net;",
    );
    assert_eq!(said.matches("deprecated (note = \"option `calibrate`: the model stays in floats").count(), 1);
    assert_eq!(said.matches("# [allow (deprecated)] const _ : () =").count(), 1, "{said}");
    let silent = expand("\"model.onnx\", quantize = \"none\"", "pub struct Net;");
    assert!(!silent.contains("deprecated"), "{silent}");
}

/// What the macro puts around the emitted text: a module and a `use`.
#[test]
fn the_code_is_that_of_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let bundled = secateur_tests::repository().join("compiler/models/watch_cnn1d");
    std::fs::create_dir(dir.path().join("models")).unwrap();
    for (from, to) in [("model.onnx", "watch.onnx"), ("calib.npy", "calib.npy")] {
        std::fs::copy(bundled.join(from), dir.path().join("models").join(to)).unwrap();
    }
    let arguments = "\"models/watch.onnx\", target = \"nrf52840\", calibrate = \"models/calib.npy\"";
    let item = "pub struct WatchNet;";
    let expanded =
        expand::expand(arguments.parse().unwrap(), item.parse().unwrap(), dir.path(), &Cache(None)).unwrap();

    let read = |name: &str| std::fs::read(dir.path().join("models").join(name)).unwrap();
    let mut samples = Samples::default();
    samples.arrays.insert(String::new(), npy::read(&read("calib.npy")).unwrap());
    let options = Options { name: "watch_net".into(), emit: vec![Language::Rust], ..Options::default() };
    let target = targets::find("nrf52840").unwrap();
    let artifact = compile(&read("watch.onnx"), &target, Some(&samples), &options, &mut Silent).unwrap();
    assert_eq!(artifact.files[0].path, "watch_net.rs");
    let code: TokenStream = artifact.files[0].text.parse().unwrap();
    let want = quote::quote! {
        #[doc(hidden)]
        mod __secateur_watch_net {
            const _: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch.onnx"));
            const _: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/calib.npy"));
            #code
        }
        pub use __secateur_watch_net::WatchNet;
    };
    assert_eq!(expanded.to_string(), want.to_string());
}

/// One set of samples in every format that the command line reads gives one code; Cargo follows each of their files.
#[test]
fn samples_of_every_format_give_the_same_code() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let repository = secateur_tests::repository();
    put("net.onnx", &std::fs::read(repository.join("compiler/models/watch_cnn1d/model.onnx")).unwrap());
    let array = std::fs::read(repository.join("tests/ui/models/calib.npy")).unwrap();
    put("x.npy", &array);
    let samples = npy::read(&array).unwrap();
    let (count, values) = (samples.shape()[0], samples.to_f32_vec());
    let rows: Vec<&[f32]> = values.chunks(values.len() / count).collect();
    let arrays = std::collections::BTreeMap::from([("whatever".to_owned(), samples.clone())]);
    secateur_compiler::data::write_npz(&folder.path().join("x.npz"), &arrays).unwrap();
    let words = |row: &[f32]| row.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
    put("x.csv", rows.iter().map(|row| words(row) + "\n").collect::<String>().as_bytes());
    put(
        "labelled.csv",
        rows.iter().map(|row| format!("rest,{}\n", words(row))).collect::<String>().as_bytes(),
    );
    std::fs::create_dir(folder.path().join("each")).unwrap();
    for (i, row) in rows.iter().enumerate() {
        let sample = secateur_compiler::Tensor::f32(&samples.shape()[1..], row.to_vec());
        put(&format!("each/{i}.npy"), &npy::write(&sample));
    }
    let expand = |arguments: &str, cache: &Cache| {
        let arguments = format!("\"net.onnx\", target = \"cortex-m4\", {arguments}").parse().unwrap();
        let item = "pub struct Net;".parse().unwrap();
        expand::expand(arguments, item, folder.path(), cache).map(|expansion| expansion.code.to_string())
    };
    // Behind the banner, whose digest is that of the samples as they stand in their file.
    let code = |text: &str| text[text.find("pub struct Net").expect("a struct")..].to_owned();
    let want = code(&expand("calibrate = \"x.npy\"", &Cache(None)).unwrap());
    for arguments in [
        "calibrate = \"x.npz\"",
        "calibrate = \"x.csv\"",
        "calibrate = \"labelled.csv\", labels_column = \"1\"",
        "calibrate = \"each\"",
        "calibrate(imu = \"x.csv\")",
    ] {
        assert_eq!(code(&expand(arguments, &Cache(None)).unwrap()), want, "{arguments}");
    }
    let text = expand("calibrate = \"each\"", &Cache(None)).unwrap();
    for i in 0..count {
        assert!(text.contains(&format!("\"/each/{i}.npy\"")), "Cargo does not follow sample {i}");
    }
    let said = expand("calibrate = \"labelled.csv\"", &Cache(None)).unwrap_err().to_string();
    for word in ["file `labelled.csv`", "line 1, column 1", "`labels_column = \"NAME\"`"] {
        assert!(said.contains(word), "no `{word}` in: {said}");
    }
    let said = expand("calibrate = \"none.csv\"", &Cache(None)).unwrap_err().to_string();
    assert!(said.contains("file `none.csv` cannot be read: it does not exist"), "{said}");
    // What is kept is of these very files: a sample that changes, and one that joins them.
    let kept = Cache(Some(folder.path().join("kept")));
    let first = expand("calibrate = \"each\"", &kept).unwrap();
    assert_eq!(expand("calibrate = \"each\"", &kept).unwrap(), first);
    let loud = secateur_compiler::Tensor::f32(&samples.shape()[1..], vec![50.0; rows[0].len()]);
    put("each/9.npy", &npy::write(&loud));
    assert_ne!(code(&expand("calibrate = \"each\"", &kept).unwrap()), want);
}

/// A model keeps its tensors in a second file: both are read, and both rebuild the crate.
#[test]
fn data_beside_the_model_are_read_and_followed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("models")).unwrap();
    let field = secateur_tests::repository().join("tests/field");
    for name in ["external_weights.onnx", "external_weights.onnx.data"] {
        std::fs::copy(field.join(name), dir.path().join("models").join(name)).unwrap();
    }
    let expand = || {
        let arguments = "\"models/external_weights.onnx\", quantize = \"none\"";
        expand::expand(
            arguments.parse().unwrap(),
            "pub struct Net;".parse().unwrap(),
            dir.path(),
            &Cache(None),
        )
    };
    let text = expand().unwrap().to_string();
    for name in ["external_weights.onnx", "external_weights.onnx.data"] {
        let line =
            format!("include_bytes ! (concat ! (env ! (\"CARGO_MANIFEST_DIR\") , \"/models/{name}\"))");
        assert!(text.contains(&line), "{line} is not in the expansion");
    }
    std::fs::remove_file(dir.path().join("models/external_weights.onnx.data")).unwrap();
    let error = expand().unwrap_err().to_string();
    assert!(error.contains("external_weights.onnx.data") && error.contains("does not exist"), "{error}");
}

/// What the kernels announce must fit the sizes that are given; the macro says what it counted.
#[test]
fn what_does_not_fit_is_refused_on_the_argument() {
    let root = secateur_tests::repository().join("compiler/models/watch_cnn1d");
    let expanded = |more: &str| {
        let arguments = format!(
            "\"model.onnx\", core = \"cortex-m4\", flash = \"16K\", ram = \"2K\", calibrate = \"calib.npy\"{more}"
        );
        expand::expand(arguments.parse().unwrap(), "pub struct Watch;".parse().unwrap(), &root, &Cache(None))
    };
    let errors = expanded("").expect_err("32 KiB of weights in 16 KiB of flash");
    let said: String = errors.into_iter().map(|e| e.to_string() + "\n").collect();
    for word in [
        "16384 B of flash",
        "too many",
        "native kernels",
        "not measured",
        "2048 B of RAM",
        "allow_overflow = true",
    ] {
        assert!(said.contains(word), "no `{word}` in: {said}");
    }
    assert!(expanded(", allow_overflow = true").is_ok());
    assert!(expanded(", allow_overflow = false").is_err());
}

/// What is kept between runs is the struct's own, and what is said of it is said in the attribute's words.
#[test]
fn outputs_are_tied_by_an_argument() {
    let folder = secateur_tests::repository().join("tests/cases/int8");
    let expand = |arguments: &str| {
        let arguments = format!("\"rnn_step_state.onnx\", quantize = \"none\", {arguments}");
        expand::expand(arguments.parse().unwrap(), "pub struct Cell;".parse().unwrap(), &folder, &Cache(None))
    };
    let text = expand("state(h = \"h_out\")").unwrap().to_string();
    let spaced = "fn run (& mut self , in_x : & [f32 ; 6] , out_y : & mut [f32 ; 3])";
    for part in [spaced, "pub fn state_h (& self) -> & [f32 ; 8]", "pub const fn reset (& mut self)"] {
        assert!(text.contains(part), "{part} is not in the expansion");
    }
    let said = expand("state(h = \"hout\")").unwrap_err().to_string();
    assert!(said.contains("no output `hout`") && said.contains("`h_out`"), "{said}");
    let said = expand("state(h_out = \"h\")").unwrap_err().to_string();
    assert!(said.contains("`state(\"INPUT\" = \"OUTPUT\")` names the input first"), "{said}");
}

/// A second expansion takes the code from where the first one kept it; a change of anything that decides the code, the
/// tensors beside the model among it, compiles anew.
#[test]
fn code_is_kept_between_builds() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Cache(Some(folder.path().join("target/secateur")));
    let bundled = secateur_tests::repository().join("compiler/models/watch_cnn1d");
    for name in ["model.onnx", "calib.npy"] {
        std::fs::copy(bundled.join(name), folder.path().join(name)).unwrap();
    }
    let with = |arguments: &str, kept: &Cache| {
        let item = "pub struct Net;".parse().unwrap();
        expand::expand(arguments.parse().unwrap(), item, folder.path(), kept).unwrap().to_string()
    };
    let entries = || {
        let listed = std::fs::read_dir(folder.path().join("target/secateur")).into_iter().flatten();
        let mut paths: Vec<_> = listed.map(|e| e.unwrap().path()).collect();
        paths.sort();
        paths
    };
    // A warning's place comes back with it.
    let arguments = "\"model.onnx\", quantize = \"none\", calibrate = \"calib.npy\"";
    let first = with(arguments, &kept);
    assert_eq!(first, with(arguments, &Cache(None)));
    let [entry] = &entries()[..] else { panic!("{:?}", entries()) };
    assert_eq!(with(arguments, &kept), first);
    // It is the entry that is read, not the model: what stands in it is what comes back, if it is whole.
    let text = std::fs::read_to_string(entry).unwrap();
    std::fs::write(entry, text.replace("pub struct", "pub  struct")).unwrap();
    assert_eq!(with(arguments, &kept), first);
    assert_eq!(std::fs::read_to_string(entry).unwrap(), text, "an altered entry was not written anew");
    // Other options, samples and models are other entries.
    for (i, other) in
        ["quantize = \"none\"", "calibrate = \"calib.npy\", optimize = \"size\""].iter().enumerate()
    {
        with(&format!("\"model.onnx\", {other}"), &kept);
        assert_eq!(entries().len(), 2 + i);
    }
    let calib = std::fs::read(folder.path().join("calib.npy")).unwrap();
    let mut changed = calib.clone();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(folder.path().join("calib.npy"), changed).unwrap();
    with(arguments, &kept);
    assert_eq!(entries().len(), 4);
}

/// Tensors in files beside a model are looked at again before kept code is used.
#[test]
fn kept_code_follows_the_files_of_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Cache(Some(folder.path().join("kept")));
    let field = secateur_tests::repository().join("tests/field");
    std::fs::copy(field.join("external_weights.onnx"), folder.path().join("net.onnx")).unwrap();
    let weights = std::fs::read(field.join("external_weights.onnx.data")).unwrap();
    let data = folder.path().join("external_weights.onnx.data");
    let expanded = |bytes: &[u8]| {
        std::fs::write(&data, bytes).unwrap();
        let arguments = "\"net.onnx\", quantize = \"none\"".parse().unwrap();
        expand::expand(arguments, "pub struct Net;".parse().unwrap(), folder.path(), &kept)
            .unwrap()
            .to_string()
    };
    let first = expanded(&weights);
    assert!(first.contains("/external_weights.onnx.data"), "a change of the file does not rebuild");
    assert_eq!(expanded(&weights), first);
    let mut other = weights.clone();
    other[3] ^= 0x40;
    assert_ne!(expanded(&other), first);
}

/// A line for the build's log, from the compiler and from what was kept alike.
#[test]
fn the_log_says_what_a_model_takes() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Cache(Some(folder.path().join("kept")));
    let root = secateur_tests::repository().join("compiler/models/watch_cnn1d");
    let note = |chip: &str| {
        let arguments = format!("\"model.onnx\", calibrate = \"calib.npy\"{chip}").parse().unwrap();
        expand::expand(arguments, "pub struct Watch;".parse().unwrap(), &root, &kept).unwrap().note
    };
    let chip = note(", target = \"nrf52840\"");
    assert!(chip.starts_with("watch: 6.3 of 256 KiB RAM, 3.1 % of flash, 1"), "{chip}");
    assert!(chip.contains(" ms, ") && chip.ends_with(" uJ"), "{chip}");
    assert_eq!(note(", target = \"nrf52840\""), chip);
    let host = note("");
    assert!(host.starts_with("watch: ") && host.ends_with(" KiB flash"), "{host}");
}
