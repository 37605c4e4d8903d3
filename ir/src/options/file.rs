//! `secateur.toml`: text -> what it says of a model.
//!
//! In: the text and the file's name, for messages and as what paths inside are relative to. Out:
//! [`Settings`] of the top level and of each `[model.NAME]`. Law: every key is known, of the right
//! type and given once, in the sections of other models too; what is not is refused at its line and
//! column, all at once.

use super::declare::{declared, unknown};
use super::value::{Place, Raw, Untyped, Wrong};
use super::{DECLARED, Declared, Settings};
use crate::error::{Error, Result};
use crate::warning::Warning;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What the file beside a model is called.
pub const FILE_NAME: &str = "secateur.toml";

/// Bytes that a file may have.
pub const MAX_BYTES: usize = 1 << 18;

/// Keys for what a later version will read.
const RESERVED: &[&str] = &["frontend"];

/// A file that was read.
#[derive(Debug, Clone)]
pub struct File {
    top: Settings,
    /// NAME, its place, and what its section says.
    models: Vec<(String, Place, Settings)>,
}

/// Reads the text of a file.
pub fn parse(name: &str, text: &str) -> Result<File> {
    let ends = text.match_indices('\n').map(|(at, _)| at + 1);
    let source = Source { name: name.into(), text, lines: std::iter::once(0).chain(ends).collect() };
    let document = DeTable::parse(text).map_err(|e| {
        let span = e.span().unwrap_or(0..0);
        let message = match (e.message(), text.get(span.clone())) {
            ("duplicate key", Some(key)) => format!("`{key}` is given twice"),
            (said, _) => format!("this is no TOML: {said}"),
        };
        Wrong::new(&source.place(span.start), message).error()
    })?;
    let mut reader = Reader { source, models: Vec::new(), wrong: Vec::new() };
    let top = reader.section(document.get_ref(), true);
    let Reader { models, mut wrong, .. } = reader;
    wrong.sort_by(|a, b| a.place.cmp(&b.place));
    match Error::join(wrong.into_iter().map(Wrong::error).collect()) {
        Some(error) => Err(error),
        None => Ok(File { top, models }),
    }
}

impl File {
    /// What holds for the model in a file of that stem: its own section, else the top level. Where no
    /// section is for it and one looks as if it were meant to be, a warning comes along, unless
    /// `is_model` knows a model of that stem.
    ///
    /// Errors: a section whose name is the stem but for case and signs.
    pub fn of_model(
        &self,
        stem: &str,
        is_model: &dyn Fn(&str) -> bool,
    ) -> Result<(Settings, Option<Warning>)> {
        if let Some((.., settings)) = self.models.iter().find(|(name, ..)| name == stem) {
            let mut settings = settings.clone();
            settings.over(self.top.clone());
            return Ok((settings, None));
        }
        let help =
            format!("a model's section has the name of its file without the ending: `[model.{}]`", key(stem));
        let plain = |s: &str| -> String {
            s.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
        };
        let is_like = |name: &str| {
            let name = name.strip_suffix(".onnx").unwrap_or(name);
            plain(name) == plain(stem) && !is_model(name)
        };
        if let Some((name, place, _)) = self.models.iter().find(|(name, ..)| is_like(name)) {
            let message = format!("`{name}` is nearly this model's name, `{stem}`");
            return Err(Wrong { help: Some(help), ..Wrong::new(place, message) }.error());
        }
        let names: Vec<String> =
            self.models.iter().map(|(name, ..)| name.clone()).filter(|name| !is_model(name)).collect();
        let near = secateur_targets::nearest(stem, &names);
        let section = self.models.iter().find(|(name, ..)| near.as_ref() == Some(name));
        let warning = section.map(|(name, place, _)| {
            let message = format!("no section is for the model `{stem}`; this one is for `{name}`");
            Warning::new(place.site(), message).help(help)
        });
        Ok((self.top.clone(), warning))
    }
}

/// A key as TOML has it.
fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { super::value::quoted(name) }
}

struct Source<'a> {
    name: Arc<str>,
    text: &'a str,
    /// The byte at which each line begins.
    lines: Vec<usize>,
}

impl Source<'_> {
    /// Line and column of a byte.
    fn place(&self, at: usize) -> Place {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        let line = self.lines.partition_point(|start| *start <= at);
        let before = &self.text[self.lines[line - 1]..at];
        let column = before.chars().filter(|c| *c != '\u{feff}').count() + 1;
        Place::Line { file: self.name.clone(), line, column }
    }
    fn raw(&self, value: &Spanned<DeValue<'_>>) -> Raw {
        let untyped = match value.get_ref() {
            DeValue::String(text) => Untyped::Text(text.to_string()),
            DeValue::Integer(n) => match i64::from_str_radix(n.as_str(), n.radix()) {
                Ok(n) => Untyped::Integer(n),
                Err(_) => Untyped::Other("an integer of more than 64 bits"),
            },
            DeValue::Float(x) => Untyped::Fraction(x.as_str().to_owned()),
            DeValue::Boolean(b) => Untyped::Bool(*b),
            DeValue::Datetime(_) => Untyped::Other("a date"),
            DeValue::Array(items) => Untyped::List(items.iter().map(|item| self.raw(item)).collect()),
            DeValue::Table(table) => Untyped::Table(
                by_place(table).into_iter().map(|(k, v)| (k.get_ref().to_string(), self.raw(v))).collect(),
            ),
        };
        Raw { place: self.place(value.span().start), value: untyped }
    }
}

