//! Hardware as data: a chip is one TOML file in `chips/`, a core one in `cores/`.
//!
//! In: a name ([`find`]), a file's text ([`parse`]) or a core with memory sizes
//! ([`core_only`]). Out: a [`Target`]. Law: nothing about a chip stands in code, and every
//! file names the public documents that its numbers come from.
#![forbid(unsafe_code)]

mod files;
mod schema;
mod size;

pub use schema::{
    Boot, Chip, Clock, CodeSize, Core, Cost, Emulator, Image, Memory, Pairing, Power, Region, Span, Target,
    Toolchain,
};
pub use size::{Size, parse_size};

use std::fmt;

/// Why a target could not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetError {
    Unknown { name: String, nearest: Option<String> },
    UnknownCore { core: String, nearest: Option<String>, known: Vec<String> },
    Syntax(String),
    Value { name: String, why: String },
    Size { text: String },
}

impl std::error::Error for TargetError {}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetError::Unknown { name, nearest } => {
                write!(f, "there is no chip or core called `{name}`{}", did_you_mean(nearest))
            }
            TargetError::UnknownCore { core, nearest, known } => {
                let (meant, known) = (did_you_mean(nearest), known.join(", "));
                write!(f, "`{core}` is not a core{meant}; the cores are {known}")
            }
            TargetError::Syntax(why) => write!(f, "the target description does not parse: {why}"),
            TargetError::Value { name, why } => {
                write!(f, "the target description of `{name}` is wrong: {why}")
            }
            TargetError::Size { text } => {
                write!(f, "`{text}` is not a size: write bytes or use K or M, as in 65536, 64K or 2M")
            }
        }
    }
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |n| format!("; did you mean `{n}`?"))
}

/// The chip or bare core of that name. Letter case and `_` for `-` do not matter. A bare core
/// comes without memory sizes and clock.
pub fn find(name: &str) -> Result<Target, TargetError> {
    let wanted = normal(name);
    if let Some((_, text)) = files::CHIPS.iter().find(|(n, _)| *n == wanted) {
        return parse(text);
    }
    if let Ok(core) = core(&wanted) {
        return Ok(Target::bare(core));
    }
    let names = names();
    Err(TargetError::Unknown { name: name.to_owned(), nearest: nearest(&wanted, &names) })
}

/// Reads a chip file. Unknown keys are refused.
pub fn parse(text: &str) -> Result<Target, TargetError> {
    let chip: Chip = toml::from_str(text).map_err(|e| TargetError::Syntax(e.to_string()))?;
    let core = core(&chip.core)?;
    let target = Target::new(chip, core);
    target.check()?;
    Ok(target)
}

/// A chip without a file: a core and the bytes of flash and RAM that the model may use.
pub fn core_only(core_name: &str, flash: u64, ram: u64) -> Result<Target, TargetError> {
    let mut target = Target::bare(core(&normal(core_name))?);
    let region = |name: &str, bytes| Region {
        name: name.to_owned(),
        start: Size(0),
        size: Size(bytes),
        wait_states: None,
    };
    target.memory = Memory { flash: vec![region("flash", flash)], ram: vec![region("ram", ram)] };
    target.check()?;
    Ok(target)
}

/// The core of that exact name.
pub fn core(name: &str) -> Result<Core, TargetError> {
    let Some((_, text)) = files::CORES.iter().find(|(n, _)| *n == name) else {
        let known: Vec<String> = files::CORES.iter().map(|(n, _)| (*n).to_owned()).collect();
        let nearest = nearest(name, &known);
        return Err(TargetError::UnknownCore { core: name.to_owned(), nearest, known });
    };
    toml::from_str(text).map_err(|e| TargetError::Syntax(e.to_string()))
}

/// Every chip, by name, then every core without memories.
pub fn all() -> Result<Vec<Target>, TargetError> {
    let mut targets = Vec::new();
    for (_, text) in files::CHIPS {
        targets.push(parse(text)?);
    }
    for (name, _) in files::CORES {
        if !files::CHIPS.iter().any(|(chip, _)| chip == name) {
            targets.push(Target::bare(core(name)?));
        }
    }
    Ok(targets)
}

/// Names that [`find`] knows: chips, then cores.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = files::CHIPS.iter().map(|(n, _)| (*n).to_owned()).collect();
    for (name, _) in files::CORES {
        if !names.iter().any(|n| n == name) {
            names.push((*name).to_owned());
        }
    }
    names
}

fn normal(name: &str) -> String {
    name.trim().to_ascii_lowercase().replace('_', "-")
}

/// The name with the fewest edits, if few enough to be a slip; a name that starts with the
/// wanted one, or the other way round, counts as near (`nrf52` for `nrf52840`).
pub fn nearest(wanted: &str, names: &[String]) -> Option<String> {
    let bare = |s: &str| s.replace(['-', ' '], "");
    let wanted = bare(wanted);
    if wanted.is_empty() {
        return None;
    }
    let near = |name: &&String| {
        let name = bare(name);
        let prefix = name.starts_with(&wanted) || wanted.starts_with(&name);
        let edits = edits(&wanted, &name);
        if prefix { edits.min(1) } else { edits }
    };
    names.iter().min_by_key(near).filter(|n| near(n) <= wanted.len() / 3).cloned()
}

/// Levenshtein distance over bytes.
fn edits(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
