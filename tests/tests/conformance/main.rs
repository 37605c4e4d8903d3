//! The ONNX conformance suite, run through the float meaning, the evaluator, C and Rust.
//!
//! In: the cases that `tests/conformance/cases.py` wrote (`SECATEUR_CONFORMANCE`, else
//! `target/conformance/cases`) and `tests/conformance/ledger.toml`. Law: the ledger names exactly
//! the cases that do not pass, each with one reason out of a closed list; a listed case that
//! starts passing fails the run, as does an unlisted one that fails.

mod cases;
mod compiled;
mod ledger;

use cases::Case;
use compiled::Compiled;
use ledger::Ledger;
use secateur_compiler::graph::run;
use secateur_compiler::options::Language;
use std::collections::BTreeMap;

/// At least so many cases must pass.
const LEAST: usize = 1300;

/// Compares verdicts with the ledger; fails on every surprise, all of them listed.
fn judge(engine: &str, cases: &[Case], verdicts: Vec<Result<(), String>>) {
    if cases.is_empty() {
        return; // said to be skipped by `cases::all`
    }
    let ledger = Ledger::read();
    let mut wrong = ledger.stale(cases);
    let mut passed = [0, 0];
    for (case, verdict) in cases.iter().zip(verdicts) {
        match (verdict, ledger.excuses(case, engine != "float")) {
            (Ok(()), false) => passed[usize::from(case.listed)] += 1,
            (Ok(()), true) => wrong.push(format!("{}: passes, but stands in the ledger", case.name)),
            (Err(_), true) => {}
            (Err(e), false) => wrong.push(format!("{}: {e}", case.name)),
        }
    }
    let listed = cases.iter().filter(|c| c.listed).count();
    println!("{engine}: {} of {listed} cases of supported operators pass, {} others", passed[1], passed[0]);
    assert!(wrong.is_empty(), "{engine}: {} surprises:\n{}", wrong.len(), wrong.join("\n"));
    let all = passed[0] + passed[1];
    assert!(all >= LEAST, "{all} cases");
}

#[test]
fn float_meaning() {
    let cases = cases::all();
    let float = |case: &Case| {
        let graph =
            secateur_compiler::onnx::import(&case.model(), &BTreeMap::new()).map_err(|e| e.to_string())?;
        case.compare(&run(&graph, &case.inputs()?).map_err(|e| e.to_string())?)
    };
    let verdicts = cases.iter().map(float).collect();
    judge("float", &cases, verdicts);
}

#[test]
fn evaluator() {
    let cases = cases::all();
    let verdicts = compiled::all(&cases)
        .iter()
        .map(|c| c.as_ref().map_err(Clone::clone).and_then(Compiled::check))
        .collect();
    judge("evaluator", &cases, verdicts);
}

#[test]
fn emitted_c() {
    let cases = cases::all();
    judge("C", &cases, compiled::native(Language::C, &compiled::all(&cases)));
}

#[test]
fn emitted_rust() {
    let cases = cases::all();
    judge("Rust", &cases, compiled::native(Language::Rust, &compiled::all(&cases)));
}