type Entry<'t, 'i> = (&'t Spanned<toml::de::DeString<'i>>, &'t Spanned<DeValue<'i>>);

/// The entries of a table in the order of the file.
fn by_place<'t, 'i>(table: &'t DeTable<'i>) -> Vec<Entry<'t, 'i>> {
    let mut entries: Vec<Entry<'t, 'i>> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

struct Reader<'a> {
    source: Source<'a>,
    models: Vec<(String, Place, Settings)>,
    wrong: Vec<Wrong>,
}

impl Reader<'_> {
    /// The top level, or a model's section.
    fn section(&mut self, table: &DeTable<'_>, top: bool) -> Settings {
        let mut settings = Settings::default();
        let mut seen: Vec<&str> = Vec::new();
        for (name, value) in by_place(table) {
            let (word, place) = (name.get_ref().as_ref(), self.source.place(name.span().start));
            match (word, declared(word)) {
                ("model", _) if top => self.models(value),
                ("layer", _) => self.layers(value, &mut settings),
                (_, Some(option)) if seen.contains(&option.name) => {
                    let message = format!("`{word}` is `{}` once more", option.name);
                    self.wrong.push(Wrong::new(&place, message));
                }
                (_, Some(option)) => {
                    seen.push(option.name);
                    self.set(&mut settings, option, word, value);
                }
                (_, None) if RESERVED.contains(&word) => {
                    let message = format!("`{word}` is reserved for a later version; this one reads none");
                    self.wrong.push(Wrong::new(&place, message));
                }
                (_, None) => {
                    let sections = if top { ["layer", "model"].as_slice() } else { &["layer"] };
                    let known = DECLARED.iter().map(|d| d.name).chain(sections.iter().copied());
                    let known: Vec<String> = known.map(str::to_owned).collect();
                    self.wrong.push(unknown(&place, "keys", word, &known));
                }
            }
        }
        if let Err(wrong) = settings.conflicts() {
            self.wrong.push(wrong);
        }
        settings
    }

    fn set(&mut self, settings: &mut Settings, option: &Declared, word: &str, value: &Spanned<DeValue<'_>>) {
        let raw = self.source.raw(value);
        if let Err(wrong) = settings.set(option.name, word, &raw) {
            self.wrong.push(wrong);
        }
    }

    /// The tables of a table of sections.
    fn sections<'t, 'i>(
        &mut self,
        what: &str,
        value: &'t Spanned<DeValue<'i>>,
    ) -> Vec<(String, Place, &'t DeTable<'i>)> {
        let mut found = Vec::new();
        let DeValue::Table(table) = value.get_ref() else {
            let raw = self.source.raw(value);
            let message = format!("`{what}` holds sections, as `[{what}.NAME]`, not {}", raw.value);
            self.wrong.push(Wrong::new(&raw.place, message));
            return found;
        };
        for (name, inside) in by_place(table) {
            let (word, place) = (name.get_ref().to_string(), self.source.place(name.span().start));
            match inside.get_ref() {
                DeValue::Table(_) if word.is_empty() => {
                    self.wrong.push(Wrong::new(&place, format!("a section `[{what}.NAME]` has no name")));
                }
                DeValue::Table(table) => found.push((word, place, table)),
                _ => {
                    let raw = self.source.raw(inside);
                    let message = format!("`[{what}.{}]` is a section, not {}", key(&word), raw.value);
                    self.wrong.push(Wrong::new(&raw.place, message));
                }
            }
        }
        found
    }

    fn models(&mut self, value: &Spanned<DeValue<'_>>) {
        for (name, place, table) in self.sections("model", value) {
            let settings = self.section(table, false);
            self.models.push((name, place, settings));
        }
    }

    fn layers(&mut self, value: &Spanned<DeValue<'_>>, settings: &mut Settings) {
        for (glob, _, table) in self.sections("layer", value) {
            for (name, value) in by_place(table) {
                let (word, place) = (name.get_ref().as_ref(), self.source.place(name.span().start));
                let Some(option) = declared(word).filter(|o| o.is_for_layers()) else {
                    let known = DECLARED.iter().filter(|o| o.is_for_layers()).map(|o| o.name.to_owned());
                    self.wrong.push(unknown(&place, "keys of a layer", word, &known.collect::<Vec<_>>()));
                    continue;
                };
                let raw = self.source.raw(value);
                let table = Untyped::Table(vec![(glob.clone(), raw.clone())]);
                let set = settings.set(option.name, word, &Raw { place: raw.place.clone(), value: table });
                self.wrong.extend(set.err());
            }
        }
    }
}
