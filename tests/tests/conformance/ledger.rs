//! The ledger: cases that do not pass, and the closed list of reasons.

use crate::cases::Case;
use secateur_tests::repository;
use std::collections::{BTreeMap, BTreeSet};

/// Why a case may stand in the ledger, and nothing else.
const REASONS: [(&str, &str); 12] = [
    ("narrow-type", "elements of less than a byte, or floats of one byte"),
    ("not-dense", "sequences, optionals and strings"),
    ("old-set", "operator sets before 7"),
    ("reference-noise", "the expected value is what rounding left over in the reference"),
    ("training", "the operator's training form"),
    ("half-rounding", "half precision is held as f32, so a cast to it rounds nothing"),
    ("dynamic-shape", "the shape of the result depends on what the inputs hold"),
    ("string", "text"),
    ("random", "results are drawn"),
    ("image", "decoding of image files"),
    ("preview", "operators of preview domains"),
    ("missing", "not written yet"),
];

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ledger {
    /// Operators that are not supported at run time, and why: every case that uses one is refused.
    operators: BTreeMap<String, String>,
    /// But for these cases, which use them on what is known at compile time alone, and pass.
    folded: Vec<String>,
    /// Other cases that no engine passes, and why.
    cases: BTreeMap<String, String>,
    /// Cases that pass in float, but not compiled, and why.
    compiled: BTreeMap<String, String>,
}

impl Ledger {
    /// Reads the ledger; refuses reasons that are not in the list.
    pub(crate) fn read() -> Ledger {
        let path = repository().join("tests/conformance/ledger.toml");
        let text = std::fs::read_to_string(&path).expect("the ledger is in the repository");
        let ledger: Ledger = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for (case, reason) in ledger.cases.iter().chain(&ledger.compiled).chain(&ledger.operators) {
            assert!(REASONS.iter().any(|(r, _)| r == reason), "{case}: `{reason}` is not a reason");
        }
        ledger
    }

    /// Whether a case is expected not to pass.
    pub(crate) fn excuses(&self, case: &Case, compiled: bool) -> bool {
        let refused = case.operators.iter().any(|o| self.operators.contains_key(o));
        refused && !self.folded.contains(&case.name)
            || self.cases.contains_key(&case.name)
            || (compiled && self.compiled.contains_key(&case.name))
    }

    /// Entries that name nothing: a ledger of what is not there hides what it was written for.
    pub(crate) fn stale(&self, cases: &[Case]) -> Vec<String> {
        let names: BTreeSet<&str> = cases.iter().map(|c| c.name.as_str()).collect();
        let used: BTreeSet<&str> =
            cases.iter().flat_map(|c| c.operators.iter().map(String::as_str)).collect();
        let listed = self.cases.keys().chain(self.compiled.keys()).chain(&self.folded);
        let unknown = listed.filter(|c| !names.contains(c.as_str()));
        let unused = self.operators.keys().filter(|o| !used.contains(o.as_str()));
        unknown
            .chain(unused)
            .map(|n| format!("{n}: stands in the ledger, but is no case or operator"))
            .collect()
    }
}
