//! What pruning is asked for: where zeros may lie, what chooses them, and how many.
//!
//! In: words of an option. Out: [`Pattern`], [`Score`], [`Share`]. Law: a pattern says nothing of a
//! core; which core runs which pattern fast is the kernels' business.

use super::value::{Leaf, Raw, Untyped, quoted, text};
use super::{Score, Spread};
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
    /// Whole channels, which leave the model with all that computes and reads them.
    Channels,
}

const CHANNELS: &str = "channels";

/// Rows or columns that a block may have, and inputs that `N:M` may count.
const LARGEST: usize = 64;

impl Pattern {
    /// Reads `4x4`, `2:4` or `channels`.
    pub fn parse(text: &str) -> Option<Pattern> {
        if text == CHANNELS {
            return Some(Pattern::Channels);
        }
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
            Pattern::Of { .. } | Pattern::Channels => 1,
        }
    }
    /// The share of zeros, where the pattern alone says it.
    pub fn share(self) -> Option<f64> {
        match self {
            Pattern::Block { .. } | Pattern::Channels => None,
            Pattern::Of { keep, of } => Some(1.0 - keep as f64 / of as f64),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Block { rows, columns } => write!(f, "{rows}x{columns}"),
            Pattern::Of { keep, of } => write!(f, "{keep}:{of}"),
            Pattern::Channels => f.write_str(CHANNELS),
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

/// A share of weights that are zero.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize)]
pub struct Share(pub f64);

impl Share {
    fn parse(text: &str) -> Option<Share> {
        // No more than TOML has: `inf`, `nan` and `.5` are not meant.
        let plain = text.starts_with(|c: char| c.is_ascii_digit());
        text.parse().ok().filter(|s| plain && (0.0..1.0).contains(s)).map(Share)
    }
}

impl Leaf for Share {
    const WHAT: &'static str = "a share of zeros, from 0 to below 1";
    fn read(raw: &Raw) -> Option<Share> {
        match &raw.value {
            Untyped::Integer(0) => Some(Share(0.0)),
            Untyped::Fraction(digits) => Share::parse(digits),
            _ => Share::parse(text(raw)?),
        }
    }
    fn why(raw: &Raw) -> Option<String> {
        match &raw.value {
            Untyped::Fraction(digits) => Some(format!("that is {digits}")),
            _ => None,
        }
    }
    fn show(&self) -> String {
        format!("{:?}", self.0)
    }
}

/// What can be said of pruning.
const KEYS: &str = "pattern, sparsity, score and spread";

/// How the layers of a model are pruned.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Prune {
    /// The share of the prunable layers' weights that goes.
    pub sparsity: Option<Share>,
    pub pattern: Option<Pattern>,
    pub score: Option<Score>,
    pub spread: Option<Spread>,
}

impl Prune {
    /// Reads `0.6`, or `pattern=4x4,sparsity=0.6,score=obs,spread=both` in any order.
    fn parse(text: &str) -> Result<Prune, String> {
        if let Some(share) = Share::parse(text) {
            return Ok(Prune { sparsity: Some(share), ..Prune::default() });
        }
        let mut prune = Prune::default();
        for part in text.split(',') {
            let Some((key, value)) = part.split_once('=') else {
                return Err(format!("`{part}` is no share and says none of {KEYS}"));
            };
            prune.set(key.trim(), value.trim())?;
        }
        Ok(prune)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        fn once<T>(slot: &mut Option<T>, key: &str, read: Option<T>, or: String) -> Result<(), String> {
            let value = read.ok_or(or)?;
            if slot.replace(value).is_some() {
                return Err(format!("`{key}` is given twice"));
            }
            Ok(())
        }
        let no = |what: &str| format!("`{value}` is no {what}");
        fn known<T: Leaf>(what: &str) -> String {
            let words: Vec<&str> = T::CHOICES.iter().map(|(word, _)| *word).collect();
            format!("{what}: there are {}", words.join(", "))
        }
        let word = Raw { place: super::Place::Default, value: Untyped::Word(value.to_owned()) };
        match key {
            "sparsity" => once(&mut self.sparsity, key, Share::parse(value), no("share from 0 to below 1")),
            "pattern" => {
                let known = "pattern: blocks are as 1x4 and 4x4, N of M as 2:4, or channels";
                once(&mut self.pattern, key, Pattern::parse(value), no(known))
            }
            "score" => once(&mut self.score, key, Score::read(&word), no(&known::<Score>("score"))),
            "spread" => once(&mut self.spread, key, Spread::read(&word), no(&known::<Spread>("spread"))),
            _ => Err(format!("`{key}` is none of {KEYS}")),
        }
    }

    fn of(raw: &Raw) -> Result<Prune, Option<String>> {
        match &raw.value {
            Untyped::Integer(0) => Ok(Prune { sparsity: Some(Share(0.0)), ..Prune::default() }),
            Untyped::Fraction(digits) => Prune::parse(digits).map_err(|_| Some(format!("that is {digits}"))),
            Untyped::Word(text) | Untyped::Text(text) => Prune::parse(text).map_err(Some),
            Untyped::Table(entries) => {
                let mut prune = Prune::default();
                for (key, raw) in entries {
                    let value = match &raw.value {
                        Untyped::Word(text) | Untyped::Text(text) | Untyped::Fraction(text) => text.clone(),
                        Untyped::Integer(n) => n.to_string(),
                        other => return Err(Some(format!("`{key}` is {other}"))),
                    };
                    prune.set(key, &value).map_err(Some)?;
                }
                Ok(prune)
            }
            _ => Err(None),
        }
    }
}

impl fmt::Display for Prune {
    /// As the command line has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.show().trim_matches('"'))
    }
}

