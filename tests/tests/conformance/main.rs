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
use secateur_tests::full;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// At least so many cases must pass.
const LEAST: usize = 1500;

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

/// All cases, and what they compile to, once for all tests.
static CASES: LazyLock<Vec<Case>> = LazyLock::new(cases::all);
static COMPILED: LazyLock<Vec<Result<Compiled<'static>, String>>> = LazyLock::new(|| compiled::all(&CASES));

#[test]
fn float_meaning() {
    let float = |case: &Case| {
        let graph =
            secateur_compiler::onnx::import(&case.model(), &BTreeMap::new()).map_err(|e| e.to_string())?;
        case.compare(&run(&graph, &case.inputs()?).map_err(|e| e.to_string())?)
    };
    judge("float", &CASES, CASES.iter().map(float).collect());
}

#[test]
fn evaluator() {
    let verdict =
        |c: &Result<Compiled<'_>, String>| c.as_ref().map_err(Clone::clone).and_then(Compiled::check);
    judge("evaluator", &CASES, COMPILED.iter().map(verdict).collect());
}

#[test]
fn emitted_c() {
    judge("C", &CASES, compiled::native(Language::C, 1, &COMPILED));
}

/// What is built takes three times as long as in C: one case of four, all with `--full`.
#[test]
fn emitted_rust() {
    let step = if full() { 1 } else { 4 };
    println!("Rust: one case of {step} is built; the others count as the evaluator has them");
    judge("Rust", &CASES, compiled::native(Language::Rust, step, &COMPILED));
}
