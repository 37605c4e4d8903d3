//! Figures against older ones: what a file of `bench --json` says, and what got worse.
//!
//! In: the JSON of a run, and of an older one (or an array of such). Out: a line a figure, and an
//! error where one is more than 1 % worse. Law: only like is compared with like: same model name,
//! target, language and `--optimize`.

use crate::cli::output;
use crate::cli::table::{self, count};
use crate::error::{Error, Fault, Result, Site};
use serde_json::Value;
use std::path::Path;

/// Figures of which more is worse.
const WATCHED: &[&str] = &["cycles", "code", "weights", "arena", "stack"];

/// What may be worse without being a regression, in percent.
const TOLERANCE: f64 = 1.0;

/// One figure of both runs.
#[derive(Debug, Clone, PartialEq)]
struct Change {
    language: String,
    figure: &'static str,
    old: f64,
    new: f64,
}

impl Change {
    fn percent(&self) -> f64 {
        if self.old == 0.0 {
            return if self.new == 0.0 { 0.0 } else { f64::INFINITY };
        }
        (self.new / self.old - 1.0) * 100.0
    }
    fn worse(&self) -> bool {
        // Whole numbers on both sides: exactly one percent is not worse.
        (self.new - self.old) * 100.0 > TOLERANCE * self.old
    }
}

fn broken(path: &Path, why: impl Into<String>) -> Error {
    Error::data(Site::File(path.display().to_string()), why)
        .help("give what `secateur bench --json` wrote, or an array of such")
}

/// The runs of a file, one a language.
fn runs(value: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    for run in value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice) {
        all.push(run.clone());
        if let Some(rust) = run.get("rust") {
            let mut second = run.clone();
            second["language"] = "rust".into();
            second["total"] = rust["total"].clone();
            all.push(second);
        }
    }
    all
}

fn same(a: &Value, b: &Value) -> bool {
    ["model", "target", "language", "optimize"].iter().all(|key| a.get(key) == b.get(key))
}

fn changes(old: &Value, new: &Value, path: &Path) -> Result<Vec<Change>> {
    let old = runs(old);
    let mut all = Vec::new();
    for run in runs(new) {
        let was = old.iter().find(|o| same(o, &run)).ok_or_else(|| {
            let word = |key: &str| run[key].as_str().unwrap_or_default().to_owned();
            broken(
                path,
                format!(
                    "has no run of `{}` on `{}` in {} with `--optimize {}`",
                    word("model"),
                    word("target"),
                    word("language"),
                    word("optimize")
                ),
            )
        })?;
        for &figure in WATCHED {
            // What this machine cannot measure is not compared.
            let Some(new) = run["total"][figure].as_f64() else { continue };
            let old = was["total"][figure]
                .as_f64()
                .ok_or_else(|| broken(path, format!("has no number `total.{figure}`")))?;
            let language = run["language"].as_str().unwrap_or_default().to_owned();
            all.push(Change { language, figure, old, new });
        }
    }
    Ok(all)
}

/// Reads a file of older runs.
pub(super) fn read(path: &Path) -> Result<Value> {
    let bytes = output::read(path)?;
    serde_json::from_slice(&bytes).map_err(|e| broken(path, format!("is not JSON: {e}")))
}

/// Compares with the runs of a file. The text is for people; the error names what got worse.
pub(super) fn compare(path: &Path, old: &Value, new: &Value) -> Result<(String, Option<Error>)> {
    let changes = changes(old, new, path)?;
    let rows = changes
        .iter()
        .map(|c| {
            let percent = format!("{:+.2} %{}", c.percent(), if c.worse() { ", worse" } else { "" });
            vec![c.language.clone(), c.figure.into(), count(c.old as u64), count(c.new as u64), percent]
        })
        .collect();
    let text = table::table(&["language", "figure", "before", "now", "change"], rows, 2);
    let worse: Vec<String> = changes
        .iter()
        .filter(|c| c.worse())
        .map(|c| {
            format!("{} of {} from {} to {} ({:+.2} %)", c.figure, c.language, c.old, c.new, c.percent())
        })
        .collect();
    let error = (!worse.is_empty()).then(|| {
        Error::new(
            Fault::Data,
            Site::File(path.display().to_string()),
            format!("more than {TOLERANCE} % worse than before: {}", worse.join(", ")),
        )
        .help("if it is meant to be so, write the file anew")
    });
    Ok((text, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(cycles: u64, code: u64) -> Value {
        json!({
            "model": "m", "target": "t", "language": "c", "optimize": "balanced",
            "total": { "cycles": cycles, "code": code, "weights": 10, "arena": 20, "stack": 30 },
        })
    }
    fn check(old: &Value, new: &Value) -> Result<(String, Option<Error>)> {
        compare(Path::new("old.json"), old, new)
    }

    #[test]
    fn one_percent_passes_and_more_does_not() {
        assert_eq!(check(&run(1000, 500), &run(1010, 500)).unwrap().1, None);
        let (text, error) = check(&run(1000, 500), &run(1011, 400)).unwrap();
        assert!(text.contains("+1.10 %, worse") && text.contains("-20.00 %"), "{text}");
        let error = error.unwrap();
        assert!(error.message.contains("cycles") && !error.message.contains("code"), "{error}");
    }

    #[test]
    fn each_language_has_its_own_past() {
        let mut both = run(1000, 500);
        both["rust"] = json!({ "total": run(2000, 600)["total"] });
        let mut worse = both.clone();
        worse["rust"]["total"]["cycles"] = json!(2100);
        assert_eq!(check(&both, &both).unwrap().1, None);
        assert!(check(&both, &worse).unwrap().1.unwrap().message.contains("cycles of rust"));
        // A run of C alone is found among many.
        let mut other = run(1, 1);
        other["target"] = json!("u");
        assert_eq!(check(&json!([other, both]), &run(1000, 500)).unwrap().1, None);
    }

    #[test]
    fn what_is_no_baseline_is_refused() {
        let refused = |old: &Value| compare(Path::new("old.json"), old, &run(1, 1)).unwrap_err().message;
        for old in [json!({}), json!([]), json!(7), json!([1, null])] {
            assert!(refused(&old).contains("no run of `m` on `t`"), "{old}");
        }
        let mut cut = run(1, 1);
        cut["total"]["cycles"] = Value::Null;
        assert!(refused(&cut).contains("total.cycles"));
        assert!(read(Path::new("missing.json")).is_err());
    }
}
