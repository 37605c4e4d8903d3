//! Whether a model fits its chip, and who is to blame where it does not.
//!
//! In: a report, measured or not. Out: an error that says by how much, for flash and for RAM.
//! Law: what is not known is not counted, and the message says what was.

use super::{LayerReport, Report};
use crate::error::{Error, Fault, Site};
use secateur_targets::{Region, Target};
use serde::Serialize;

/// Bytes that the target has; `None` where it is a bare core or the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    pub flash: Option<u64>,
    pub ram: Option<u64>,
    /// The largest stretch of RAM in one piece, which an arena needs.
    pub ram_in_one: Option<u64>,
}

impl Memory {
    pub(super) fn of(target: &Target) -> Memory {
        let known = |bytes: u64| (bytes > 0).then_some(bytes);
        Memory {
            flash: known(target.flash()),
            ram: known(target.ram()),
            ram_in_one: known(in_one(&target.memory.ram)),
        }
    }
}

/// Memories that follow each other are one.
fn in_one(regions: &[Region]) -> u64 {
    let mut spans: Vec<(u64, u64)> = regions.iter().map(|r| (r.start.0, r.size.0)).collect();
    spans.sort_unstable();
    let (mut largest, mut open) = (0, (0, 0));
    for (start, size) in spans {
        open = if open.1 > 0 && open.0 + open.1 == start { (open.0, open.1 + size) } else { (start, size) };
        largest = largest.max(open.1);
    }
    largest
}

/// Layers that a message names at most.
const NAMED: usize = 3;

/// What does not fit, if anything.
pub fn overflow(report: &Report) -> Option<Error> {
    let (total, memory) = (&report.total, &report.memory);
    // Sizes given by hand make a chip without a name of its own.
    let by_hand = report.target == report.core;
    let mut errors = Vec::new();
    let mut refuse = |option: &str, message: String| {
        let option = if by_hand { option } else { "target" };
        errors.push(Error::new(Fault::Target, Site::Option(option.into()), message));
    };
    let has = |what: &str, bytes: u64| format!("`{}` has {} of {what}", report.target, size(bytes));

    let (needs, counted) = counted_flash(report);
    if let Some(flash) = memory.flash.filter(|&flash| needs > flash) {
        let dearest = largest(report, |l| l.weights, "of weights");
        refuse(
            "flash",
            format!(
                "{} and the model takes {} ({counted}): {} too many; most take {dearest}",
                has("flash", flash),
                size(needs),
                size(needs - flash)
            ),
        );
    }
    let (needs, counted) = counted_ram(report);
    let peak = || largest(report, |l| l.live, "live");
    if let Some(ram) = memory.ram.filter(|&ram| needs > ram) {
        refuse(
            "ram",
            format!(
                "{} and the model takes {} ({counted}): {} too many; the arena is fullest at {}",
                has("RAM", ram),
                size(needs),
                size(needs - ram),
                peak()
            ),
        );
    } else if let Some(ram) = memory.ram_in_one.filter(|&ram| total.arena as u64 > ram) {
        refuse(
            "ram",
            format!(
                "{} in one piece at most and the arena takes {}: {} too many; it is fullest at {}",
                has("RAM", ram),
                size(total.arena),
                size(total.arena as u64 - ram),
                peak()
            ),
        );
    }
    Error::join(errors).map(|e| {
        e.help(
            "take a larger chip or a smaller model, or try `--optimize size`; `--allow-overflow` goes on \
             all the same",
        )
    })
}

/// Bytes of flash, and what they are the sum of.
pub(super) fn counted_flash(report: &Report) -> (u64, String) {
    let total = &report.total;
    let code = total.known_code();
    let counted = match (total.code, total.predicted_code) {
        (Some(_), _) => format!("weights {}, code {}", size(total.weights), size(code)),
        (None, Some(_)) => format!("weights {}, code {} as predicted", size(total.weights), size(code)),
        (None, None) => format!(
            "weights {}, native kernels {}; other code was not measured",
            size(total.weights),
            size(code)
        ),
    };
    ((total.weights + code) as u64, counted)
}

/// Bytes of RAM, and what they are the sum of.
pub(super) fn counted_ram(report: &Report) -> (u64, String) {
    let total = &report.total;
    let stack = total.stack.unwrap_or(total.native_stack);
    let kept = match total.states {
        0 => String::new(),
        states => format!(" ({} of it kept between runs)", size(states)),
    };
    let counted = match total.stack {
        Some(stack) => format!("arena {}{kept}, stack at most {}", size(total.arena), size(stack)),
        None => format!(
            "arena {}{kept}, stack of native kernels {}; other stack was not measured",
            size(total.arena),
            size(stack)
        ),
    };
    ((total.arena + stack) as u64, counted)
}

/// The layers with the most of something, by name.
pub(super) fn largest(report: &Report, of: impl Fn(&LayerReport) -> usize, word: &str) -> String {
    most(report, |l| of(l) as u64, |bytes| format!("{} {word}", size(bytes)))
}

/// The same of anything, `told` in words.
pub(super) fn most(
    report: &Report,
    of: impl Fn(&LayerReport) -> u64,
    told: impl Fn(u64) -> String,
) -> String {
    let mut layers: Vec<&LayerReport> = report.layers.iter().filter(|l| of(l) > 0).collect();
    layers.sort_by_key(|l| std::cmp::Reverse(of(l)));
    let named = layers.iter().take(NAMED).map(|l| format!("`{}` ({}) {}", l.name, l.op, told(of(l))));
    let named: Vec<String> = named.collect();
    if named.is_empty() { "no layer".into() } else { named.join(", ") }
}

pub(super) fn size<N: TryInto<u64>>(bytes: N) -> String {
    format!("{} B", bytes.try_into().unwrap_or(u64::MAX))
}
