//! The counter: a plugin of the emulator, built with the host's C compiler on first use, and what
//! it wrote.
//!
//! In: a built [`Image`], one sample. Out: the outputs and a [`Profile`]. Law: the counter only
//! watches; the image that is counted is the image that is shipped, and its outputs come back
//! from the very run that was counted.

use crate::cli::toolchain::{Elf, Image, Replies, tools};
use crate::error::{Error, Result, Site};
use crate::tensor::Tensor;
use secateur_targets::{Span, Target};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The plugin's source.
const SOURCES: &[(&str, &str)] = &[
    ("count.c", include_str!("plugin/count.c")),
    ("decode.h", include_str!("plugin/decode.h")),
    ("decode_float.c", include_str!("plugin/decode_float.c")),
    ("decode_narrow.c", include_str!("plugin/decode_narrow.c")),
    ("decode_vector.c", include_str!("plugin/decode_vector.c")),
    ("decode_wide.c", include_str!("plugin/decode_wide.c")),
    ("qemu.h", include_str!("plugin/qemu.h")),
    ("timing.c", include_str!("plugin/timing.c")),
    ("timing.h", include_str!("plugin/timing.h")),
];

/// What was executed in a stretch between two marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stretch {
    pub(crate) instructions: u64,
    /// With the result latency of vector operations.
    pub(crate) cycles: u64,
    /// Without it: vector operations wait for their pipe alone.
    pub(crate) overlapped: u64,
    pub(crate) load_bytes: u64,
    pub(crate) store_bytes: u64,
}

impl Stretch {
    pub(crate) fn add(&mut self, other: &Stretch) {
        self.instructions += other.instructions;
        self.cycles += other.cycles;
        self.overlapped += other.overlapped;
        self.load_bytes += other.load_bytes;
        self.store_bytes += other.store_bytes;
    }
}

/// A straight piece of code that was executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) times: u64,
    pub(crate) instructions: u64,
    /// Cycles of all times, without its branch and with it.
    pub(crate) straight: u64,
    pub(crate) cycles: u64,
    /// Where it jumped back to, and how often.
    pub(crate) back_to: u64,
    pub(crate) back: u64,
}

/// What the counter wrote.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Profile {
    /// Between marks, in order; the first is what stands before the first mark.
    pub(crate) stretches: Vec<Stretch>,
    pub(crate) blocks: Vec<Block>,
    /// Lines read from flash, by code and by data, where these were counted.
    pub(crate) flash_lines: Option<u64>,
    /// Executions of each kind of instruction, by the counter's names.
    pub(crate) kinds: Vec<(String, u64)>,
    /// Executions of instructions that the counter does not know; each counts as one cycle.
    pub(crate) unknown: u64,
}

impl Profile {
    pub(crate) fn total(&self) -> Stretch {
        let mut sum = Stretch::default();
        self.stretches.iter().for_each(|s| sum.add(s));
        sum
    }
}

/// The built plugin, from the cache or made now.
pub(crate) fn plugin() -> Result<PathBuf> {
    let mut hash = Sha256::new();
    SOURCES.iter().for_each(|(name, text)| {
        hash.update(name);
        hash.update(text);
    });
    let digest: String = hash.finalize().iter().take(6).map(|b| format!("{b:02x}")).collect();
    let folder = tools::cached(&format!("counter-{digest}"), |folder| {
        let named = std::env::var("CC").ok().filter(|cc| !cc.is_empty());
        let names: Vec<&str> = named.iter().map(String::as_str).chain(["cc", "gcc", "clang"]).collect();
        let cc = tools::find(&names).ok_or_else(|| {
            tools::missing("A C compiler of this machine, to build the counter with,", &names, "gcc")
        })?;
        for (name, text) in SOURCES {
            tools::write(&folder.join(name), text)?;
        }
        let sources = SOURCES.iter().map(|s| s.0).filter(|name| name.ends_with(".c"));
        let flags = ["-std=gnu11", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-o", "counter.so"];
        tools::run(Command::new(cc).current_dir(folder).args(flags).args(sources)).map(drop)
    })?;
    Ok(folder.join("counter.so"))
}

/// The issue model of a core, by the counter's name; `None`: instructions are counted alone.
pub(crate) fn issue_model(core: &str) -> Option<&'static str> {
    match core {
        "cortex-m0plus" => Some("m0plus"),
        "cortex-m3" => Some("m3"),
        "cortex-m4" => Some("m4"),
        "cortex-m33" => Some("m33"),
        "cortex-m7" => Some("m7"),
        // No figures of the M85 are public; it is never slower than the M55.
        "cortex-m55" | "cortex-m85" => Some("m55"),
        _ => None,
    }
}

/// Extra cycles of an uncached read of the chip's flash, where its file states them.
pub(crate) fn wait_states(target: &Target) -> Option<u32> {
    target.memory.flash.first().and_then(|f| f.wait_states)
}