impl Leaf for Prune {
    const WHAT: &'static str = "a share of zeros, as 0.6, or \"pattern=4x4,sparsity=0.6,score=obs\"";
    fn read(raw: &Raw) -> Option<Prune> {
        Prune::of(raw).ok()
    }
    fn why(raw: &Raw) -> Option<String> {
        Prune::of(raw).err().flatten()
    }
    fn show(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.pattern.map(|p| format!("pattern={p}")));
        parts.extend(self.sparsity.map(|s| format!("sparsity={}", s.show())));
        parts.extend(self.score.map(|s| format!("score={}", s.show().trim_matches('"'))));
        parts.extend(self.spread.map(|s| format!("spread={}", s.show().trim_matches('"'))));
        match (self, self.sparsity) {
            (Prune { pattern: None, score: None, spread: None, .. }, Some(only)) => only.show(),
            _ => quoted(&parts.join(",")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Place;

    fn word(text: &str) -> Raw {
        Raw { place: Place::Flag, value: Untyped::Word(text.to_owned()) }
    }

    #[test]
    fn patterns_read_as_they_print() {
        for text in ["1x1", "1x4", "4x4", "64x64", "2:4", "1:8", "channels"] {
            assert_eq!(Pattern::parse(text).unwrap().to_string(), text);
        }
        for wrong in [
            "", "4", "channel", "x4", "0x4", "4x0", "65x1", "4:4", "5:4", "0:4", "+1x4", "1x4x4", "a:b",
            "1X4",
        ] {
            assert_eq!(Pattern::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn shares_are_from_zero_to_below_one() {
        assert_eq!(Share::parse("0"), Some(Share(0.0)));
        assert_eq!(Share::parse("0.999"), Some(Share(0.999)));
        for wrong in ["1", "1.0", "-0.1", "nan", "inf", "NaN", "", "60%", "+0.5"] {
            assert_eq!(Share::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_pruning_takes_reads_as_it_prints() {
        for text in [
            "0.6",
            "pattern=4x4,sparsity=0.7",
            "pattern=2:4",
            "sparsity=0.5,score=l1",
            "score=obs",
            "spread=weights",
        ] {
            let read = Prune::parse(text).unwrap();
            assert_eq!(Prune::parse(read.show().trim_matches('"')), Ok(read));
        }
        for (wrong, why) in [
            ("1.2", "`1.2` is no share"),
            ("pattern=9q", "`9q` is no pattern"),
            ("sparsity=1", "`1` is no share"),
            ("score=best", "`best` is no score: there are obs"),
            ("spread=wide", "`wide` is no spread: there are both, weights"),
            ("patern=1x4", "`patern` is none of"),
            ("sparsity=0.1,sparsity=0.2", "`sparsity` is given twice"),
        ] {
            let said = Prune::why(&word(wrong)).unwrap();
            assert!(said.starts_with(why), "{said}");
        }
    }
}
