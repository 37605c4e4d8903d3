//! WordPiece (Schuster and Nakajima, 2012), as BERT and its kin read text: a sentence in, the ids of the pieces that
//! its words are made of out.
//!
//! In: a sentence, and a vocabulary as tables that a build script made ([`table`]). Out: ids and a mask. Law: no heap,
//! no panic and no float; the tables may lie in flash.
#![no_std]

#[cfg(any(test, feature = "table"))]
extern crate std;
#[cfg(any(test, feature = "table"))]
pub mod table;

/// Bytes of the longest word; a longer one is unknown.
pub const LONGEST: usize = 64;

/// What begins a piece that goes on a word.
const CONTINUES: &[u8] = b"##";

/// Pieces and their ids, in the pieces' byte order.
#[derive(Debug, Clone, Copy)]
pub struct Vocabulary<'a> {
    /// All pieces, one behind the other.
    pub text: &'a str,
    /// Where each ends in `text`.
    pub ends: &'a [u16],
    /// The id of each.
    pub ids: &'a [u16],
}

impl Vocabulary<'_> {
    /// Bytes of the tables.
    pub const fn bytes(&self) -> usize {
        self.text.len() + 2 * (self.ends.len() + self.ids.len())
    }

    fn piece(&self, at: usize) -> &[u8] {
        let start =
            at.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |&end| usize::from(end));
        let end = self.ends.get(at).map_or(start, |&end| usize::from(end));
        self.text.as_bytes().get(start..end).unwrap_or_default()
    }

    /// The id of a piece that begins a word, or that goes one on.
    pub fn find(&self, piece: &[u8], continues: bool) -> Option<u16> {
        let prefix = if continues { CONTINUES } else { &[] };
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.piece(middle).iter().cmp(prefix.iter().chain(piece)) {
                core::cmp::Ordering::Less => low = middle + 1,
                core::cmp::Ordering::Greater => high = middle,
                core::cmp::Ordering::Equal => return self.ids.get(middle).copied(),
            }
        }
        None
    }
}

/// How a model wants its text: what `tokenizer_config.json` says of it.
#[derive(Debug, Clone, Copy)]
pub struct Tokenizer<'a> {
    pub vocabulary: Vocabulary<'a>,
    /// `[CLS]`: before the first word.
    pub start: Option<u16>,
    /// `[SEP]`: behind the last word.
    pub end: Option<u16>,
    /// `[UNK]`: for a word without pieces.
    pub unknown: u16,
    /// Whether each digit is a word.
    pub single_digits: bool,
}

/// Ids under construction: counts what no longer fits.
struct Ids<'a> {
    ids: &'a mut [i64],
    count: usize,
}

impl Ids<'_> {
    fn push(&mut self, id: u16) {
        if let Some(place) = self.ids.get_mut(self.count) {
            *place = i64::from(id);
        }
        self.count += 1;
    }
}

impl Tokenizer<'_> {
    /// Writes the ids of a sentence, then zeros (`[PAD]`), and ones where ids stand, then zeros. Gives how many ids
    /// there are: words that do not fit are left out.
    pub fn encode(&self, sentence: &str, ids: &mut [i64], mask: &mut [i64]) -> usize {
        ids.fill(0);
        mask.fill(0);
        let room = ids.len().min(mask.len());
        // The end has its place whatever is left out.
        let inner = room - usize::from(self.end.is_some()).min(room);
        let mut to = Ids { ids: ids.get_mut(..inner).unwrap_or_default(), count: 0 };
        if let Some(start) = self.start {
            to.push(start);
        }
        let mut word = Word::default();
        for c in sentence.chars() {
            let digit = self.single_digits && c.is_numeric();
            if c.is_alphanumeric() && !digit {
                c.to_lowercase().for_each(|c| word.push(c));
                continue;
            }
            self.split(&mut word, &mut to);
            if !c.is_whitespace() {
                word.push(c);
                self.split(&mut word, &mut to);
            }
        }
        self.split(&mut word, &mut to);
        let mut count = to.count.min(inner);
        if let Some((end, place)) = self.end.zip(ids.get_mut(count)) {
            *place = i64::from(end);
            count += 1;
        }
        mask.iter_mut().take(count).for_each(|m| *m = 1);
        count
    }

    /// The longest piece that the rest of a word begins with, again and again; one unknown where there is none.
    fn split(&self, word: &mut Word, to: &mut Ids<'_>) {
        let Word { bytes, length, fits } = core::mem::take(word);
        if length == 0 && fits {
            return;
        }
        let (before, mut start) = (to.count, 0);
        while fits && start < length {
            let rest = bytes.get(start..length).unwrap_or_default();
            let longest = (1..=rest.len()).rev().find_map(|n| {
                let id = self.vocabulary.find(rest.get(..n)?, start > 0)?;
                Some((n, id))
            });
            let Some((n, id)) = longest else { break };
            to.push(id);
            start += n;
        }
        if start < length || !fits {
            to.ids.iter_mut().skip(before).for_each(|id| *id = 0);
            to.count = before;
            to.push(self.unknown);
        }
    }
}

/// A word in lower case.
struct Word {
    bytes: [u8; LONGEST],
    length: usize,
    fits: bool,
}

impl Default for Word {
    fn default() -> Self {
        Word { bytes: [0; LONGEST], length: 0, fits: true }
    }
}

impl Word {
    fn push(&mut self, c: char) {
        let end = self.length + c.len_utf8();
        match self.bytes.get_mut(self.length..end) {
            Some(place) => {
                c.encode_utf8(place);
                self.length = end;
            }
            None => self.fits = false,
        }
    }
}

#[cfg(test)]
mod tests;
