//! Says what sentences want: WordPiece splits them into ids, and a small BERT that Secateur compiled while this program
//! was built names their intents.
//!
//! `cargo run` runs it here, `cargo m55` on an emulated Cortex-M55: the same text.
#![cfg_attr(target_os = "none", no_std, no_main)]

use core::fmt::{Result, Write};
use wordpiece::Tokenizer;

#[cfg(target_os = "none")]
mod firmware;

mod tables {
    include!(concat!(env!("OUT_DIR"), "/tables.rs"));
}

#[secateur::model(
    "models/intents.onnx",
    target = "cortex-m55",
    calibrate(input_ids = "models/input_ids.npy", attention_mask = "models/attention_mask.npy"),
    quantize = "int8"
)]
pub struct Intents;

/// How the model's vocabulary wants its text: `[CLS]` first, nothing last, each digit alone.
const TOKENIZER: Tokenizer<'static> =
    Tokenizer { vocabulary: tables::VOCABULARY, start: Some(2), end: None, unknown: 1, single_digits: true };

const SENTENCES: [&str; 14] = [
    "Will it be raining in London on Friday?",
    "how warm is it outside right now",
    "Book a table for two at an Italian restaurant",
    "I need a place to eat for 6 people tonight",
    "play some jazz from 1959",
    "please play the new album by Prince",
    "Add this track to my running playlist",
    "put one more song on my summer party list",
    "give this novel 4 out of 6 stars",
    "I would rate the current book zero points",
    "find me the trailer of The Blue Planet",
    "Where can I see the photograph called Silent Night?",
    "What movies are showing at the closest cinema?",
    "show me the film schedule for this evening",
];

/// Prints the intent of each sentence, and how far it is before the next one, in steps of the model's output.
fn answer(out: &mut impl Write) -> Result {
    let mut model = Intents::new();
    let (mut ids, mut mask) = ([0; Intents::INPUT_IDS_LEN], [0; Intents::ATTENTION_MASK_LEN]);
    let mut logits = [0; Intents::LOGITS_LEN];
    writeln!(
        out,
        "{} bytes of weights, {} of vocabulary, {} of working memory",
        Intents::WEIGHTS_BYTES,
        TOKENIZER.vocabulary.bytes(),
        Intents::ARENA_BYTES
    )?;
    for sentence in SENTENCES {
        TOKENIZER.encode(sentence, &mut ids, &mut mask);
        model.run(&ids, &mask, &mut logits);
        let ranked = logits.iter().zip(tables::INTENTS);
        let Some((&best, intent)) = ranked.clone().max_by_key(|(score, _)| **score) else { continue };
        let next = ranked.filter(|(_, name)| *name != intent).map(|(score, _)| *score).max();
        let ahead = i32::from(best) - i32::from(next.unwrap_or(best));
        writeln!(out, "{intent:<21}{ahead:>4}  {sentence}")?;
    }
    Ok(())
}

#[cfg(not(target_os = "none"))]
fn main() {
    let mut text = String::new();
    answer(&mut text).expect("text grows");
    print!("{text}");
}
