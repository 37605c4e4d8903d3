//! Checks of a finished function, whatever its instruction set.
//!
//! In: instructions over machine registers, where control goes, and what the calling convention
//! says. Out: nothing, or an internal error that names the instruction and the register. Law: no
//! function is printed that reads a register before it is written on some way to it, writes one
//! that belongs to its caller and is not saved, names one that the set does not have, holds a
//! constant without an encoding, or branches to a label that does not stand exactly once.

use crate::asm::table::Touch;
use crate::error::{Error, Result, Site};
use std::collections::BTreeMap;
use std::fmt::Debug;

/// What the checks ask of an instruction; every table answers.
pub(crate) trait Instruction: Debug {
    fn visit(&self, f: &mut dyn FnMut(u32, Touch));
    fn legal(&self) -> bool;
}

/// A register that a loop counts in, which no instruction of a table touches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counter(pub u32, pub Touch);

impl Instruction for Counter {
    fn visit(&self, f: &mut dyn FnMut(u32, Touch)) {
        f(self.0, self.1);
    }
    fn legal(&self) -> bool {
        true
    }
}

/// A part of a function in the order of its text.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step<'a, I> {
    Inst(&'a I),
    Counter(Counter),
    Label(u32),
    /// Goes on, or to the label.
    Branch(u32),
    Jump(u32),
}

/// A set of registers, by the bits of their places.
pub(crate) type Set = u128;

/// The bit of a register's place.
pub(crate) fn bit(place: u32) -> Set {
    1 << if place < 64 { place } else { 64 + place % 64 }
}

/// All of these.
pub(crate) fn set(places: impl IntoIterator<Item = u32>) -> Set {
    places.into_iter().fold(0, |s, p| s | bit(p))
}

/// What holds for a function besides its instructions.
pub(crate) struct Convention {
    /// The instruction set, for errors.
    pub name: &'static str,
    /// Registers that hold a value at entry.
    pub entry: Set,
    /// Those that may be touched.
    pub has: Set,
    /// Of those, the caller's that are not saved.
    pub kept: Set,
    /// The name of a register.
    pub register: fn(u32) -> String,
}

impl Convention {
    fn refuse<T>(&self, why: String) -> Result<T> {
        Err(Error::internal(Site::Whole, format!("{}: {why}", self.name)))
    }

    /// What is wrong with an instruction where the registers of `now` hold a value; what is
    /// written is added to them.
    fn check(&self, inst: &impl Instruction, now: &mut Set) -> Result<()> {
        let (mut wrong, mut written) = (None, 0);
        inst.visit(&mut |place, touch| {
            let bit = bit(place);
            let why = if self.has & bit == 0 {
                "which may not be touched"
            } else if touch.reads() && *now & bit == 0 {
                "which is read before it is written"
            } else if touch.writes() && self.kept & bit != 0 {
                "which is the caller's and not saved"
            } else {
                written |= if touch.writes() { bit } else { 0 };
                return;
            };
            wrong.get_or_insert((place, why));
        });
        *now |= written;
        match wrong {
            Some((place, why)) => self.refuse(format!("{inst:?} touches {}, {why}", (self.register)(place))),
            None if !inst.legal() => self.refuse(format!("{inst:?} has no encoding")),
            None => Ok(()),
        }
    }

