//! What pruning is asked for: where zeros may lie, what chooses them, and how many.
//!
//! In: words of an option. Out: [`Pattern`], [`Score`], [`Share`]. Law: a pattern says nothing of a
//! core; which core runs which pattern fast is the kernels' business.

use super::value::{Leaf, Raw, quoted, text};
use serde::{Serialize, Serializer};
use std::fmt;

/// How zeros lie in the weights of a layer, `[outputs, inputs, taps]`. No group crosses a tap; where
/// the inputs or outputs are no multiple of a group, the last group is smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    /// Blocks: `rows` outputs have their zeros at the same places, `columns` inputs side by side at
    /// one tap. `1x1` leaves every weight on its own.
    Block { rows: usize, columns: usize },
    /// Of each `of` inputs side by side at one tap, each output keeps `keep`.
    Of { keep: usize, of: usize },
}

/// Rows or columns that a block may have, and inputs that `N:M` may count.
const LARGEST: usize = 64;

impl Pattern {
    /// Reads `4x4` or `2:4`.
    pub fn parse(text: &str) -> Option<Pattern> {
        let number = |t: &str| {
            let digits = !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
            t.parse().ok().filter(|n| digits && (1..=LARGEST).contains(n))
        };
        if let Some((rows, columns)) = text.split_once('x') {
            return Some(Pattern::Block { rows: number(rows)?, columns: number(columns)? });
        }
        let (keep, of) = text.split_once(':')?;
        let (keep, of) = (number(keep)?, number(of)?);
        (keep < of).then_some(Pattern::Of { keep, of })
    }
    /// Outputs that share the places of their zeros.
    pub fn rows(self) -> usize {
        match self {
            Pattern::Block { rows, .. } => rows,
            Pattern::Of { .. } => 1,
        }
    }
    /// The share of zeros, where the pattern alone says it.
    pub fn share(self) -> Option<f64> {
        match self {
            Pattern::Block { .. } => None,
            Pattern::Of { keep, of } => Some(1.0 - keep as f64 / of as f64),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Block { rows, columns } => write!(f, "{rows}x{columns}"),
            Pattern::Of { keep, of } => write!(f, "{keep}:{of}"),
        }
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Leaf for Pattern {
    const WHAT: &'static str = "a pattern of zeros, as \"1x4\", \"4x4\" or \"2:4\"";
    fn read(raw: &Raw) -> Option<Pattern> {
        Pattern::parse(text(raw)?)
    }
    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}