/// Runs one sample under the counter.
pub(crate) fn count(image: &Image, target: &Target, input: &[Tensor]) -> Result<(Replies, Profile, Elf)> {
    let inputs = [input.to_vec()];
    let mut options = String::new();
    // Code and constants stand where the board has them; what matters is how they are read.
    if let (Some(1..), Some(emulator)) = (wait_states(target), &target.core.emulator) {
        let Span { start, size } = emulator.code;
        options += &format!(",flash={:#x},flash_end={:#x}", start.0, start.0 + size.0);
    }
    if let Some(model) = issue_model(&target.core.name) {
        options += &format!(",core={model}");
    }
    counted(image, &inputs, "secateur_layer", &options)
}

/// Runs samples one after the other and counts instructions alone; `mark` names the function that
/// opens a stretch.
pub(crate) fn count_all(image: &Image, inputs: &[Vec<Tensor>], mark: &str) -> Result<(Replies, Profile)> {
    counted(image, inputs, mark, "").map(|(replies, profile, _)| (replies, profile))
}

fn counted(image: &Image, inputs: &[Vec<Tensor>], mark: &str, more: &str) -> Result<(Replies, Profile, Elf)> {
    let bytes = std::fs::read(image.file()).map_err(|e| tools::environment(e.to_string()))?;
    let elf = Elf::read(&bytes)?;
    let at = |name: &str| {
        let symbol = elf.symbols.iter().find(|s| s.defined && s.name == name);
        symbol.map(|s| s.value).ok_or_else(|| {
            Error::internal(Site::Whole, format!("the built harness has no function `{name}`"))
        })
    };
    let folder = tools::folder()?;
    let out = folder.path().join("profile");
    let mut options = format!(
        "{},start={:#x},stop={:#x},out={}",
        plugin()?.display(),
        at("run_begins")?,
        at("run_ends")?,
        out.display()
    );
    if let Ok(mark) = at(mark) {
        options += &format!(",mark={mark:#x}");
    }
    options += more;
    let replies = image.run_with(0, inputs, &options).map_err(without_plugins)?;
    Ok((replies, read(&out)?, elf))
}

/// An emulator that was built without plugins says so in its own words.
fn without_plugins(error: Error) -> Error {
    let says = ["plugin", "invalid option", "Could not load"];
    if !says.iter().any(|s| error.message.contains(s)) {
        return error;
    }
    tools::environment(format!("the emulator did not take the counter: {}", error.message)).help(
        "the counter needs QEMU 4.2 or later, built with plugins, as Debian 12's is \
         (apt-get install qemu-system-arm qemu-user)",
    )
}

fn read(path: &Path) -> Result<Profile> {
    let text = std::fs::read_to_string(path)
        .map_err(|_| without_plugins(tools::environment("it wrote nothing about the plugin's run")))?;
    parse(&text).ok_or_else(|| Error::internal(Site::Whole, "the counter's file is broken"))
}

fn parse(text: &str) -> Option<Profile> {
    let mut profile = Profile::default();
    let mut complete = false;
    for line in text.lines() {
        let (key, value) = line.split_once('=')?;
        let numbers: Vec<u64> = value.split(',').map(|n| n.parse().ok()).collect::<Option<_>>()?;
        match (key, numbers.as_slice()) {
            ("stretch", &[instructions, cycles, overlapped, load_bytes, store_bytes]) => {
                profile.stretches.push(Stretch { instructions, cycles, overlapped, load_bytes, store_bytes });
            }
            ("block", &[start, end, times, instructions, straight, cycles, back_to, back]) => {
                let block = Block { start, end, times, instructions, straight, cycles, back_to, back };
                profile.blocks.push(block);
            }
            ("code_lines" | "data_lines", &[n]) if n > 0 => {
                *profile.flash_lines.get_or_insert(0) += n;
            }
            ("unknown", &[n]) => profile.unknown = n,
            ("complete", _) => complete = true,
            (_, &[n]) => {
                if let Some(kind) = key.strip_prefix("kind.") {
                    profile.kinds.push((kind.to_owned(), n));
                }
            }
            _ => return None,
        }
    }
    complete.then_some(profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_reads_back_and_a_cut_one_is_refused() {
        let text = "stretch=10,14,12,8,4\nstretch=1,2,2,0,0\nregions=1\nunknown=0\n\
                    block=256,260,5,2,10,22,256,4\nkind.alu=7\ncomplete=1\n";
        let profile = parse(text).unwrap();
        assert_eq!(profile.total().cycles, 16);
        assert_eq!((profile.stretches.len(), profile.blocks[0].back), (2, 4));
        assert_eq!(profile.kinds, [("alu".to_owned(), 7)]);
        for cut in 0..text.len() - 1 {
            assert_eq!(parse(&text[..cut]), None, "cut at {cut}");
        }
    }
}
