//! Reads what a compiler made: sections and symbols of little-endian ELF files, 32 and 64 bit.
//!
//! Source: Tool Interface Standard, Executable and Linking Format 1.2; System V ABI for 64 bit.

use super::tools::environment;
use crate::error::Result;

/// A section that is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    pub name: String,
    pub bytes: usize,
    pub code: bool,
    pub writable: bool,
    /// Whether it takes space in the image; `.bss` does not.
    pub stored: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbol {
    pub name: String,
    pub value: u64,
    pub bytes: usize,
    /// False: wanted from elsewhere.
    pub defined: bool,
}

/// Sections and symbols of an object or image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Elf {
    pub sections: Vec<Section>,
    pub symbols: Vec<Symbol>,
}

struct Reader<'a> {
    bytes: &'a [u8],
    wide: bool,
}

impl Reader<'_> {
    fn number(&self, at: usize, bytes: usize) -> Option<u64> {
        let part = self.bytes.get(at..at.checked_add(bytes)?)?;
        Some(part.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)))
    }
    /// A field that is as wide as an address, at its offset in the narrow and the wide form.
    fn word(&self, base: usize, narrow: usize, wide: usize) -> Option<u64> {
        if self.wide { self.number(base + wide, 8) } else { self.number(base + narrow, 4) }
    }
    fn text(&self, at: usize) -> Option<String> {
        let rest = self.bytes.get(at..)?;
        let end = rest.iter().position(|&b| b == 0)?;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    }
}

impl Elf {
    pub fn read(bytes: &[u8]) -> Result<Elf> {
        parse(bytes).ok_or_else(|| environment("the compiler made no ELF file that we can read"))
    }

    /// Bytes of code, and of read-only data.
    pub fn flash(&self) -> (usize, usize) {
        let sum = |code: bool| {
            let loaded = self.sections.iter().filter(|s| s.stored && !s.writable && s.code == code);
            // Unwinding tables are not part of firmware.
            loaded.filter(|s| !s.name.starts_with(".ARM.ex") && s.name != ".eh_frame").map(|s| s.bytes).sum()
        };
        (sum(true), sum(false))
    }
}

fn parse(bytes: &[u8]) -> Option<Elf> {
    if bytes.get(..4)? != b"\x7fELF" || bytes.get(5) != Some(&1) {
        return None;
    }
    let r = Reader { bytes, wide: bytes[4] == 2 };
    let table = r.word(0, 0x20, 0x28)? as usize;
    let tail = if r.wide { 0x3A } else { 0x2E };
    let (size, count) = (r.number(tail, 2)? as usize, r.number(tail + 2, 2)? as usize);
    let names = r.number(tail + 4, 2)? as usize;
    let header = |i: usize| table.checked_add(i.checked_mul(size)?);
    let offset = |i: usize| Some(r.word(header(i)?, 0x10, 0x18)? as usize);
    let mut elf = Elf::default();
    for i in 0..count {
        let at = header(i)?;
        let kind = r.number(at + 4, 4)?;
        let flags = r.word(at, 0x08, 0x08)?;
        let bytes = r.word(at, 0x14, 0x20)? as usize;
        if flags & 2 != 0 && bytes > 0 {
            elf.sections.push(Section {
                name: r.text(offset(names)? + r.number(at, 4)? as usize)?,
                bytes,
                code: flags & 4 != 0,
                writable: flags & 1 != 0,
                stored: kind != 8,
            });
        }
        if kind != 2 {
            continue;
        }
        let link = if r.wide { 0x28 } else { 0x18 };
        let strings = offset(r.number(at + link, 4)? as usize)?;
        let entry = if r.wide { 24 } else { 16 };
        for s in 1..bytes / entry {
            let at = offset(i)? + s * entry;
            let (value, size, section) = if r.wide {
                (r.number(at + 8, 8)?, r.number(at + 16, 8)?, r.number(at + 6, 2)?)
            } else {
                (r.number(at + 4, 4)?, r.number(at + 8, 4)?, r.number(at + 14, 2)?)
            };
            let name = r.text(strings + r.number(at, 4)? as usize)?;
            if !name.is_empty() && !name.starts_with('$') {
                elf.symbols.push(Symbol { name, value, bytes: size as usize, defined: section != 0 });
            }
        }
    }
    Some(elf)
}
