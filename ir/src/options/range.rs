//! What an input or an output may hold, where the user knows better than the calibration samples.
//!
//! In: words of an option. Out: [`Range`]. Law: finite, and wider than nothing.

use super::value::{Leaf, Raw, quoted, text};
use std::fmt;

/// The least and the greatest real number of a port; what lies beyond is clipped to them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    pub lo: f32,
    pub hi: f32,
}

impl Range {
    /// Reads `-8..8`.
    fn parse(given: &str) -> Result<Range, String> {
        let Some((lo, hi)) = given.split_once("..") else {
            return Err(format!("`{given}` is no LO..HI, as -8..8"));
        };
        let end = |text: &str| {
            let number = text.trim().parse::<f32>().ok().filter(|n| n.is_finite());
            number.ok_or_else(|| format!("`{text}` is no number"))
        };
        let (lo, hi) = (end(lo)?, end(hi)?);
        if lo >= hi {
            return Err(format!("it ends at {hi}, before it begins at {lo}"));
        }
        Ok(Range { lo, hi })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.lo, self.hi)
    }
}

impl Leaf for Range {
    const WHAT: &'static str = "a range, as \"-8..8\"";
    fn read(raw: &Raw) -> Option<Range> {
        Range::parse(text(raw)?).ok()
    }
    fn why(raw: &Raw) -> Option<String> {
        Range::parse(text(raw)?).err()
    }
    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_read_as_they_print() {
        for (text, lo, hi) in [("-8..8", -8.0, 8.0), ("0 .. 1e-3", 0.0, 1e-3), ("-2.5..-0.5", -2.5, -0.5)] {
            let read = Range::parse(text).unwrap();
            assert_eq!(read, Range { lo, hi });
            assert_eq!(Range::parse(&read.to_string()), Ok(read));
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (wrong, why) in [
            ("8", "`8` is no LO..HI"),
            ("-8..", "`` is no number"),
            ("a..8", "`a` is no number"),
            ("0..inf", "`inf` is no number"),
            ("nan..1", "`nan` is no number"),
            ("8..-8", "it ends at -8, before it begins at 8"),
            ("1..1", "it ends at 1, before"),
        ] {
            let said = Range::parse(wrong).unwrap_err();
            assert!(said.starts_with(why), "{wrong}: {said}");
        }
    }
}
