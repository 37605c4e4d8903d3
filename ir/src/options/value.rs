//! Values without parts, as the fronts meet them and as the compiler uses them.
//!
//! In: a flag's text, a macro's literal, a value of TOML, each as a [`Raw`] with its [`Place`]. Out:
//! a [`Leaf`]. Law: a type is read in one place, so that no two fronts take different words for it.

use crate::error::{Error, Fault, Site};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a value was given. Of two in one file, the earlier is the lesser.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Nowhere: it holds where nobody says otherwise.
    Default,
    /// In a `secateur.toml`; lines and columns (of characters) count from 1.
    Line { file: Arc<str>, line: usize, column: usize },
    /// In the arguments of the macro, counted as it counts its places.
    Argument(usize),
    /// On the command line.
    Flag,
}

impl Place {
    /// The line of a file; elsewhere the option says the place.
    pub(super) fn site(&self) -> Site {
        match self {
            Place::Line { file, line, column } => {
                Site::Line { file: file.to_string(), line: *line, column: *column }
            }
            Place::Default | Place::Argument(_) | Place::Flag => Site::Whole,
        }
    }
}

/// A value and where it was given.
#[derive(Debug, Clone, PartialEq)]
pub struct Given<T> {
    pub value: T,
    pub place: Place,
}

/// A value before its option's type is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Raw {
    pub place: Place,
    pub value: Untyped,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Untyped {
    /// A word of the command line, which may stand for a value of any type.
    Word(String),
    Text(String),
    Integer(i64),
    /// A number with a fraction, as its digits.
    Fraction(String),
    Bool(bool),
    List(Vec<Raw>),
    Table(Vec<(String, Raw)>),
    /// What no option takes.
    Other(&'static str),
}

impl fmt::Display for Untyped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Untyped::Word(word) => f.write_str(word),
            Untyped::Text(text) => f.write_str(&quoted(text)),
            Untyped::Integer(n) => write!(f, "{n}"),
            Untyped::Fraction(_) => f.write_str("a number with a fraction"),
            Untyped::Bool(b) => write!(f, "{b}"),
            Untyped::List(_) => f.write_str("a list"),
            Untyped::Table(_) => f.write_str("a table"),
            Untyped::Other(what) => f.write_str(what),
        }
    }
}

/// A text as TOML has it.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out += &format!("\\U{:08X}", c as u32),
            c => out.push(c),
        }
    }
    out + "\""
}

/// Why a value is refused, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub place: Place,
    pub message: String,
    /// What can be done about it.
    pub help: Option<String>,
}

impl Wrong {
    pub(super) fn new(place: &Place, message: impl Into<String>) -> Wrong {
        Wrong { place: place.clone(), message: message.into(), help: None }
    }
    /// At the line of a file. What comes from a front has its place in the message.
    pub fn error(self) -> Error {
        Error { help: self.help, ..Error::new(Fault::Option, self.place.site(), self.message) }
    }
}

/// A value without parts.
pub trait Leaf: Sized + Clone {
    /// What is taken, in words.
    const WHAT: &'static str;
    /// All that is taken, where that is a few words, and what each means.
    const CHOICES: &'static [(&'static str, &'static str)] = &[];
    /// What begins a value that has `=` inside, so that a flag's name ends before it, and not at the last `=`.
    const STARTS: &'static [&'static str] = &[];
    /// `None`: it is something else.
    fn read(raw: &Raw) -> Option<Self>;
    /// More of why it is none, where there is more to say.
    fn why(_raw: &Raw) -> Option<String> {
        None
    }
    /// As TOML has it.
    fn show(&self) -> String;
}

pub(super) fn text(raw: &Raw) -> Option<&str> {
    match &raw.value {
        Untyped::Word(text) | Untyped::Text(text) => Some(text),
        _ => None,
    }
}

impl Leaf for String {
    const WHAT: &'static str = "a text";
    fn read(raw: &Raw) -> Option<String> {
        text(raw).map(str::to_owned)
    }
    fn show(&self) -> String {
        quoted(self)
    }
}

impl Leaf for bool {
    const WHAT: &'static str = "true or false";
    fn read(raw: &Raw) -> Option<bool> {
        match &raw.value {
            Untyped::Bool(b) => Some(*b),
            Untyped::Word(word) => word.parse().ok(),
            _ => None,
        }
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Leaf for usize {
    const WHAT: &'static str = "a whole number from 1";
    fn read(raw: &Raw) -> Option<usize> {
        let number = match &raw.value {
            Untyped::Integer(n) => usize::try_from(*n).ok(),
            Untyped::Word(word) => word.parse().ok(),
            _ => None,
        };
        // TOML has integers of 64 bits with a sign.
        number.filter(|n| *n > 0 && i64::try_from(*n).is_ok())
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

/// A size of memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl Leaf for Bytes {
    const WHAT: &'static str = "a size, as 65536, \"64K\" or \"2M\"";
    fn read(raw: &Raw) -> Option<Bytes> {
        match &raw.value {
            Untyped::Integer(n) => u64::try_from(*n).ok().map(Bytes),
            _ => secateur_targets::parse_size(text(raw)?).ok().map(Bytes),
        }
    }
    fn show(&self) -> String {
        match self.0 {
            n if n > 0 && n % 1024 == 0 => quoted(&format!("{}K", n / 1024)),
            n => quoted(&n.to_string()),
        }
    }
}

/// A file, relative to the folder of the `secateur.toml` that names it, and else to wherever its
/// front looks for files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePath(pub String);

impl FilePath {
    fn beside(place: &Place, path: &str) -> FilePath {
        let folder = match place {
            Place::Line { file, .. } => Path::new(file.as_ref()).parent(),
            _ => None,
        };
        FilePath(folder.map_or_else(|| path.to_owned(), |f| f.join(path).to_string_lossy().into_owned()))
    }
}

impl Leaf for FilePath {
    const WHAT: &'static str = "a file";
    fn read(raw: &Raw) -> Option<FilePath> {
        text(raw).filter(|t| !t.is_empty()).map(|t| FilePath::beside(&raw.place, t))
    }
    fn show(&self) -> String {
        quoted(&self.0)
    }
}

/// A chip or core by name, or a chip's TOML file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChipName {
    Known(String),
    File(FilePath),
}

impl Leaf for ChipName {
    const WHAT: &'static str = "a chip's name or TOML file";
    fn read(raw: &Raw) -> Option<ChipName> {
        text(raw).map(|t| match t.ends_with(".toml") {
            true => ChipName::File(FilePath::beside(&raw.place, t)),
            false => ChipName::Known(t.to_owned()),
        })
    }
    fn show(&self) -> String {
        match self {
            ChipName::Known(name) | ChipName::File(FilePath(name)) => quoted(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_as_toml_reads_them() {
        for text in ["", "conv*", "a\"b\\c", "line\nend\t\u{7f}\u{1}", "größe/層:0"] {
            let toml = format!("x = {}", quoted(text));
            let read: std::collections::BTreeMap<String, String> = toml::from_str(&toml).unwrap();
            assert_eq!(read["x"], text);
        }
    }
}
