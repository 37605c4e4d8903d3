//! The one set of options behind flags, macro arguments and `secateur.toml`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How activations and weights are represented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Quantize {
    /// 8-bit integers throughout: calibrated, or as the model's own QDQ nodes say.
    #[default]
    Int8,
    /// The model as it is: 32-bit floats (QDQ models stay integer).
    None,
}

/// What is spent when speed, flash and memory pull apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Optimize {
    /// Fewest cycles: larger forms of the weights, transforms and longer code where they gain
    /// and the flash has room; workspace up to three quarters of the chip's RAM.
    Speed,
    /// Weights stay about as large as they are, code is unrolled where it pays most, workspace is
    /// kept within `policy::balanced`.
    #[default]
    Balanced,
    /// Least flash, then fewest cycles, within `policy::most_for_size`.
    Size,
}

/// A language that is emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    C,
    Rust,
}

/// Everything a user can ask for. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Options {
    /// Name of the emitted module, file and C prefix: an identifier; empty means the file stem.
    pub name: String,
    pub quantize: Quantize,
    pub optimize: Optimize,
    /// Languages to emit, sorted.
    pub emit: Vec<Language>,
    /// Emit Rust as a small crate (`Cargo.toml`, `src/lib.rs`) instead of one module.
    #[serde(rename = "crate")]
    pub as_crate: bool,
    /// Sizes for symbolic dimensions; a batch dimension that is not named is 1.
    pub dims: BTreeMap<String, usize>,
    /// Compile a model that does not fit the chip's memories too, with a warning.
    pub allow_overflow: bool,
    /// Names of passes (or stages) after which the text form is kept in the artifact.
    pub dump_after: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            name: String::new(),
            quantize: Quantize::Int8,
            optimize: Optimize::Balanced,
            emit: vec![Language::C],
            as_crate: false,
            dims: BTreeMap::new(),
            allow_overflow: false,
            dump_after: Vec::new(),
        }
    }
}
