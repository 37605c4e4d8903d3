//! The ONNX conformance suite, run through the float meaning.
//!
//! In: the cases that `tests/conformance/cases.py` wrote (`SECATEUR_CONFORMANCE`, else
//! `target/conformance/cases`) and `tests/conformance/ledger.toml`. Law: the ledger names exactly
//! the cases that do not pass, each with one reason out of a closed list; a listed case that
//! starts passing fails the run, as does an unlisted one that fails.

use secateur_compiler::ops::run;
use secateur_compiler::tensor::{DType, Tensor};
use secateur_tests::{npy, repository};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

#[derive(Debug)]
struct Case {
    name: String,
    folder: PathBuf,
    operators: Vec<String>,
    /// Uses operators that Secateur supports on purpose, and no others.
    listed: bool,
    /// Inputs and outputs are of types that files can hold.
    data: bool,
    rtol: f64,
    atol: f64,
    inputs: usize,
    outputs: usize,
}

fn cases(folder: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(folder.join("cases.json")).expect("cases.json");
    let json: Value = serde_json::from_str(&text).expect("cases.json is JSON");
    let case = |c: &Value| {
        let name = c["name"].as_str().expect("a name").to_string();
        Case {
            folder: folder.join(&name),
            name,
            operators: c["operators"]
                .as_array()
                .expect("operators")
                .iter()
                .filter_map(|o| Some(o.as_str()?.to_string()))
                .collect(),
            listed: c["listed"] == true,
            data: c["data"] == true,
            rtol: c["rtol"].as_f64().unwrap_or(0.0),
            atol: c["atol"].as_f64().unwrap_or(0.0),
            inputs: c["inputs"].as_u64().unwrap_or(0) as usize,
            outputs: c["outputs"].as_u64().unwrap_or(0) as usize,
        }
    };
    json["cases"].as_array().expect("cases").iter().map(case).collect()
}

impl Case {
    fn tensors(&self, kind: &str, count: usize) -> Vec<Tensor> {
        (0..count).map(|i| npy(&self.folder.join(format!("{kind}_{i}.npy")))).collect()
    }
    /// Whether results are the expected ones: floats within the suite's own tolerance.
    fn compare(&self, results: &[Tensor]) -> Result<(), String> {
        let expected = self.tensors("out", self.outputs);
        if results.len() != expected.len() {
            return Err(format!("{} outputs instead of {}", results.len(), expected.len()));
        }
        for (i, (a, b)) in results.iter().zip(&expected).enumerate() {
            if a.shape() != b.shape() || a.dtype() != b.dtype() {
                return Err(format!(
                    "output {i} is {}{:?} instead of {}{:?}",
                    a.dtype(),
                    a.shape(),
                    b.dtype(),
                    b.shape()
                ));
            }
            if a.dtype() != DType::F32 {
                if a != b {
                    return Err(format!("output {i} is {:?} instead of {:?}", a.data(), b.data()));
                }
                continue;
            }
            for (x, y) in a.to_f64_vec().into_iter().zip(b.to_f64_vec()) {
                let same =
                    x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= self.atol + self.rtol * y.abs();
                if !same {
                    return Err(format!("output {i} holds {x} instead of {y}"));
                }
            }
        }
        Ok(())
    }
    /// Import and float meaning.
    fn float(&self) -> Result<(), String> {
        let bytes = std::fs::read(self.folder.join("model.onnx")).expect("model.onnx");
        let graph = secateur_compiler::onnx::import(&bytes, &BTreeMap::new()).map_err(|e| e.to_string())?;
        if !self.data {
            return Err("imports, but its data are of types that files do not hold".into());
        }
        let results = run(&graph, &self.tensors("in", self.inputs)).map_err(|e| e.to_string())?;
        self.compare(&results)
    }
}

/// Why a case may stand in the ledger, and nothing else.
const REASONS: [(&str, &str); 7] = [
    ("narrow-type", "elements of less than a byte, or floats of one byte"),
    ("not-dense", "sequences, optionals and strings"),
    ("three-axes", "windows over three spatial axes"),
    ("max-indices", "the second output of MaxPool"),
    ("training", "the operator's training form"),
    ("block-scales", "quantization with a scale per block"),
    ("half-rounding", "half precision is held as f32, so a cast to it rounds nothing"),
];

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Ledger {
    /// Operators that are not supported: every case that uses one is refused.
    operators: Vec<String>,
    /// Other cases that do not pass, and why.
    cases: BTreeMap<String, String>,
}

impl Ledger {
    fn read() -> Ledger {
        let path = repository().join("tests/conformance/ledger.toml");
        let text = std::fs::read_to_string(&path).expect("the ledger is in the repository");
        let ledger: Ledger = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for (case, reason) in &ledger.cases {
            assert!(REASONS.iter().any(|(r, _)| r == reason), "{case}: `{reason}` is not a reason");
        }
        ledger
    }
}

#[test]
fn float_meaning() {
    let folder = std::env::var_os("SECATEUR_CONFORMANCE")
        .map_or_else(|| repository().join("target/conformance/cases"), PathBuf::from);
    if !folder.is_dir() {
        eprintln!("skipped: no cases at {}; tests/conformance/run writes them", folder.display());
        return;
    }
    let (cases, ledger) = (cases(&folder), Ledger::read());
    let mut wrong = Vec::new();
    let mut passed = [0, 0];
    for case in &cases {
        let refused = case.operators.iter().any(|o| ledger.operators.contains(o));
        let excused = refused || ledger.cases.contains_key(&case.name);
        match (case.float(), excused) {
            (Ok(()), false) => passed[usize::from(case.listed)] += 1,
            (Ok(()), true) => wrong.push(format!("{}: passes, but stands in the ledger", case.name)),
            (Err(_), true) => {}
            (Err(e), false) => wrong.push(format!("{}: {e}", case.name)),
        }
    }
    // A ledger that names what is not there hides what it was written for.
    let names: BTreeSet<&str> = cases.iter().map(|c| c.name.as_str()).collect();
    let used: BTreeSet<&str> = cases.iter().flat_map(|c| c.operators.iter().map(String::as_str)).collect();
    let unknown = ledger.cases.keys().filter(|c| !names.contains(c.as_str()));
    wrong.extend(unknown.map(|c| format!("{c}: stands in the ledger, but is no case")));
    let unused = ledger.operators.iter().filter(|o| !used.contains(o.as_str()));
    wrong.extend(unused.map(|o| format!("{o}: stands in the ledger, but no case uses it")));

    let listed = cases.iter().filter(|c| c.listed).count();
    println!("float: {} of {listed} cases of listed operators pass, {} others", passed[1], passed[0]);
    assert!(wrong.is_empty(), "{} surprises:\n{}", wrong.len(), wrong.join("\n"));
    assert!(passed[1] >= 230);
}
