//! Every chip that starts a plain image gets a project in which nothing is left to fill in; others are refused.

use super::fill::{fill, left};
use super::*;
use crate::options::Language;

/// The bundled model for a chip.
fn compiled(target: &Target, layout: Layout) -> crate::Artifact {
    let mut job = demo::bundled().unwrap();
    job.target = target.clone();
    job.options.layout = layout;
    job.options.emit = layout.language().into_iter().collect::<Vec<Language>>();
    job.compile_to_measure(&mut crate::Silent).unwrap()
}

fn files(target: &Target, layout: Layout, artifact: &crate::Artifact) -> Vec<(String, String)> {
    let ram = ram(target, artifact.report.total.arena + 4096).unwrap();
    let project = Project { name: "fw".into(), layout, artifact, target, ram, stack: 1000, model: "m.onnx" };
    let text = |(path, bytes): (String, Vec<u8>)| (path, String::from_utf8(bytes).unwrap());
    project.files().unwrap().into_iter().map(text).collect()
}

#[test]
fn every_chip_has_a_project_or_says_why_not() {
    let mut artifacts: Vec<(String, crate::Artifact)> = Vec::new();
    let (mut made, mut refused) = (0, 0);
    for target in secateur_targets::all().unwrap() {
        if let Err(error) = startable(&target) {
            assert!(error.to_string().contains(&target.name) || target.is_host(), "{error}");
            assert!(error.help.is_some(), "{error}");
            refused += 1;
            continue;
        }
        for layout in [Layout::Make, Layout::Cmake, Layout::Cargo] {
            let key = format!("{} {layout:?}", target.core.name);
            if !artifacts.iter().any(|(k, _)| *k == key) {
                artifacts.push((key.clone(), compiled(&target, layout)));
            }
            let artifact = &artifacts.iter().find(|(k, _)| *k == key).unwrap().1;
            let files = files(&target, layout, artifact);
            for (path, text) in
                files.iter().filter(|(path, _)| !path.starts_with("model/") && !path.ends_with(".s"))
            {
                assert_eq!(left(text), None, "{}: {path}", target.name);
            }
            let script = &files.iter().find(|(path, _)| path == "chip.ld").unwrap().1;
            let flash = &target.memory.flash[0];
            assert!(
                script
                    .contains(&format!("ORIGIN = {:#010x}, LENGTH = {:#010x}", flash.start.0, flash.size.0))
            );
        }
        made += 1;
    }
    assert!(made >= 18 && refused > 10, "{made} made, {refused} refused");
}

#[test]
fn words_that_are_left_are_seen() {
    assert_eq!(left("a @b-c@ d"), Some("b-c"));
    assert_eq!(left(&fill("a @b-c@ d", &[("b-c", "x".into())])), None);
    assert_eq!(left("@ a comment\n@ and another\n"), None);
}

#[test]
fn names_are_those_of_packages_and_targets() {
    for good in ["fw", "a/b/My-watch_2", "kws"] {
        assert!(project_name(Path::new(good)).is_ok(), "{good}");
    }
    for (bad, why) in [
        ("a b", "no name for a project"),
        ("1st", "no name for a project"),
        ("..", "no name for a project"),
        ("", "no name for a project"),
        ("run", "a target of every build"),
        ("static", "a word of Rust"),
        ("core", "a crate of every Rust program"),
    ] {
        let said = project_name(Path::new(bad)).unwrap_err().to_string();
        assert!(said.contains(why), "{bad}: {said}");
    }
}

#[test]
fn data_lies_in_the_first_memory_that_is_large_enough() {
    let chip = secateur_targets::find("stm32h7a3").unwrap();
    assert_eq!(ram(&chip, 100 << 10).unwrap().name, "dtcm");
    assert_eq!(ram(&chip, 200 << 10).unwrap().name, "axi-sram");
    let said = ram(&chip, 2 << 20).unwrap_err();
    assert!(said.to_string().contains("dtcm (131072 bytes)") && said.help.is_some(), "{said}");
}

/// RP2040's ROM runs the first 256 bytes only if their CRC is right.
#[test]
fn the_second_stage_has_its_checksum() {
    let text = include_str!("templates/boot_rp2040.s");
    let mut words: Vec<u32> = Vec::new();
    let mut repeated = 0;
    for line in text.lines().map(str::trim).filter(|l| !l.starts_with('@')) {
        if let Some(count) = line.strip_prefix(".rept ") {
            repeated = count.parse().unwrap();
        } else if let Some(list) = line.strip_prefix(".word ") {
            let read = |w: &str| u32::from_str_radix(w.trim().trim_start_matches("0x"), 16).unwrap();
            let times = std::mem::take(&mut repeated).max(1);
            (0..times).for_each(|_| words.extend(list.split(',').map(read)));
        }
    }
    assert_eq!(words.len(), 64);
    let mut crc = u32::MAX;
    for byte in words[..63].iter().flat_map(|w| w.to_le_bytes()) {
        crc ^= u32::from(byte) << 24;
        for _ in 0..8 {
            crc = if crc >> 31 == 1 { (crc << 1) ^ 0x04C1_1DB7 } else { crc << 1 };
        }
    }
    assert_eq!(crc, words[63]);
}
