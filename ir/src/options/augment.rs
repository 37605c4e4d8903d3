//! How calibration samples are altered, so that pruning learns from more than there are.
//!
//! In: words of an option. Out: [`Augment`]. Law: it says what may be done to a sample without changing what it
//! shows; only the user knows that.

use super::value::{Leaf, Raw, quoted, text};
use std::fmt;

/// Alterations of samples; axes are those of the model's inputs, 0 being the batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Augment {
    /// Altered copies of each sample, beside it.
    pub copies: usize,
    /// Axes along which half of the copies are turned around.
    pub flips: Vec<usize>,
    /// Axes and places by which copies are shifted along them, at most, to either side; what comes in is the
    /// value at the edge.
    pub shifts: Vec<(usize, usize)>,
    /// Noise, as a share of the standard deviation of all samples.
    pub noise: f64,
}

/// Copies where nobody says how many.
const COPIES: usize = 4;
/// More would take hours.
const MOST: usize = 64;

impl Augment {
    /// Reads `flip=2,shift=1:2,noise=0.02,copies=4` in any order.
    fn parse(text: &str) -> Result<Augment, String> {
        let mut augment = Augment { copies: 0, flips: Vec::new(), shifts: Vec::new(), noise: 0.0 };
        for part in text.split(',') {
            let Some((key, value)) = part.split_once('=') else {
                return Err(format!("`{part}` says none of flip, shift, noise and copies"));
            };
            augment.set(key.trim(), value.trim())?;
        }
        if augment.flips.is_empty() && augment.shifts.is_empty() && augment.noise == 0.0 {
            return Err("it alters nothing: say flip, shift or noise".to_owned());
        }
        if augment.copies == 0 {
            augment.copies = COPIES;
        }
        Ok(augment)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let axis = |text: &str| text.parse().ok().filter(|axis| (1..16).contains(axis));
        let no = |what: &str| Err(format!("`{value}` is no {what}"));
        match key {
            "flip" => match axis(value) {
                Some(axis) if !self.flips.contains(&axis) => self.flips.push(axis),
                Some(axis) => return Err(format!("`flip={axis}` is given twice")),
                None => return no("axis from 1 on"),
            },
            "shift" => {
                let parts = value.split_once(':');
                let parts = parts.and_then(|(a, n)| Some((axis(a)?, n.parse().ok().filter(|n| *n > 0)?)));
                match parts {
                    Some((axis, n)) if self.shifts.iter().all(|s| s.0 != axis) => self.shifts.push((axis, n)),
                    Some((axis, _)) => return Err(format!("a shift of axis {axis} is given twice")),
                    None => return no("AXIS:PLACES, as 1:2"),
                }
            }
            "noise" => match value.parse::<f64>().ok().filter(|n| *n > 0.0 && *n <= 1.0) {
                Some(_) if self.noise > 0.0 => return Err("`noise` is given twice".to_owned()),
                Some(noise) => self.noise = noise,
                None => return no("noise above 0 and up to 1"),
            },
            "copies" => match value.parse().ok().filter(|n| (1..=MOST).contains(n)) {
                Some(_) if self.copies > 0 => return Err("`copies` is given twice".to_owned()),
                Some(copies) => self.copies = copies,
                None => return no(&format!("number of copies from 1 to {MOST}")),
            },
            _ => return Err(format!("`{key}` is none of flip, shift, noise and copies")),
        }
        Ok(())
    }
}

impl fmt::Display for Augment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = self.flips.iter().map(|axis| format!("flip={axis}")).collect();
        parts.extend(self.shifts.iter().map(|(axis, n)| format!("shift={axis}:{n}")));
        if self.noise > 0.0 {
            parts.push(format!("noise={:?}", self.noise));
        }
        parts.push(format!("copies={}", self.copies));
        f.write_str(&parts.join(","))
    }
}

impl Leaf for Augment {
    const WHAT: &'static str = "alterations of samples, as \"flip=2,shift=1:2,noise=0.02,copies=4\"";
    fn read(raw: &Raw) -> Option<Augment> {
        Augment::parse(text(raw)?).ok()
    }
    fn why(raw: &Raw) -> Option<String> {
        Augment::parse(text(raw)?).err()
    }
    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alterations_read_as_they_print() {
        for text in
            ["flip=2", "shift=1:2,shift=2:3,copies=8", "noise=0.02", "flip=1,flip=2,shift=3:1,noise=0.5"]
        {
            let read = Augment::parse(text).unwrap();
            assert_eq!(Augment::parse(&read.to_string()), Ok(read));
        }
        assert_eq!(Augment::parse("flip=2").unwrap().copies, COPIES);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (wrong, why) in [
            ("flip", "`flip` says none of"),
            ("flip=0", "`0` is no axis"),
            ("flip=2,flip=2", "`flip=2` is given twice"),
            ("shift=1", "`1` is no AXIS:PLACES"),
            ("shift=1:0", "`1:0` is no AXIS:PLACES"),
            ("shift=1:2,shift=1:3", "a shift of axis 1 is given twice"),
            ("noise=2", "`2` is no noise"),
            ("noise=nan", "`nan` is no noise"),
            ("copies=3", "it alters nothing"),
            ("flip=1,copies=0", "`0` is no number of copies"),
            ("turn=3", "`turn` is none of"),
        ] {
            let said = Augment::parse(wrong).unwrap_err();
            assert!(said.starts_with(why), "{said}");
        }
    }
}
