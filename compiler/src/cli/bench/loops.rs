//! The innermost loops that an inference spent its time in, and what `llvm-mca` says of each.
//!
//! In: a [`Profile`], the image. Out: a row a loop: where, how often, cycles a turn by the counter
//! and by LLVM's schedule of the core. Law: loops are found by running, not by reading: a jump back
//! over code that ran as often as the jump.

use super::counter::{Block, Profile};
use crate::cli::toolchain::{Elf, tools};
use crate::error::Result;
use secateur_targets::{Core, Toolchain};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Loops below this share of all cycles are left out.
const SHARE: f64 = 0.005;

/// An innermost loop.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Loop {
    pub(super) function: String,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) turns: u64,
    pub(super) instructions: u64,
    /// Of all turns, with branches.
    pub(super) cycles: u64,
    /// Of a turn on average, without its branch.
    pub(super) turn: f64,
    /// Cycles of a turn as `llvm-mca` schedules it; `None` where it could not.
    pub(super) mca: Option<f64>,
    /// The loop's text, as the disassembler prints it.
    pub(super) text: Vec<String>,
}

/// How far the counter may be from LLVM's schedule.
const NEAR: f64 = 0.10;

impl Loop {
    /// How many times LLVM's cycles the counter has, less one.
    pub(super) fn off(&self) -> Option<f64> {
        self.mca.filter(|&m| m > 0.0).map(|m| self.turn / m - 1.0)
    }
    fn near(&self) -> bool {
        self.off().is_some_and(|off| off.abs() <= NEAR)
    }
    /// Whether it loads or stores lanes each at an address of its own: the counter charges a cycle
    /// for each, LLVM's schedule nothing.
    fn scatters(&self) -> bool {
        self.text.iter().any(|line| {
            let Some((name, operands)) = line.split_once(char::is_whitespace) else { return false };
            let address = operands.split_once('[').map(|(_, a)| a);
            (name.starts_with("vldr") || name.starts_with("vstr")) && address.is_some_and(|a| a.contains('q'))
        })
    }
}

/// What `llvm-mca` says of all loops together; `None` where it was not asked.
pub(super) fn verdict(loops: &[Loop]) -> Option<String> {
    let asked: Vec<&Loop> = loops.iter().filter(|l| l.mca.is_some()).collect();
    if asked.is_empty() {
        return None;
    }
    let percent = NEAR * 100.0;
    let (near, far): (Vec<&Loop>, Vec<&Loop>) = asked.iter().partition(|l| l.near());
    let mut said = format!("{} of {} loops are within {percent:.0} % of llvm-mca", near.len(), asked.len());
    let mut name = |what: &str, which: Vec<&&Loop>| {
        if !which.is_empty() {
            let each = |l: &&&Loop| format!("{} ({:+.0} %)", l.function, l.off().unwrap_or(0.0) * 100.0);
            said += &format!("; {what}: {}", which.iter().map(each).collect::<Vec<_>>().join(", "));
        }
    };
    let (above, below): (Vec<&Loop>, Vec<&Loop>) =
        far.into_iter().partition(|l| l.off().is_some_and(|o| o > 0.0));
    let (lanes, above): (Vec<&Loop>, Vec<&Loop>) = above.into_iter().partition(|l| l.scatters());
    name("the counter charges every lane of a gather", lanes.iter().collect());
    name("the counter is dearer", above.iter().collect());
    name("the counter is cheaper", below.iter().collect());
    Some(said)
}

