//! Samples and labels as people have them: tables, folders, arrays of other names, labels in words. Whatever the format,
//! `eval` measures the same.

use secateur_compiler::npy;
use secateur_compiler::tensor::Tensor;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Output};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d");
/// Samples that are measured.
const COUNT: usize = 40;

fn secateur(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_secateur")).args(args).output().expect("the binary starts")
}

fn words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace(['│', '╰', '─', '▶', '×'], " ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The first samples of the bundled model's test data, their labels, and how many classes there are.
fn data() -> (Tensor, Vec<usize>, usize) {
    let read = |name: &str| npy::read(&std::fs::read(format!("{FOLDER}/{name}.npy")).unwrap()).unwrap();
    let (x, y) = (read("test_x"), read("test_y"));
    let each = x.len() / x.shape()[0];
    let shape: Vec<usize> = std::iter::once(COUNT).chain(x.shape()[1..].iter().copied()).collect();
    let labels: Vec<usize> = y.to_f64_vec().iter().map(|v| *v as usize).collect();
    let classes = labels.iter().max().unwrap() + 1;
    (Tensor::f32(&shape, x.to_f32_vec()[..COUNT * each].to_vec()), labels[..COUNT].to_vec(), classes)
}

/// What `eval` says of data and labels: the JSON.
fn eval(more: &[&str]) -> serde_json::Value {
    let model = format!("{FOLDER}/model.onnx");
    let calib = format!("{FOLDER}/calib.npy");
    let args = [&["eval", &model, "--calibrate", &calib, "--engine", "eval", "--json"], more].concat();
    let done = secateur(&args);
    assert_eq!(done.status.code(), Some(0), "{more:?}: {}", words(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

fn write(path: &Path, bytes: impl AsRef<[u8]>) -> String {
    std::fs::write(path, bytes).unwrap();
    path.display().to_string()
}

#[test]
fn every_format_measures_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (x, y, classes) = data();
    let (each, values) = (x.len() / COUNT, x.to_f32_vec());
    let names: Vec<String> = (0..classes).map(|c| format!("state {}", (c * 5 + 3) % 7)).collect();

    let array = write(&at("x.npy"), npy::write(&x));
    let numbers =
        write(&at("y.npy"), npy::write(&Tensor::i64(&[COUNT], y.iter().map(|&v| v as i64).collect())));
    let want = eval(&["--data", &array, "--labels", &numbers]);
    assert_eq!(want["samples"], COUNT);

    // One table: a header, a row a sample, the label by name in front.
    let mut table = String::from("what");
    (0..each).for_each(|i| write!(table, ",v{i}").unwrap());
    for (sample, &label) in y.iter().enumerate() {
        write!(table, "\n\"{}\"", names[label]).unwrap();
        values[sample * each..][..each].iter().for_each(|v| write!(table, ",{v}").unwrap());
    }
    let table = write(&at("x.csv"), table);
    let order = names.join(",");
    assert_eq!(eval(&["--data", &table, "--labels-column", "what", "--classes", &order]), want);
    assert_eq!(eval(&["--data", &table, "--labels-column", "1", "--classes", &order]), want);
    // The column stays out of the samples where no labels are asked for, and in commands that have none.
    let agree = ["--metric", "agree"];
    let plain = eval(&[&["--data", &array][..], &agree].concat());
    assert_eq!(eval(&[&["--data", &table, "--labels-column", "what"][..], &agree].concat()), plain);
    let model = format!("{FOLDER}/model.onnx");
    for command in [
        &["run", "--input"][..],
        &["compare", "--data"],
        &["bench", "--target", "cortex-m4", "--emit", "c", "--data"],
    ] {
        let wish = ["--quantize", "none", "--labels-column", "what"];
        let done = secateur(&[&[command[0], &model][..], &command[1..], &[&table], &wish].concat());
        assert_eq!(done.status.code(), Some(0), "{command:?}: {}", words(&done.stderr));
    }
    // Labels in a file of their own: words, numbers, one-hot rows.
    let lines: String = y.iter().map(|&c| format!("{}\n", names[c])).collect();
    let named = write(&at("y.txt"), lines);
    assert_eq!(eval(&["--data", &array, "--labels", &named, "--classes", &order]), want);
    let rows: String = y
        .iter()
        .map(|&c| (0..classes).map(|i| u8::from(i == c).to_string()).collect::<Vec<_>>().join(";") + "\n")
        .collect();
    let one_hot = write(&at("hot.csv"), rows);
    assert_eq!(eval(&["--data", &array, "--labels", &one_hot]), want);
    // A folder of arrays, and one of tables: a sample each.
    for (kind, ending) in [("arrays", "npy"), ("tables", "csv")] {
        std::fs::create_dir(at(kind)).unwrap();
        for sample in 0..COUNT {
            let own = &values[sample * each..][..each];
            let bytes = match ending {
                "npy" => npy::write(&Tensor::f32(&x.shape()[1..], own.to_vec())),
                // Rows of the sample's first axis.
                _ => {
                    let width = x.shape()[2..].iter().product::<usize>().max(1);
                    let row = |r: &[f32]| r.iter().map(f32::to_string).collect::<Vec<_>>().join(",") + "\n";
                    own.chunks(width).map(row).collect::<String>().into_bytes()
                }
            };
            write(&at(kind).join(format!("{sample:03}.{ending}")), bytes);
        }
        let data = at(kind).display().to_string();
        assert_eq!(eval(&["--data", &data, "--labels", &numbers]), want, "{kind}");
    }
}

#[test]
fn data_that_do_not_fit_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let model = format!("{FOLDER}/model.onnx");
    let refused = |code: i32, data: &str, more: &[&str], says: &[&str]| {
        let args =
            [&["eval", &model, "--quantize", "none", "--engine", "eval", "--data", data], more].concat();
        let done = secateur(&args);
        let said = words(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{data} {more:?}: {said}");
        for part in says {
            assert!(said.contains(part), "{data} {more:?}: no `{part}` in: {said}");
        }
    };
    let short = write(&at("short.csv"), "1,2,3\n4,5,6\n");
    refused(1, &short, &[], &["[2, 3]", "does not hold samples of shape"]);
    let word = write(&at("word.csv"), "a,b\n1,two\n");
    refused(1, &word, &[], &["word.csv", "line 2, column 2 (`b`): `two` is no number", "--labels-column"]);
    let json = write(&at("x.json"), "[1, 2]");
    refused(1, &json, &[], &["x.json", "is not a NumPy .npy array", "`.csv`"]);
    let array = format!("{FOLDER}/test_x.npy");
    refused(2, &array, &["--labels-column", "what"], &["option `labels-column`", "is no table"]);
}
