//! Recognises spoken digits on a microcontroller. The build script compiled the model; what it made is a module here.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};

mod digits {
    include!(concat!(env!("OUT_DIR"), "/digits.rs"));
}
use digits::Digits;

/// Features of one clip for each digit, in their order: 49 frames of 32 bands (`clips.py`).
const CLIPS: &[u8] = include_bytes!("../models/clips.npy");

const WORDS: [&str; Digits::LOGITS_LEN] =
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

/// The numbers of a .npy file, which follow a header whose length stands at byte 8.
fn numbers(file: &[u8]) -> &[[u8; 4]] {
    let start = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
    file.get(start..).unwrap_or_default().as_chunks().0
}

#[entry]
fn main() -> ! {
    // All working memory of the model: what `entry` finds in a static is this function's alone.
    static mut MODEL: Digits = Digits::new();
    let mut features = [0.0; Digits::LOGMEL_LEN];
    let mut right = 0;
    for (spoken, clip) in WORDS.iter().zip(numbers(CLIPS).chunks_exact(Digits::LOGMEL_LEN)) {
        for (real, bytes) in features.iter_mut().zip(clip) {
            *real = f32::from_le_bytes(*bytes);
        }
        Digits::quantize_logmel(&features, MODEL.logmel_mut());
        MODEL.run_in_place();
        if let Some((score, found)) = MODEL.logits().iter().zip(WORDS).max_by_key(|(score, _)| **score) {
            right += usize::from(found == *spoken);
            hprintln!("spoken {}, found {}, score {}", spoken, found, score);
        }
    }
    hprintln!("{} of {} right", right, WORDS.len());
    debug::exit(debug::EXIT_SUCCESS);
    loop {}
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    debug::exit(debug::EXIT_FAILURE);
    loop {}
}