/// The dearest loops of a run.
pub(super) fn loops(profile: &Profile, elf: &Elf) -> Vec<Loop> {
    let all = profile.total().cycles as f64;
    let mut blocks = profile.blocks.clone();
    blocks.sort_by_key(|b| b.start);
    let mut found: Vec<Loop> = Vec::new();
    for last in blocks.iter().filter(|b| b.back * 2 >= b.times) {
        // QEMU may split a loop's straight code; each part runs once a turn. Parts that it cut
        // elsewhere when the loop was entered run seldom.
        let inside = |b: &&Block| b.start >= last.back_to && b.end <= last.end && b.times * 2 >= last.times;
        let parts: Vec<&Block> = blocks.iter().filter(inside).collect();
        let whole = parts.first().is_some_and(|p| p.start == last.back_to)
            && parts.windows(2).all(|p| p[0].end == p[1].start);
        let often = parts.iter().all(|p| p.times <= last.times * 2);
        let cycles: u64 = parts.iter().map(|p| p.cycles).sum();
        if !whole || !often || (cycles as f64) < SHARE * all {
            continue;
        }
        found.push(Loop {
            function: function(elf, last.back_to),
            start: last.back_to,
            end: last.end,
            turns: last.times,
            instructions: parts.iter().map(|p| p.instructions).sum(),
            cycles,
            turn: parts.iter().map(|p| p.straight as f64 / p.times.max(1) as f64).sum(),
            mca: None,
            text: Vec::new(),
        });
    }
    found.sort_by(|a, b| b.cycles.cmp(&a.cycles).then(a.start.cmp(&b.start)));
    found
}

/// The function that an address lies in. Symbols of Thumb code have their lowest bit set.
fn function(elf: &Elf, at: u64) -> String {
    let before = elf.symbols.iter().filter(|s| s.defined && s.value & !1 <= at && !s.name.starts_with("__"));
    let nearest = before.max_by_key(|s| s.value & !1);
    nearest.map_or_else(|| format!("{at:#x}"), |s| short(&s.name))
}

/// The last path segment of a mangled Rust name; other names as they are.
fn short(name: &str) -> String {
    let Some(mut rest) = name.strip_prefix("_ZN") else { return name.to_owned() };
    let mut last = String::new();
    while let Some(digits) = rest.find(|c: char| !c.is_ascii_digit()).filter(|&n| n > 0) {
        let Some(part) = rest[..digits].parse().ok().and_then(|n: usize| rest.get(digits..digits + n)) else {
            break;
        };
        if !(part.len() == 17 && part.starts_with('h')) {
            last = part.to_owned();
        }
        rest = &rest[digits + part.len()..];
    }
    last
}

/// The newest first: what a machine calls `llvm-mca` may know no schedule of the core.
const MCA: &[&str] = &["llvm-mca-21", "llvm-mca-20", "llvm-mca-19", "llvm-mca-18", "llvm-mca"];
const OBJDUMP: &[&str] =
    &["llvm-objdump-21", "llvm-objdump-20", "llvm-objdump-19", "llvm-objdump-18", "llvm-objdump"];

/// Adds LLVM's figures. The text says why there are none, where there are none.
pub(super) fn ask_llvm(loops: &mut [Loop], image: &Path, core: &Core) -> Result<Option<String>> {
    let Some(toolchain) = core.toolchain.as_ref().filter(|t| !t.assembler_cpu.is_empty()) else {
        return Ok(Some(format!("llvm-mca was not asked: it has no schedule of core `{}`", core.name)));
    };
    let (Some(mca), Some(objdump)) = (tools::find(MCA), tools::find(OBJDUMP)) else {
        return Ok(Some(
            "llvm-mca was not asked: `llvm-mca` or `llvm-objdump` was not found (on Debian: apt-get install llvm-19)"
                .into(),
        ));
    };
    let folder = tools::folder()?;
    let mut silent = false;
    for each in loops {
        each.text = disassemble(&objdump, image, toolchain, each)?;
        let file = folder.path().join("loop.s");
        // A turn without its branch, as the counter has it.
        let straight: Vec<&str> = each.text.iter().map(String::as_str).filter(|l| !is_branch(l)).collect();
        tools::write(&file, format!(".syntax unified\n{}\n", straight.join("\n")))?;
        each.mca = schedule(&mca, &file, toolchain);
        silent |= each.mca.is_none();
    }
    Ok(silent.then(|| format!("llvm-mca has no schedule of core `{}`, or did not take a loop", core.name)))
}