    /// Refuses a function that breaks a law.
    pub(crate) fn verify<I: Instruction>(&self, steps: &[Step<I>]) -> Result<()> {
        // By label, what holds a value whichever way control comes: all, until a way is known.
        let mut at: BTreeMap<u32, Set> = BTreeMap::new();
        for step in steps {
            if let Step::Label(l) = step
                && at.insert(*l, Set::MAX).is_some()
            {
                return self.refuse(format!("label {l} stands twice"));
            }
        }
        loop {
            let (before, mut now) = (at.clone(), self.entry);
            for step in steps {
                match step {
                    Step::Inst(inst) => self.check(*inst, &mut now)?,
                    Step::Counter(counter) => self.check(counter, &mut now)?,
                    Step::Label(l) => {
                        now &= at[l];
                        at.insert(*l, now);
                    }
                    Step::Branch(l) | Step::Jump(l) => {
                        let Some(there) = at.get_mut(l) else {
                            return self.refuse(format!("label {l} stands nowhere"));
                        };
                        *there &= now;
                        if let Step::Jump(_) = step {
                            now = Set::MAX;
                        }
                    }
                }
            }
            if at == before {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
// The table's macro declares for other crates.
#[allow(unreachable_pub)]
mod tests {
    use super::*;
    use crate::asm::table::{In, Num, Out, Register, instructions};

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct R(u32);

    impl Register for R {
        const FIRST: u32 = 0;
        fn number(self) -> u32 {
            self.0
        }
        fn of(number: u32) -> R {
            R(number)
        }
    }

    pub struct Form {
        encodes: bool,
    }

    pub struct Model;
    impl crate::asm::table::File<R> for Model {
        type Word = u32;
        fn read(&self, _: R) -> u32 {
            0
        }
        fn write(&mut self, _: R, _: u32) {}
    }

    instructions! {
        form Form, text _s, model _m: Model;
        Set(d: Out<R>, v: Num<0, 8, 4>) Form { encodes: true }, "{d:?} {v}" => d = v;
        Add(d: Out<R>, a: In<R>, b: In<R>) Form { encodes: a != b }, "{d:?} {a:?} {b:?}" => d = a + b;
    }

    /// Four registers, of which the first is an argument and the last one the caller's.
    const CONVENTION: Convention =
        Convention { name: "four", entry: 1, has: 0b1111, kept: 0b1000, register: |n| format!("r{n}") };

    fn refused(steps: &[Step<Inst>], why: &str) {
        let error = CONVENTION.verify(steps).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn what_is_right_passes() {
        let (set, add) = (Inst::Set(R(1), 8), Inst::Add(R(2), R(0), R(1)));
        let steps = [Step::Inst(&set), Step::Label(1), Step::Inst(&add), Step::Branch(1)];
        assert!(CONVENTION.verify(&steps).is_ok());
        // What stands behind a jump is reached by its label only.
        let jumped = [Step::Inst(&set), Step::Jump(1), Step::Label(1), Step::Inst(&add)];
        assert!(CONVENTION.verify(&jumped).is_ok());
    }

    #[test]
    fn reading_before_writing_is_refused() {
        let (set, add) = (Inst::Set(R(1), 0), Inst::Add(R(2), R(0), R(1)));
        refused(&[Step::Inst(&add)], "Add(R(2), R(0), R(1)) touches r1, which is read before it is written");
        // Written on one way only: over a branch, and behind a loop's head.
        refused(&[Step::Branch(1), Step::Inst(&set), Step::Label(1), Step::Inst(&add)], "read before");
        let entered = [Step::Jump(2), Step::Label(1), Step::Inst(&set), Step::Label(2), Step::Inst(&add)];
        refused(&[&entered[..], &[Step::Branch(1)]].concat(), "read before");
    }

    #[test]
    fn the_callers_and_unknown_registers_are_refused() {
        refused(&[Step::Inst(&Inst::Set(R(3), 0))], "touches r3, which is the caller's and not saved");
        refused(&[Step::Inst(&Inst::Set(R(4), 0))], "touches r4, which may not be touched");
    }

    #[test]
    fn constants_without_an_encoding_are_refused() {
        refused(&[Step::Inst(&Inst::Set(R(1), 9))], "Set(R(1), 9) has no encoding");
        refused(&[Step::Inst(&Inst::Set(R(1), 2))], "no encoding");
        refused(&[Step::Inst(&Inst::Add(R(1), R(0), R(0)))], "no encoding");
    }

    #[test]
    fn labels_stand_once() {
        refused(&[Step::Branch(1)], "label 1 stands nowhere");
        refused(&[Step::Label(1), Step::Label(1)], "label 1 stands twice");
    }
}
