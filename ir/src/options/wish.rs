//! What is wanted of layers by their names.
//!
//! In: a pattern and a value. Out: whether it is for a layer. Law: of several wishes for a layer the last holds.

use super::kind::Layers;
use super::value::Given;

/// What an option says of layers.
pub(super) fn wishes<T: Copy>(given: &Option<Given<Layers<T>>>) -> Vec<LayerWish<T>> {
    let entries = given.iter().flat_map(|g| &g.value.0);
    entries.map(|(name, value)| LayerWish { layers: Glob(name.clone()), value: value.value }).collect()
}

/// A kernel variant that layers must run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelWish {
    /// Names of layers: `*` stands for any text, `?` for one character.
    pub layers: String,
    /// The variant's name as the report prints it, or `portable`.
    pub variant: String,
}

impl KernelWish {
    /// Whether the wish is for a layer of that name.
    pub fn wants(&self, layer: &str) -> bool {
        matches(&self.layers, layer)
    }
}

/// Names of layers: `*` stands for any text, `?` for one character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(pub String);

impl Glob {
    pub fn matches(&self, layer: &str) -> bool {
        matches(&self.0, layer)
    }
}

impl std::fmt::Display for Glob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What some layers shall have.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerWish<T> {
    pub layers: Glob,
    pub value: T,
}

/// Whether a pattern is for a name.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
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
