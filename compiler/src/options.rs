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

/// A kernel variant that layers must run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelWish {
    /// Names of layers: `*` stands for any text, `?` for one character.
    pub layers: String,
    /// The variant's name as the report prints it, or `portable`.
    pub variant: String,
}

impl KernelWish {
    /// Whether the wish is for a layer of that name.
    pub fn wants(&self, layer: &str) -> bool {
        let (pattern, name): (Vec<char>, Vec<char>) =
            (self.layers.chars().collect(), layer.chars().collect());
        // Where the last star stands, and how much of the name it has taken.
        let (mut p, mut n, mut star) = (0, 0, None);
        while n < name.len() {
            match pattern.get(p) {
                Some('*') => {
                    star = Some((p, n));
                    p += 1;
                }
                Some(&c) if c == '?' || c == name[n] => (p, n) = (p + 1, n + 1),
                _ => {
                    let Some((at, taken)) = star else { return false };
                    star = Some((at, taken + 1));
                    (p, n) = (at + 1, taken + 1);
                }
            }
        }
        pattern[p..].iter().all(|c| *c == '*')
    }
}

/// Everything a user can ask for. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Options {
    /// Name of the emitted module, file and C prefix: an identifier; empty means the file stem.
    pub name: String,
    pub quantize: Quantize,
    pub optimize: Optimize,
    /// Kernel variants that layers must run; of several wishes for a layer the last holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kernels: Vec<KernelWish>,
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
            kernels: Vec::new(),
            emit: vec![Language::C],
            as_crate: false,
            dims: BTreeMap::new(),
            allow_overflow: false,
            dump_after: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_for_layers_by_pattern() {
        let wants = |layers: &str, name: &str| {
            KernelWish { layers: layers.into(), variant: "gemm".into() }.wants(name)
        };
        let yes = [
            ("*", ""),
            ("*", "a"),
            ("conv1", "conv1"),
            ("conv?", "conv1"),
            ("conv*", "conv"),
            ("*1", "conv11"),
            ("*a*b", "xaybab"),
            ("c*v?", "conv1"),
            ("**", "x"),
        ];
        let no =
            [("", "a"), ("conv", "conv1"), ("conv?", "conv"), ("*1", "conv12"), ("a*b", "ab1"), ("?", "")];
        yes.iter().for_each(|(layers, name)| assert!(wants(layers, name), "{layers} {name}"));
        no.iter().for_each(|(layers, name)| assert!(!wants(layers, name), "{layers} {name}"));
    }
}
