//! The binary and the files it is given: models in other formats, models in two files, refused
//! models, labels, and the types of the outputs that it writes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d/model.onnx");
const TEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d/test_x.npy");

fn secateur(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_secateur")).args(args).output().expect("the binary starts")
}

/// Words matter, line ends and frames do not.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .replace(['│', '╰', '─', '▶'], " ")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// What a refusal with exit code 1 says.
#[track_caller]
fn refused(args: &[&str], words: &[&str]) -> String {
    let out = secateur(args);
    let said = text(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{args:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{args:?}: no `{word}` in: {said}");
    }
    said
}

fn field(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/field").join(name)
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("a path of ours is text")
}

#[test]
fn files_of_other_formats_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m");
    for (bytes, words) in [
        (&b"\x1c\0\0\0TFL3\x14\0"[..], ["TensorFlow Lite", "tf2onnx.convert --tflite"]),
        (b"PK\x03\x04\x14\0archive/data.pkl\0\0", ["PyTorch", "torch.onnx.export"]),
        (b"\x89HDF\r\n\x1a\n\0", ["Keras", "--keras"]),
        (b"version https://git-lfs.github.com/spec/v1\n", ["Git LFS", "git lfs pull"]),
        (b"<!doctype html>", ["web page", "raw file"]),
    ] {
        std::fs::write(&path, bytes).unwrap();
        refused(&["inspect", shown(&path)], &words);
        refused(&["compile", shown(&path), "-o", shown(folder.path())], &words);
    }
    std::fs::create_dir(folder.path().join("saved")).unwrap();
    let saved = folder.path().join("saved");
    refused(&["inspect", shown(&saved)], &["is a folder"]);
    std::fs::write(saved.join("saved_model.pb"), b"\x08\x01").unwrap();
    refused(&["inspect", shown(&saved)], &["SavedModel", "--saved-model"]);
}

#[test]
fn data_in_a_second_file_are_read_from_the_folder_only() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("in");
    std::fs::create_dir(&inside).unwrap();
    let (model, data) = (inside.join("m.onnx"), inside.join("external_weights.onnx.data"));
    std::fs::copy(field("external_weights.onnx"), &model).unwrap();
    refused(&["inspect", shown(&model)], &["external_weights.onnx.data", "one file"]);
    std::fs::copy(field("external_weights.onnx.data"), &data).unwrap();
    let out = secateur(&["inspect", shown(&model)]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    // The digest covers the second file.
    let digest = || {
        let out = folder.path().join("out");
        let args = ["compile", shown(&model), "--quantize", "none", "--json", "-o", shown(&out)];
        let done = secateur(&args);
        assert!(done.status.success(), "{}", text(&done.stderr));
        let value: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        value["digest"].as_str().unwrap().to_string()
    };
    let first = digest();
    let mut bytes = std::fs::read(&data).unwrap();
    bytes[3] ^= 1;
    std::fs::write(&data, &bytes).unwrap();
    assert_ne!(digest(), first);
    std::fs::write(&data, &bytes[..100]).unwrap();
    refused(&["inspect", shown(&model)], &["tensor `w`", "truncated"]);
    std::fs::remove_file(&data).unwrap();
    #[cfg(unix)]
    {
        let outside = folder.path().join("outside");
        std::fs::write(&outside, &bytes).unwrap();
        std::os::unix::fs::symlink(&outside, &data).unwrap();
        refused(&["inspect", shown(&model)], &["external_weights.onnx.data", "out of the model's folder"]);
        std::fs::remove_file(&data).unwrap();
    }
    std::fs::create_dir(&data).unwrap();
    refused(&["inspect", shown(&model)], &["external_weights.onnx.data", "no plain file"]);
}

