//! What a model may take at most: bytes by the options of memory, and seconds and joules by these types.
//!
//! In: words like `20ms` and `200uJ`. Out: [`Budgets`]. Law: an amount has a unit, so that a number alone is
//! refused and no user has to guess it.

use super::value::{Leaf, Raw, Untyped, quoted};

/// What one run may take at most; `None`: anything.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Budgets {
    /// Bytes of weights and code.
    pub flash: Option<u64>,
    /// Bytes of arena and stack.
    pub ram: Option<u64>,
    /// Seconds, as predicted.
    pub latency: Option<f64>,
    /// Joules, as predicted.
    pub energy: Option<f64>,
}

impl Budgets {
    /// Whether there is one.
    pub fn any(&self) -> bool {
        *self != Budgets::default()
    }
}

/// A time in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seconds(pub f64);

/// An energy in joules.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Joules(pub f64);

/// Units and what they are of the first without a prefix; the smallest first, so that printing finds the largest last.
const TIMES: [(&str, f64); 5] = [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)];
const ENERGIES: [(&str, f64); 5] = [("nJ", 1e-9), ("uJ", 1e-6), ("µJ", 1e-6), ("mJ", 1e-3), ("J", 1.0)];

/// A positive amount with one of the units.
fn amount(raw: &Raw, units: &[(&str, f64)]) -> Option<f64> {
    let (Untyped::Word(text) | Untyped::Text(text)) = &raw.value else { return None };
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, one) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    let amount = number.parse::<f64>().ok()? * one;
    (amount > 0.0 && amount.is_finite()).then_some(amount)
}

/// With the largest unit that leaves at least one of it, and at most four digits.
fn shown(amount: f64, units: &[(&str, f64)]) -> String {
    let fitting = units.iter().rfind(|(name, one)| name.is_ascii() && *one <= amount);
    let (name, one) = fitting.copied().unwrap_or(units[0]);
    let digits = format!("{:.3e}", amount / one).parse::<f64>().unwrap_or(amount / one);
    format!("{digits} {name}")
}

impl Leaf for Seconds {
    const WHAT: &'static str = "a time, as \"20ms\", \"500us\" or \"1.5s\"";
    fn read(raw: &Raw) -> Option<Seconds> {
        amount(raw, &TIMES).map(Seconds)
    }
    fn show(&self) -> String {
        quoted(&exact(self.0, &TIMES))
    }
}

impl Leaf for Joules {
    const WHAT: &'static str = "an energy, as \"200uJ\" or \"1.5mJ\"";
    fn read(raw: &Raw) -> Option<Joules> {
        amount(raw, &ENERGIES).map(Joules)
    }
    fn show(&self) -> String {
        quoted(&exact(self.0, &ENERGIES))
    }
}

/// As it can be read again: the same number.
fn exact(amount: f64, units: &[(&str, f64)]) -> String {
    let name = units.last().map_or("", |(name, _)| name);
    let fitting = units.iter().rev().filter(|(name, _)| name.is_ascii());
    // A round number of the unit, if it is the number that was meant.
    let round = fitting.filter(|(_, one)| *one <= amount).find_map(|(name, one)| {
        let text = format!("{}", amount / one);
        (text.len() <= 8 && text.parse::<f64>().is_ok_and(|n| n * one == amount))
            .then(|| format!("{text}{name}"))
    });
    round.unwrap_or_else(|| format!("{amount}{name}"))
}

/// A time in words, to four digits.
pub fn seconds(amount: f64) -> String {
    shown(amount, &TIMES)
}

/// An energy in words, to four digits.
pub fn joules(amount: f64) -> String {
    shown(amount, &ENERGIES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Place;

    fn word(text: &str) -> Raw {
        Raw { place: Place::Flag, value: Untyped::Word(text.to_owned()) }
    }

    #[test]
    fn amounts_need_units_and_print_as_they_are_read() {
        for (text, want) in [
            ("20ms", 0.02),
            ("1.5s", 1.5),
            ("500 us", 5e-4),
            ("0.25µs", 2.5e-7),
            (" 3ns ", 3e-9),
            ("90s", 90.0),
        ] {
            let read = Seconds::read(&word(text)).unwrap();
            assert!((read.0 / want - 1.0).abs() < 1e-12, "{text}: {}", read.0);
            assert_eq!(Seconds::read(&word(read.show().trim_matches('"'))), Some(read), "{}", read.show());
        }
        for text in ["20", "20m", "ms", "-1ms", "0ms", "1e3ms", "1.2.3s", "20 J", "", "infs"] {
            assert_eq!(Seconds::read(&word(text)), None, "{text}");
        }
        assert_eq!(Seconds::read(&Raw { place: Place::Flag, value: Untyped::Integer(20) }), None);
        assert_eq!(Seconds(0.02).show(), "\"20ms\"");
        assert_eq!(Joules::read(&word("200uJ")).unwrap().show(), "\"200uJ\"");
        assert_eq!(
            (seconds(0.0486219), joules(0.000_139_04), seconds(2e-10)),
            ("48.62 ms".into(), "139 uJ".into(), "0.2 ns".into())
        );
    }
}
