//! `secateur bench`: its JSON, its refusals, its comparison, and the counter's own arithmetic.
//!
//! Needs what `tests/setup` installs: a C compiler, `arm-none-eabi-gcc`, QEMU.

use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d/model.onnx");
const CALIBRATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d/calib.npy");
const TEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d/test_x.npy");
const PLUGIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/bench/plugin");

fn bench(more: &[&str]) -> Output {
    let args = [&["bench", MODEL, "--calibrate", CALIBRATION], more].concat();
    Command::new(env!("CARGO_BIN_EXE_secateur")).args(args).output().expect("the binary starts")
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .replace(['│', '╰', '×'], " ")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

fn refused(more: &[&str], code: i32, parts: &[&str]) {
    let out = bench(more);
    let said = words(&out.stderr);
    assert_eq!(out.status.code(), Some(code), "{more:?}: {said}");
    parts.iter().for_each(|part| assert!(said.contains(part), "{more:?}: no `{part}` in: {said}"));
    assert!(!said.contains("panicked"), "{said}");
}

fn json(more: &[&str]) -> Value {
    let out = bench(more);
    assert!(out.status.success(), "{}", words(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("the output is JSON")
}

#[test]
fn json_has_what_scripts_rely_on() {
    let value = json(&["--target", "nrf52840", "--data", TEST, "--json", "--mca"]);
    assert_eq!((&value["language"], &value["sample"]), (&"c".into(), &"given".into()));
    let number = |v: &Value, key: &str| v[key].as_f64().unwrap_or_else(|| panic!("no number {key} in {v}"));
    let known = [
        "instructions",
        "cycles",
        "predicted_cycles",
        "macs",
        "live_macs",
        "cycles_per_mac",
        "cycles_per_live_mac",
        "load_bytes",
        "store_bytes",
        "code",
        "weights",
        "arena",
        "stack",
        "milliseconds",
        "microjoules",
    ];
    for total in [&value["total"], &value["rust"]["total"]] {
        known.iter().for_each(|key| assert!(number(total, key) > 0.0, "{key} in {total}"));
        // This core issues one instruction a cycle at most.
        assert!(number(total, "cycles") > number(total, "instructions"));
        assert!(number(total, "live_macs") <= number(total, "macs"));
    }
    let layers = value["layers"].as_array().expect("layers");
    let sum = |key: &str| layers.iter().filter_map(|l| l[key].as_f64()).sum::<f64>();
    // Marks and the calls between layers cost little.
    for key in ["instructions", "cycles", "load_bytes"] {
        let (parts, whole) = (sum(key), number(&value["total"], key));
        assert!((parts / whole - 1.0).abs() < 0.02, "{key}: layers {parts}, total {whole}");
    }
    assert_eq!(sum("macs"), number(&value["total"], "macs"));
    let loops = value["loops"].as_array().expect("loops");
    assert!(
        loops.iter().all(|l| number(l, "cycles_per_turn") > 0.0 && l["turns"].as_u64() > Some(1)),
        "{loops:?}"
    );
}

#[test]
fn what_cannot_be_counted_is_refused() {
    refused(&[], 2, &["no emulator is known", "`host`", "--target"]);
    refused(&["--target", "nrf5284"], 1, &["nrf5284", "nrf52840"]);
    refused(&["--core", "cortex-m99", "--flash", "1M", "--ram", "64K"], 1, &["cortex-m99"]);
    refused(&["--target", "nrf52840", "--emit", "ada"], 2, &["ada"]);
    refused(&["--target", "nrf52840", "--data", "missing.npy"], 1, &["missing.npy"]);
    refused(&["--target", "nrf52840", "--compare", "missing.json"], 1, &["missing.json"]);
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("old.json");
    std::fs::write(&old, "{").unwrap();
    refused(&["--target", "nrf52840", "--compare", old.to_str().unwrap()], 1, &["is not JSON", "old.json"]);
}

#[test]
fn a_run_equals_itself_and_a_worse_one_fails() {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("old.json");
    let path = old.to_str().unwrap();
    let run = ["--target", "nrf52840", "--emit", "c"];
    let mut value = json(&[&run[..], &["--json"]].concat());
    std::fs::write(&old, value.to_string()).unwrap();
    let same = bench(&[&run[..], &["--compare", path]].concat());
    assert!(same.status.success(), "{}", words(&same.stderr));
    assert!(words(&same.stdout).contains("+0.00 %"), "{}", words(&same.stdout));
    let code = value["total"]["code"].as_u64().unwrap();
    value["total"]["code"] = (code * 98 / 100).into();
    std::fs::write(&old, value.to_string()).unwrap();
    refused(&[&run[..], &["--compare", path]].concat(), 1, &["code of c", "more than 1 % worse"]);
}

#[test]
fn an_emulator_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    // Compilers stay, the emulator does not.
    let path = std::env::var_os("PATH").unwrap();
    let tools = ["arm-none-eabi-gcc", "cc", "as", "ld"];
    for tool in tools {
        let found = std::env::split_paths(&path).map(|f| f.join(tool)).find(|f| f.is_file());
        if let Some(found) = found {
            std::os::unix::fs::symlink(found, folder.path().join(tool)).unwrap();
        }
    }
    let out = Command::new(env!("CARGO_BIN_EXE_secateur"))
        .args(["bench", MODEL, "--calibrate", CALIBRATION, "--target", "nrf52840", "--emit", "c"])
        .env("PATH", folder.path())
        .output()
        .expect("the binary starts");
    let said = words(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("qemu-system-arm") && said.contains("apt-get install"), "{said}");
}

#[test]
fn the_emitted_code_holds_no_marks() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let args =
        ["compile", MODEL, "--calibrate", CALIBRATION, "--target", "nrf52840", "--emit", "c,rust", "-o", out];
    let done = Command::new(env!("CARGO_BIN_EXE_secateur")).args(args).output().expect("the binary starts");
    assert!(done.status.success(), "{}", words(&done.stderr));
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains("secateur_layer"));
    }
}

