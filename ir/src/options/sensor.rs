//! What the integers of a sensor mean, so that emitted code makes them the inputs of a model.
//!
//! In: words of an option. Out: [`Sensor`]. Law: the real number of a count is `scale * count + offset`, by channel; only
//! the user knows both.

use super::value::{Leaf, Raw, quoted, text};
use std::fmt;

/// Counts of a sensor: 16 bits each, frames of one count a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Sensor {
    /// Whether counts are signed.
    pub signed: bool,
    /// Real units of one count: one number for all channels, or one each.
    pub scale: Vec<f32>,
    /// The real number of a count of zero, in the same way; zero where nobody says otherwise.
    pub offset: Vec<f32>,
    /// The axis of the model's input that counts channels; `None`: the only one that is as long.
    pub axis: Option<usize>,
}

/// The most channels, each of which is tried on every count.
const MOST: usize = 256;

impl Sensor {
    /// The word for the type of counts.
    pub fn word(&self) -> &'static str {
        if self.signed { "i16" } else { "u16" }
    }
    /// Channels of which numbers are given; 1 where one number serves all.
    pub fn channels(&self) -> usize {
        self.scale.len().max(self.offset.len())
    }
    /// Scale and offset of a channel.
    pub fn channel(&self, c: usize) -> (f32, f32) {
        let of = |all: &[f32]| all.get(c).or(all.first()).copied();
        (of(&self.scale).unwrap_or(1.0), of(&self.offset).unwrap_or(0.0))
    }

    /// Reads `i16,scale=0.001:0.001:0.06,offset=0,axis=1`: the type first, the others in any order.
    fn parse(given: &str) -> Result<Sensor, String> {
        let mut parts = given.split(',').map(str::trim);
        let signed = match parts.next() {
            Some("i16") => true,
            Some("u16") => false,
            other => return Err(format!("`{}` is no type of counts: i16 or u16", other.unwrap_or(""))),
        };
        let mut sensor = Sensor { signed, scale: Vec::new(), offset: Vec::new(), axis: None };
        for part in parts {
            let Some((key, value)) = part.split_once('=') else {
                return Err(format!("`{part}` says none of scale, offset and axis"));
            };
            sensor.set(key.trim(), value.trim())?;
        }
        if sensor.scale.is_empty() {
            return Err("it does not say what a count is worth: `scale=NUMBER`".to_owned());
        }
        let (scales, offsets) = (sensor.scale.len(), sensor.offset.len());
        if scales > 1 && offsets > 1 && scales != offsets {
            return Err(format!("{scales} scales and {offsets} offsets are no one each a channel"));
        }
        Ok(sensor)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let numbers = |most: f32, zero: bool| -> Result<Vec<f32>, String> {
            let one = |text: &str| {
                let number = text.trim().parse::<f32>().ok();
                let number = number.filter(|n| n.abs() <= most && (zero || n.abs() >= f32::MIN_POSITIVE));
                number.ok_or_else(|| format!("`{text}` is no {key}"))
            };
            value.split(':').map(one).collect()
        };
        let again = match key {
            "scale" => {
                let numbers = numbers(f32::MAX, false)?;
                !std::mem::replace(&mut self.scale, numbers).is_empty()
            }
            "offset" => {
                let numbers = numbers(f32::MAX, true)?;
                !std::mem::replace(&mut self.offset, numbers).is_empty()
            }
            "axis" => {
                let axis = value.parse().ok().filter(|axis| *axis < 16);
                let axis = axis.ok_or_else(|| format!("`{value}` is no axis"))?;
                self.axis.replace(axis).is_some()
            }
            _ => return Err(format!("`{key}` is none of scale, offset and axis")),
        };
        if again {
            return Err(format!("`{key}` is given twice"));
        }
        if self.channels() > MOST {
            return Err(format!("more than {MOST} channels"));
        }
        Ok(())
    }
}

impl fmt::Display for Sensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |all: &[f32]| all.iter().map(|n| format!("{n}")).collect::<Vec<_>>().join(":");
        write!(f, "{},scale={}", self.word(), list(&self.scale))?;
        if !self.offset.is_empty() {
            write!(f, ",offset={}", list(&self.offset))?;
        }
        self.axis.map_or(Ok(()), |axis| write!(f, ",axis={axis}"))
    }
}

impl Leaf for Sensor {
    const WHAT: &'static str =
        "counts of a sensor, as \"i16,scale=0.001\" or \"u16,scale=0.5:2,offset=-40:0,axis=2\"";
    const STARTS: &'static [&'static str] = &["i16", "u16"];
    fn read(raw: &Raw) -> Option<Sensor> {
        Sensor::parse(text(raw)?).ok()
    }
    fn why(raw: &Raw) -> Option<String> {
        Sensor::parse(text(raw)?).err()
    }
    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sensors_read_as_they_print() {
        for text in [
            "i16,scale=0.001",
            "u16,scale=0.5:2,offset=-40:0,axis=2",
            "i16,offset=1e-3,scale=-0.000061035156:1:2",
            "i16, scale = 3 , axis=1",
        ] {
            let read = Sensor::parse(text).unwrap();
            assert_eq!(Sensor::parse(&read.to_string()), Ok(read));
        }
        let sensor = Sensor::parse("u16,scale=0.5:2,offset=-40").unwrap();
        assert_eq!(
            (sensor.channels(), sensor.channel(0), sensor.channel(1)),
            (2, (0.5, -40.0), (2.0, -40.0))
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (wrong, why) in [
            ("", "`` is no type of counts"),
            ("i8,scale=1", "`i8` is no type of counts"),
            ("i16", "it does not say what a count is worth"),
            ("i16,scale", "`scale` says none of"),
            ("i16,scale=0", "`0` is no scale"),
            ("i16,scale=1:nan", "`nan` is no scale"),
            ("i16,scale=1,offset=inf", "`inf` is no offset"),
            ("i16,scale=1e-46", "`1e-46` is no scale"),
            ("i16,scale=1:2,offset=1:2:3", "2 scales and 3 offsets"),
            ("i16,scale=1,scale=2", "`scale` is given twice"),
            ("i16,scale=1,axis=x", "`x` is no axis"),
            ("i16,scale=1,unit=g", "`unit` is none of"),
        ] {
            let said = Sensor::parse(wrong).unwrap_err();
            assert!(said.starts_with(why), "{wrong}: {said}");
        }
    }
}
