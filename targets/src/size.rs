//! Sizes and addresses as people write them: `65536`, `"64K"`, `"2M"`, `0x2000_0000`.

use crate::TargetError;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// A number of bytes or an address. In TOML an integer, or a string with K (1024) or
/// M (1024 K).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Size(pub u64);

/// Bytes of `65536`, `64K`, `64KiB` or `2M`.
pub fn parse_size(text: &str) -> Result<u64, TargetError> {
    let wrong = || TargetError::Size { text: text.to_owned() };
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches("ib").trim_end_matches('b');
    let (number, unit) = match digits.strip_suffix('k') {
        Some(number) => (number, 1024),
        None => match digits.strip_suffix('m') {
            Some(number) => (number, 1024 * 1024),
            None => (digits, 1),
        },
    };
    let number: u64 = number.trim().parse().map_err(|_| wrong())?;
    number.checked_mul(unit).ok_or_else(wrong)
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Size;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes, or a string such as \"64K\" or \"2M\"")
            }
            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Size, E> {
                Ok(Size(v))
            }
            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Size, E> {
                u64::try_from(v).map(Size).map_err(|_| E::custom("a size cannot be negative"))
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Size, E> {
                parse_size(v).map(Size).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
