//! Numbers that an option gives to an input of the model.
//!
//! In: a number, a truth value or a list of those. Out: [`Numbers`]. Law: what they must be is said by the
//! type of the input, which is known when the model is read.

use super::value::{Leaf, Raw, Untyped};

/// Numbers that a list may have: what is longer belongs into the model.
const MOST: usize = 1 << 12;

/// A number as it was given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    Whole(i64),
    /// Finite.
    Real(f64),
    Truth(bool),
}

impl Number {
    /// A number with a fraction or an exponent, in digits: `inf` and `nan` are not meant.
    fn real(digits: &str) -> Option<Number> {
        let plain = digits.trim_start_matches(['-', '+']).starts_with(|c: char| c.is_ascii_digit());
        digits.parse().ok().filter(|x: &f64| plain && x.is_finite()).map(Number::Real)
    }
    fn word(word: &str) -> Option<Number> {
        let whole = || word.parse().ok().map(Number::Whole);
        word.parse().ok().map(Number::Truth).or_else(whole).or_else(|| Number::real(word))
    }
    fn read(raw: &Raw) -> Option<Number> {
        match &raw.value {
            Untyped::Integer(n) => Some(Number::Whole(*n)),
            Untyped::Fraction(digits) => Number::real(digits),
            Untyped::Bool(b) => Some(Number::Truth(*b)),
            Untyped::Word(word) => Number::word(word.trim()),
            _ => None,
        }
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Number::Whole(n) => write!(f, "{n}"),
            Number::Real(x) => write!(f, "{x:?}"),
            Number::Truth(b) => write!(f, "{b}"),
        }
    }
}

/// The elements of an input, in its row-major order; at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers(pub Vec<Number>);

impl Leaf for Numbers {
    const WHAT: &'static str = "a number, true or false, or a list of those";
    fn read(raw: &Raw) -> Option<Numbers> {
        let list: Option<Vec<Number>> = match &raw.value {
            Untyped::List(items) => items.iter().map(Number::read).collect(),
            // The command line has no other way to spell a list.
            Untyped::Word(words) => {
                let bare = words.trim();
                let inside = bare.strip_prefix('[').and_then(|w| w.strip_suffix(']')).unwrap_or(bare);
                inside.split(',').map(|w| Number::word(w.trim())).collect()
            }
            _ => Number::read(raw).map(|n| vec![n]),
        };
        list.filter(|l| !l.is_empty() && l.len() <= MOST).map(Numbers)
    }
    fn why(raw: &Raw) -> Option<String> {
        match &raw.value {
            Untyped::Fraction(digits) => Some(format!("that is {digits}")),
            Untyped::List(items) if items.is_empty() => Some("it is empty".into()),
            Untyped::List(items) if items.len() > MOST => {
                Some(format!("it has {} numbers, at most {MOST} are taken", items.len()))
            }
            _ => None,
        }
    }
    fn show(&self) -> String {
        let all: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        match all.as_slice() {
            [one] => one.clone(),
            _ => format!("[{}]", all.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::Place;
    use super::*;

    fn word(text: &str) -> Option<Numbers> {
        Numbers::read(&Raw { place: Place::Flag, value: Untyped::Word(text.into()) })
    }

    #[test]
    fn a_word_is_a_number_or_several() {
        use Number::{Real, Truth, Whole};
        for (text, want) in [
            ("16000", vec![Whole(16000)]),
            ("-1", vec![Whole(-1)]),
            ("0.5", vec![Real(0.5)]),
            ("-1e-3", vec![Real(-1e-3)]),
            ("true", vec![Truth(true)]),
            ("1,2.5, -3", vec![Whole(1), Real(2.5), Whole(-3)]),
            ("[1, false]", vec![Whole(1), Truth(false)]),
            // More than 64 bits hold.
            ("9223372036854775808", vec![Real(9_223_372_036_854_775_808.0)]),
        ] {
            assert_eq!(word(text), Some(Numbers(want)), "{text}");
        }
        for wrong in ["", "x", "inf", "-inf", "nan", ".5", "1,", "[", "[]", "[1", "1 2", "1e999", "True"] {
            assert_eq!(word(wrong), None, "{wrong}");
        }
        assert_eq!(word(&vec!["1"; MOST].join(",")).map(|n| n.0.len()), Some(MOST));
        assert_eq!(word(&vec!["1"; MOST + 1].join(",")), None);
    }

    #[test]
    fn what_shows_is_read_again() {
        for text in ["16000", "[1, -2.5, true]", "1e300", "-0.0"] {
            let numbers = word(text).unwrap();
            let toml = format!("x = {}", numbers.show());
            let file: std::collections::BTreeMap<String, toml::Value> = toml::from_str(&toml).unwrap();
            let shown = word(&numbers.show()).unwrap();
            assert_eq!((shown, file.len()), (numbers, 1), "{text}");
        }
    }
}
