//! A vocabulary's tables, made of its text.
//!
//! In: `vocab.txt`, a piece a line, whose id is the line's number from 0. Out: a [`Vocabulary`], and the Rust that
//! declares it.

use crate::Vocabulary;
use std::format;
use std::string::String;
use std::vec::Vec;

/// The tables of a vocabulary.
#[derive(Debug, Clone, Default)]
pub struct Table {
    text: String,
    ends: Vec<u16>,
    ids: Vec<u16>,
}

impl Table {
    /// Errors: a piece that comes twice, more than 65,535 pieces or bytes of them.
    pub fn new(vocabulary: &str) -> Result<Table, String> {
        let mut pieces: Vec<(&str, usize)> =
            vocabulary.lines().enumerate().map(|(id, piece)| (piece, id)).collect();
        pieces.sort();
        if let Some(twice) = pieces.windows(2).find(|two| two[0].0 == two[1].0) {
            return Err(format!("line {} repeats `{}`", twice[1].1 + 1, twice[1].0));
        }
        let mut table = Table::default();
        for (piece, id) in pieces {
            table.text.push_str(piece);
            let size =
                |n: usize| u16::try_from(n).map_err(|_| "the vocabulary has over 65,535 pieces or bytes");
            table.ends.push(size(table.text.len())?);
            table.ids.push(size(id)?);
        }
        Ok(table)
    }

    pub fn vocabulary(&self) -> Vocabulary<'_> {
        Vocabulary { text: &self.text, ends: &self.ends, ids: &self.ids }
    }

    /// The tables as a Rust expression.
    pub fn rust(&self) -> String {
        let Table { text, ends, ids } = self;
        format!("::wordpiece::Vocabulary {{ text: {text:?}, ends: &{ends:?}, ids: &{ids:?} }}")
    }
}
