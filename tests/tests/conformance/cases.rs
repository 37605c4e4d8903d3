//! The cases as `tests/conformance/cases.py` wrote them.

use secateur_compiler::tensor::{DType, Tensor};
use secateur_tests::npy;
use serde_json::Value;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) operators: Vec<String>,
    /// Uses operators that Secateur supports on purpose, and no others.
    pub(crate) listed: bool,
    /// Inputs and outputs are of types that files can hold.
    data: bool,
    rtol: f64,
    atol: f64,
    inputs: usize,
    outputs: usize,
}

fn read(folder: &Path) -> Vec<Case> {
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
    pub(crate) fn compare(&self, results: &[Tensor]) -> Result<(), String> {
        let expected = self.outputs();
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
    /// The model's bytes.
    pub(crate) fn model(&self) -> Vec<u8> {
        std::fs::read(self.folder.join("model.onnx")).expect("model.onnx")
    }
    /// What the outputs should hold.
    pub(crate) fn outputs(&self) -> Vec<Tensor> {
        self.tensors("out", self.outputs)
    }
    /// What the inputs hold.
    pub(crate) fn inputs(&self) -> Result<Vec<Tensor>, String> {
        if !self.data {
            return Err("its data are of types that files do not hold".into());
        }
        Ok(self.tensors("in", self.inputs))
    }
}

/// All cases of the folder that `SECATEUR_CONFORMANCE` names; none, said on standard error,
/// without it, so that a run of all suites does not pass them twice.
pub(crate) fn all() -> Vec<Case> {
    let Some(folder) = std::env::var_os("SECATEUR_CONFORMANCE").map(PathBuf::from) else {
        eprintln!("skipped: SECATEUR_CONFORMANCE names no folder; tests/conformance/run writes and names it");
        return Vec::new();
    };
    assert!(folder.is_dir(), "no cases at {}", folder.display());
    read(&folder)
}
