//! Writes sentences as samples of a model that reads `input_ids` and `attention_mask`.
//!
//!     cargo run -p wordpiece --features table --example samples -- vocab.txt sentences.txt 24 .
//!
//! In: a vocabulary as this example's model has it, sentences a line, how many ids the model reads. Out, in a
//! folder: `input_ids.npy` and `attention_mask.npy`, a row a sentence. (With a model of your own, what it was trained
//! with writes them in two lines.)

use std::error::Error;
use wordpiece::Tokenizer;
use wordpiece::table::Table;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [vocabulary, sentences, room, to] = &arguments[..] else {
        return Err("usage: samples VOCABULARY SENTENCES IDS FOLDER".into());
    };
    let (table, room) = (Table::new(&std::fs::read_to_string(vocabulary)?)?, room.parse::<usize>()?);
    let tokenizer = Tokenizer {
        vocabulary: table.vocabulary(),
        start: Some(2),
        end: None,
        unknown: 1,
        single_digits: true,
    };
    let (mut all_ids, mut all_masks) = (Vec::new(), Vec::new());
    let text = std::fs::read_to_string(sentences)?;
    for sentence in text.lines() {
        let (mut ids, mut mask) = (vec![0; room], vec![0; room]);
        tokenizer.encode(sentence, &mut ids, &mut mask);
        all_ids.extend(ids);
        all_masks.extend(mask);
    }
    let shape = (all_ids.len() / room.max(1), room);
    for (name, values) in [("input_ids", all_ids), ("attention_mask", all_masks)] {
        std::fs::write(std::path::Path::new(to).join(format!("{name}.npy")), npy(shape, &values))?;
    }
    Ok(())
}

/// An array of NumPy's format, version 1.
fn npy(shape: (usize, usize), values: &[i64]) -> Vec<u8> {
    let mut header =
        format!("{{'descr': '<i8', 'fortran_order': False, 'shape': ({}, {}), }}", shape.0, shape.1);
    // Ten bytes before it, a line feed behind: elements begin at a multiple of 64.
    header.push_str(&" ".repeat((64 - (10 + header.len() + 1) % 64) % 64));
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.bytes());
    file.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    file
}
