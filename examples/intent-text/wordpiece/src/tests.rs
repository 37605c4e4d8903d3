//! Known tokenizations: those of BERT's own tests, and words of the example's vocabulary.

use crate::Tokenizer;
use crate::table::Table;
use std::string::{String, ToString};
use std::vec::Vec;

/// What a vocabulary makes of a sentence, in `room` places: as pieces.
fn pieces(vocabulary: &str, tokenizer: fn(&Table) -> Tokenizer<'_>, room: usize, sentence: &str) -> String {
    let table = Table::new(vocabulary).unwrap();
    let (mut ids, mut mask) = (std::vec![7; room], std::vec![7; room]);
    let count = tokenizer(&table).encode(sentence, &mut ids, &mut mask);
    let all: Vec<&str> = vocabulary.lines().collect();
    for (i, (&id, &m)) in ids.iter().zip(&mask).enumerate() {
        assert_eq!(m, i64::from(i < count), "{sentence}");
        assert!(i < count || id == 0, "{sentence}");
    }
    ids[..count].iter().map(|&id| all[id as usize]).collect::<Vec<_>>().join(" ")
}

/// The vocabulary of `tokenization_test.py`, which comes with BERT (Devlin et al., 2018).
const BERT: &str =
    "[UNK]\n[CLS]\n[SEP]\nwant\n##want\n##ed\nwa\nun\nrunn\n##ing\n,\n1\n12\n3\n\u{14d}\n##\u{14d}";

fn of_bert(table: &Table) -> Tokenizer<'_> {
    let vocabulary = table.vocabulary();
    Tokenizer { vocabulary, start: Some(1), end: Some(2), unknown: 0, single_digits: false }
}

fn bert(sentence: &str) -> String {
    pieces(BERT, of_bert, 12, sentence)
}

#[test]
fn the_longest_pieces_are_taken() {
    assert_eq!(bert("unwanted running"), "[CLS] un ##want ##ed runn ##ing [SEP]");
    assert_eq!(bert("UNwant\u{e9}d,running"), "[CLS] [UNK] , runn ##ing [SEP]");
    assert_eq!(bert("unwantedX running"), "[CLS] [UNK] runn ##ing [SEP]");
    assert_eq!(bert("unwanting"), "[CLS] un ##want ##ing [SEP]");
    assert_eq!(bert("123"), "[CLS] [UNK] [SEP]");
    assert_eq!(bert("12,1"), "[CLS] 12 , 1 [SEP]");
    assert_eq!(bert(" \t"), "[CLS] [SEP]");
    assert_eq!(bert(""), "[CLS] [SEP]");
}

/// Characters of several bytes are lower-cased, and found whole.
#[test]
fn words_are_unicode() {
    assert_eq!(bert("\u{14c} un\u{14d}"), "[CLS] \u{14d} un ##\u{14d} [SEP]");
    assert_eq!(bert("\u{1f600}"), "[CLS] [UNK] [SEP]");
}

/// A word longer than a buffer is unknown, and what does not fit is left out but for the end.
#[test]
fn lengths_are_limited() {
    assert_eq!(bert(&"a".repeat(1000)), "[CLS] [UNK] [SEP]");
    assert_eq!(bert(&"un want ".repeat(20)), "[CLS] un want un want un want un want un want [SEP]");
    fn bare(table: &Table) -> Tokenizer<'_> {
        Tokenizer { start: None, ..of_bert(table) }
    }
    assert_eq!(pieces(BERT, bare, 0, "un"), "");
    assert_eq!(pieces(BERT, bare, 1, "un"), "[SEP]");
    // No half of a word stays in front of an unknown one.
    assert_eq!(pieces(BERT, bare, 4, "unx"), "[UNK] [SEP]");
}

const INTENTS: &str = include_str!("../../models/vocab.txt");

fn of_intents(table: &Table) -> Tokenizer<'_> {
    let vocabulary = table.vocabulary();
    Tokenizer { vocabulary, start: Some(2), end: None, unknown: 1, single_digits: true }
}

/// As the model was trained: digits alone, no end.
#[test]
fn sentences_of_the_model() {
    for (sentence, want) in [
        ("Book a table for two at 8", "[CLS] book a table for two at 8"),
        ("What's the weather like in Paris?", "[CLS] what ' s the weather like in paris ?"),
        ("play music from 1973.", "[CLS] play music from 1 9 7 3 ."),
        ("Rate this book 0 out of 6 stars", "[CLS] rate this book 0 out of 6 stars"),
        ("play Zzyzx", "[CLS] play [UNK]"),
    ] {
        assert_eq!(pieces(INTENTS, of_intents, 24, sentence), want);
    }
}

#[test]
fn every_piece_is_found() {
    let table = Table::new(INTENTS).unwrap();
    for (id, piece) in INTENTS.lines().enumerate() {
        assert_eq!(table.vocabulary().find(piece.as_bytes(), false), Some(id as u16), "{piece}");
    }
    assert_eq!(table.vocabulary().find(b"", false), None);
    assert_eq!(table.vocabulary().find(b"the", true), None);
}

#[test]
fn a_piece_that_comes_twice_is_refused() {
    assert_eq!(Table::new("a\nb\na").unwrap_err(), "line 3 repeats `a`".to_string());
    let many: String = (0..70_000).map(|i| std::format!("{i}\n")).collect();
    assert!(Table::new(&many).is_err());
}