/// Prints the cycles of code read as hexadecimal half-words: strict, then without the latency of
/// vector results; of the third pass where the code is a loop's turn.
const DRIVER: &str = r#"
#include "timing.h"
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
    static struct instruction code[4096];
    const struct core *core = core_named(argv[1]);
    int count = 0;
    unsigned first, second;
    (void)argc;
    while (scanf("%x", &first) == 1) {
        struct instruction *i = &code[count++];
        i->size = first >= 0xE800 ? 4 : 2;
        if (i->size == 4) {
            if (scanf("%x", &second) != 1) return 2;
            decode_wide(first << 16 | second, i);
        } else {
            decode_narrow(first, i);
        }
        if (!i->name || i->kind == UNKNOWN) return 3;
    }
    const int passes = atoi(argv[2]);
    printf("%d %d\n", straight_cycles(core, code, count, passes, 1), straight_cycles(core, code, count, passes, 0));
    return 0;
}
"#;

/// Builds the driver around the counter's decoder and issue models.
fn driver(folder: &Path) -> std::path::PathBuf {
    let (source, program) = (folder.join("driver.c"), folder.join("driver"));
    std::fs::write(&source, DRIVER).unwrap();
    let files = ["timing.c", "decode_narrow.c", "decode_wide.c", "decode_float.c", "decode_vector.c"];
    let built = Command::new("cc")
        .args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-I", PLUGIN, "-o"])
        .arg(&program)
        .arg(&source)
        .args(files.map(|f| Path::new(PLUGIN).join(f)))
        .output()
        .expect("cc starts");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    program
}

#[test]
fn cycles_are_those_of_the_manuals_and_of_llvms_schedule() {
    let folder = tempfile::tempdir().unwrap();
    let driver = driver(folder.path());
    let cycles = |core: &str, passes: u32, code: &str| -> (u32, u32) {
        let mut child = Command::new(&driver)
            .args([core, &passes.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the driver starts");
        child.stdin.take().unwrap().write_all(code.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{core}: {code}");
        let text = String::from_utf8(out.stdout).unwrap();
        let (a, b) = text.trim().split_once(' ').unwrap();
        (a.parse().unwrap(), b.parse().unwrap())
    };
    let (adds, load, load2, load3) = ("3001 ", "6818 ", "6859 ", "689a "); // adds r0, #1; ldr r0/r1/r2, [r3, #]
    let smlad = "fb21 0002 "; // smlad r0, r1, r2, r0
    // Cortex-M4 TRM: loads follow each other without a gap, a load takes two cycles on its own.
    assert_eq!(cycles("m4", 1, &adds.repeat(100)), (100, 100));
    assert_eq!(cycles("m4", 1, &format!("{load}{adds}").repeat(100)), (300, 300));
    assert_eq!(cycles("m4", 1, &format!("{load}{load2}{load3}{adds}").repeat(25)), (125, 125));
    assert_eq!(cycles("m4", 1, &smlad.repeat(100)), (100, 100));
    assert_eq!(cycles("m4", 1, &"cb07 ".repeat(10)), (40, 40)); // ldmia r3!, {r0-r2}
    assert_eq!(cycles("m4", 1, &"eee0 0a81 ".repeat(10)), (30, 30)); // vfma.f32 s1, s1, s2
    // Cortex-M0+ TRM: 2 for any load or store, 1 + N for several.
    assert_eq!(cycles("m0plus", 1, &format!("{load}{load2}{load3}")), (6, 6));
    assert_eq!(cycles("m3", 1, &"fb01 0002 ".repeat(10)), (20, 20)); // mla r0, r1, r2, r0
    // M7 issues two: a load beside an addition that does not need it.
    assert_eq!(cycles("m7", 1, &format!("{load}3401 ").repeat(10)), (10, 10)); // ldr r0; adds r4, #1
    // M55: each as llvm-mca-19 -mcpu=cortex-m55 says of a turn.
    let (vmul, vadd, vld, mac) = ("ef22 0952 ", "ef20 0840 ", "ed93 3e00 ", "eef0 4f24 ");
    let turn = |code: &str| cycles("m55", 3, code);
    assert_eq!(turn(vmul), (2, 2)); // vmul.i32 q0, q1, q1: two beats
    assert_eq!(turn(&format!("{vld}{mac}")), (2, 2)); // two pipes side by side
    assert_eq!(turn(&format!("{vmul}{vadd}")), (3, 2)); // the sum waits for its product
    // A load writes its result behind that of the narrowing before it, which takes three.
    assert_eq!(turn("ee37 0e03 ed90 5e00 "), (3, 2));
    assert_eq!(turn(mac), (2, 3)); // sums of products follow each other in the multiplier
}