fn triple(toolchain: &Toolchain) -> &str {
    toolchain.clang.iter().find_map(|f| f.strip_prefix("--target=")).unwrap_or("thumbv7m-none-eabi")
}

fn disassemble(objdump: &PathBuf, image: &Path, toolchain: &Toolchain, block: &Loop) -> Result<Vec<String>> {
    let output = tools::run(
        Command::new(objdump)
            .args(["-d", "--no-show-raw-insn", "--no-leading-addr"])
            .arg(format!("--mcpu={}", toolchain.assembler_cpu))
            .arg(format!("--start-address={:#x}", block.start))
            .arg(format!("--stop-address={:#x}", block.end))
            .arg(image),
    )?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().filter(|l| l.starts_with([' ', '\t']) && !l.trim().is_empty());
    Ok(lines.map(|l| l.split(['@', '<']).next().unwrap_or(l).trim().to_owned()).collect())
}

fn is_branch(line: &str) -> bool {
    let word = line.split_whitespace().next().unwrap_or_default();
    let plain = word.trim_end_matches(".w").trim_end_matches(".n");
    let conditions =
        ["eq", "ne", "hs", "cs", "lo", "cc", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le"];
    plain == "b"
        || plain == "le"
        || plain == "letp"
        || plain.starts_with("cb")
        || plain.strip_prefix('b').is_some_and(|c| conditions.contains(&c))
}

fn schedule(mca: &PathBuf, file: &Path, toolchain: &Toolchain) -> Option<f64> {
    const TURNS: u32 = 200;
    let mut command = Command::new(mca);
    command
        .arg(format!("-mtriple={}", triple(toolchain)))
        .arg(format!("-mcpu={}", toolchain.assembler_cpu))
        .arg(format!("-iterations={TURNS}"))
        .arg(file);
    let output = tools::output(&mut command).ok().filter(|o| o.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let total = text.lines().find_map(|l| l.strip_prefix("Total Cycles:"))?;
    Some(total.trim().parse::<f64>().ok()? / f64::from(TURNS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_far_from_llvm_are_named() {
        let of = |function: &str, turn, mca, text: &[&str]| Loop {
            function: function.into(),
            start: 0,
            end: 4,
            turns: 10,
            instructions: 3,
            cycles: 0,
            turn,
            mca,
            text: text.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(verdict(&[of("a", 4.0, None, &[])]), None);
        let near = [of("a", 10.9, Some(10.0), &[]), of("b", 9.1, Some(10.0), &[])];
        assert_eq!(verdict(&near).as_deref(), Some("2 of 2 loops are within 10 % of llvm-mca"));
        let far = [
            of("a", 12.0, Some(10.0), &["vldrb.u8\tq0, [r0], #16"]),
            of("b", 8.0, Some(10.0), &["vldrb.u8\tq1, [r1, q0]"]),
            of("c", 20.0, Some(10.0), &["vldrb.u8\tq1, [r1, q0]"]),
            of("d", 10.0, Some(10.0), &[]),
        ];
        assert_eq!(
            verdict(&far).as_deref(),
            Some(
                "1 of 4 loops are within 10 % of llvm-mca; the counter charges every lane of a gather: c \
                 (+100 %); the counter is dearer: a (+20 %); the counter is cheaper: b (-20 %)"
            )
        );
    }

    #[test]
    fn names_are_told_apart_from_their_paths() {
        assert_eq!(short("net_dense"), "net_dense");
        assert_eq!(short("_ZN7harness6models7model_07kernels5dense17h0123456789abcdefE"), "dense");
    }

    #[test]
    fn branches_are_known_from_instructions_that_look_alike() {
        for line in ["bne.w 0x10", "b 0x4", "le lr, 0x8", "letp lr, 0x8", "cbz r0, 0x6", "bhi 0x2"] {
            assert!(is_branch(line), "{line}");
        }
        for line in ["bic r0, r1", "bfi r0, r1, #0, #8", "ldr r0, [r1]", "bkpt #1"] {
            assert!(!is_branch(line), "{line}");
        }
    }
}
