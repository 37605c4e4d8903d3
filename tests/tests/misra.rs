//! MISRA C:2012 on emitted C: every finding of cppcheck's checker has its line, with a reason, in the
//! table of `docs/misra.md`.

use secateur_compiler::artifact::compile;
use secateur_compiler::observe::Silent;
use secateur_compiler::options::Quantize;
use secateur_compiler::tensor::Samples;
use secateur_compiler::{Options, targets};
use secateur_tests::{host, npy, repository, seeds, tools};
use std::collections::{BTreeMap, BTreeSet};

/// Rules of the published table.
fn table() -> BTreeSet<String> {
    let page = std::fs::read_to_string(repository().join("docs/misra.md")).unwrap();
    let rows: Vec<Vec<String>> = page
        .lines()
        .filter(|l| l.starts_with("| ") && l[2..].starts_with(|c: char| c.is_ascii_digit()))
        .map(|l| l.trim_matches('|').split(" | ").map(|c| c.trim().to_string()).collect())
        .collect();
    for row in &rows {
        assert!(row.len() == 3 && ["required", "advisory"].contains(&row[1].as_str()), "{row:?}");
        assert!(row[2].len() > 30, "rule {} has no reason", row[0]);
    }
    rows.into_iter().map(|r| r[0].clone()).collect()
}

#[test]
fn findings_stand_in_the_table() {
    if tools::find("cppcheck").is_none() {
        eprintln!("skipped: no cppcheck");
        return;
    }
    let known = table();
    let bundled = repository().join("compiler/models/watch_cnn1d");
    let watch = std::fs::read(bundled.join("model.onnx")).unwrap();
    let mut samples = Samples::default();
    samples.arrays.insert(String::new(), npy(&bundled.join("calib.npy")));
    let models = [
        ("watch", watch.clone(), Quantize::Int8, "nrf52840"),
        ("floats", watch, Quantize::None, "host"),
        ("network", seeds::network().bytes(), Quantize::None, "host"),
        ("dense", seeds::quantized(0.1).bytes(), Quantize::Int8, "cortex-m3"),
    ];
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for (name, model, quantize, target) in models {
        let options = Options { name: name.into(), quantize, ..Options::default() };
        let target = targets::find(target).unwrap();
        let artifact = compile(&model, &target, Some(&samples), &options, &mut Silent).unwrap();
        let dir = tempfile::tempdir().unwrap();
        host::write(dir.path(), &artifact.files);
        // The C that stands for every processor, as GCC compiles it.
        let out = tools::command("cppcheck")
            .current_dir(dir.path())
            .args(["--addon=misra", "--std=c99", "--quiet", "--suppress=missingIncludeSystem"])
            .args(["-DSECATEUR_PORTABLE=1", "-D__GNUC__=12", "-U__clang__", "-U__CC_ARM", "-U__cplusplus"])
            .args(["-U__ICCARM__", "-U__ICCRISCV__", "-U_MSC_VER", "-U__FAST_MATH__"])
            .args(["--template={id} {file}:{line}", &format!("{name}.c")])
            .output()
            .unwrap();
        assert!(out.status.success());
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(
            text.contains("misra-c2012-12.1 ") || text.contains("misra-c2012-11.5 "),
            "the checker ran: {text}"
        );
        for line in text.lines() {
            let (id, place) = line.split_once(' ').unwrap_or((line, ""));
            let rule = id.strip_prefix("misra-c2012-").unwrap_or_else(|| panic!("{name}: {line}"));
            found.entry(rule.to_string()).or_insert_with(|| place.to_string());
        }
    }
    let outside: Vec<_> = found.iter().filter(|(rule, _)| !known.contains(*rule)).collect();
    assert!(outside.is_empty(), "findings outside of the table: {outside:?}");
    let idle: Vec<_> = known.iter().filter(|rule| !found.contains_key(*rule)).collect();
    assert!(idle.is_empty(), "rules of the table that nothing breaks: {idle:?}");
}
