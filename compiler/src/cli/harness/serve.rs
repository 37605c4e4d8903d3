//! Answers request frames with replies: inputs in, outputs and painted stack out. The twin of
//! `serve.c`; see there for the frame. No slices and no indexing, so that no panic path of the
//! harness hides one of the model.

use crate::models::MODELS;
use crate::port;

/// An input or output array of a model, inside its instance.
pub struct Port {
    pub data: fn() -> *mut u8,
    pub bytes: u32,
}

pub struct Model {
    /// Gives the bytes of stack that the model touched.
    pub run: extern "C" fn() -> u32,
    pub inputs: &'static [Port],
    pub outputs: &'static [Port],
}

/// Empty functions whose addresses tell a counter where an inference begins and ends, and, in a
/// build with marks, where its layers do. They differ, so that the compiler does not make one of them.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn run_begins() {
    core::hint::black_box(1);
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn run_ends() {
    core::hint::black_box(2);
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn secateur_layer() {
    core::hint::black_box(3);
}

const HELLO: u8 = b'H';
const INPUT: u8 = b'I';
const OUTPUT: u8 = b'O';
const END: u8 = b'E';
const FAILED: u8 = b'X';
const VERSION: u32 = 1;

/// The other side went away.
struct Gone;

struct Link {
    crc: u32,
}

impl Link {
    fn crc_add(&mut self, from: *const u8, bytes: u32) {
        for i in 0..bytes as usize {
            // SAFETY: the caller names `bytes` readable bytes.
            self.crc ^= u32::from(unsafe { from.add(i).read() });
            for _ in 0..8 {
                let odd = self.crc & 1;
                self.crc = (self.crc >> 1) ^ (0xEDB8_8320 & 0u32.wrapping_sub(odd));
            }
        }
    }
    fn get(&mut self, to: *mut u8, bytes: u32) -> Result<(), Gone> {
        read(to, bytes)?;
        self.crc_add(to, bytes);
        Ok(())
    }
    fn get_word(&mut self) -> Result<u32, Gone> {
        let mut word = 0u32;
        self.get((&raw mut word).cast(), 4)?;
        Ok(word)
    }
    fn put(&mut self, from: *const u8, bytes: u32) -> Result<(), Gone> {
        self.crc_add(from, bytes);
        write(from, bytes)
    }
    fn put_word(&mut self, word: u32) -> Result<(), Gone> {
        self.put((&raw const word).cast(), 4)
    }
    fn begin(&mut self, kind: u8, length: u32) -> Result<(), Gone> {
        let magic = [0xA5u8, 0x5C];
        write(magic.as_ptr(), 2)?;
        self.crc = u32::MAX;
        let head = [kind, 0];
        self.put(head.as_ptr(), 2)?;
        self.put_word(length)
    }
    fn finish(&mut self) -> Result<(), Gone> {
        let sum = !self.crc;
        write((&raw const sum).cast(), 4)
    }
    fn fail(&mut self, why: &str) -> Result<(), Gone> {
        self.begin(FAILED, why.len() as u32)?;
        self.put(why.as_ptr(), why.len() as u32)?;
        self.finish()
    }
    fn hello(&mut self) -> Result<(), Gone> {
        let count = MODELS.len() as u32;
        self.begin(HELLO, count.wrapping_mul(8).wrapping_add(8))?;
        self.put_word(VERSION)?;
        self.put_word(count)?;
        for model in MODELS {
            self.put_word(total(model.inputs))?;
            self.put_word(total(model.outputs))?;
        }
        self.finish()
    }
    fn answer(&mut self, length: u32) -> Result<(), Gone> {
        if length < 4 {
            return self.fail("an input frame is too short");
        }
        let index = self.get_word()?;
        let rest = length.wrapping_sub(4);
        let Some(model) = MODELS.get(index as usize) else {
            return self.fail("there is no model of that number");
        };
        if rest != total(model.inputs) {
            return self.fail("an input frame has the wrong length");
        }
        for port in model.inputs {
            self.get((port.data)(), port.bytes)?;
        }
        let expected = !self.crc;
        let mut sum = 0u32;
        read((&raw mut sum).cast(), 4)?;
        if sum != expected {
            return self.fail("a frame came with a wrong checksum");
        }
        let stack = port::run_guarded(model.run);
        if stack == u32::MAX {
            return self.fail("the model changed a register that it had to keep");
        }
        self.begin(OUTPUT, total(model.outputs).wrapping_add(8))?;
        self.put_word(index)?;
        self.put_word(stack)?;
        for port in model.outputs {
            self.put((port.data)(), port.bytes)?;
        }
        self.finish()
    }
    fn serve(&mut self) -> Result<(), Gone> {
        self.hello()?;
        loop {
            // Noise before the magic is passed over.
            let mut byte = 0u8;
            while byte != 0x5C {
                while byte != 0xA5 {
                    read(&raw mut byte, 1)?;
                }
                while byte == 0xA5 {
                    read(&raw mut byte, 1)?;
                }
            }
            self.crc = u32::MAX;
            let mut head = [0u8; 2];
            self.get(head.as_mut_ptr(), 2)?;
            let length = self.get_word()?;
            let [kind, _] = head;
            match kind {
                END => {
                    self.begin(END, 0)?;
                    return self.finish();
                }
                INPUT => self.answer(length)?,
                _ => self.fail("a frame of unknown kind came")?,
            }
        }
    }
}

fn total(ports: &[Port]) -> u32 {
    ports.iter().fold(0, |sum, port| sum.wrapping_add(port.bytes))
}

fn read(to: *mut u8, bytes: u32) -> Result<(), Gone> {
    if port::read(to, bytes) { Ok(()) } else { Err(Gone) }
}

fn write(from: *const u8, bytes: u32) -> Result<(), Gone> {
    if port::write(from, bytes) { Ok(()) } else { Err(Gone) }
}

/// Answers frames until told to stop. Result: 0, or 1 if the other side went away.
pub fn serve() -> u32 {
    let mut link = Link { crc: 0 };
    u32::from(link.serve().is_err())
}