#[test]
fn inspect_and_compile_refuse_alike() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["int4", "integers or floats"];
    let (model, calibration) = (field("q_int4_output.onnx"), field("q_int4_output.x.npz"));
    let inspected = refused(&["inspect", shown(&model)], &words);
    let args = ["compile", shown(&model), "--calibrate", shown(&calibration), "-o", shown(folder.path())];
    assert_eq!(inspected, refused(&args, &words));
}

/// An `.npy` file of some type.
fn npy(path: &Path, descr: &str, shape: &str, data: &[u8]) -> PathBuf {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}\n");
    let mut bytes = b"\x93NUMPY\x01\0".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(data);
    std::fs::write(path, bytes).unwrap();
    path.to_path_buf()
}

#[test]
fn labels_that_could_be_misread_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    // The test data hold so many samples; classes are 0 to 6.
    let samples = {
        let bytes = std::fs::read(TEST).unwrap();
        let header = String::from_utf8_lossy(&bytes[..128]).into_owned();
        let shape = header.split("'shape': (").nth(1).unwrap();
        shape.split(',').next().unwrap().parse::<usize>().unwrap()
    };
    let y = folder.path().join("y.npy");
    let bytes = |f: &dyn Fn(usize) -> u8, n: usize| -> Vec<u8> { (0..n).map(f).collect() };
    let eval = |more: &[&str]| {
        let mut args = vec!["eval", MODEL, "--data", TEST, "--labels", shown(&y), "--engine", "float"];
        args.extend(more);
        secateur(&args)
    };
    let says = |word: &str| {
        let out = eval(&[]);
        let said = text(&out.stderr);
        assert!(out.status.code() == Some(1) && said.contains(word), "no `{word}` in {said}");
    };
    npy(&y, "|u1", &format!("{samples},"), &bytes(&|i| (i % 7) as u8 + 1, samples));
    says("count from 1");
    npy(&y, "|u1", &format!("{samples},"), &bytes(&|i| (i % 9) as u8, samples));
    says("from 0 to 8");
    npy(&y, "|b1", &format!("{samples},"), &bytes(&|i| (i % 2) as u8, samples));
    says("bools");
    npy(&y, "|u1", &format!("{},", samples + 1), &bytes(&|_| 0, samples + 1));
    says(&format!("for {samples} samples"));
    // One-hot rows are class numbers; with `--limit` there may be more labels than samples.
    npy(&y, "|u1", &format!("{samples}, 7"), &bytes(&|i| u8::from(i % 7 == i / 7 % 7), samples * 7));
    let top1 = |out: Output| {
        assert!(out.status.success(), "{}", text(&out.stderr));
        serde_json::from_slice::<serde_json::Value>(&out.stdout).unwrap()["float"].as_f64().unwrap()
    };
    let limited = ["--limit", "35", "--json"];
    let one_hot = top1(eval(&limited));
    npy(&y, "|u1", &format!("{samples},"), &bytes(&|i| (i % 7) as u8, samples));
    assert_eq!(top1(eval(&limited)), one_hot);
    let out = eval(&["--metric", "agree"]);
    assert!(out.status.code() == Some(2), "{}", text(&out.stderr));
}

#[test]
fn outputs_have_the_same_type_by_every_engine() {
    let folder = tempfile::tempdir().unwrap();
    // Integers in, integers out.
    let (model, input) = (field("q_int8_io.onnx"), field("q_int8_io.x.npz"));
    let run = |engine: &str| {
        let path = folder.path().join(format!("{engine}.npz"));
        let args =
            ["run", shown(&model), "--input", shown(&input), "--engine", engine, "--output", shown(&path)];
        let out = secateur(&args);
        assert!(out.status.success(), "{}", text(&out.stderr));
        let out = secateur(&["run", shown(&model), "--input", shown(&input), "--engine", engine]);
        text(&out.stdout)
    };
    assert!(run("float").starts_with("y: i8 6×6×6×6"), "{}", run("float"));
    assert!(run("eval").starts_with("y: i8 6×6×6×6"), "{}", run("eval"));
}
