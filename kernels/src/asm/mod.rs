//! Assembly for inner loops whose order and registers decide their speed, a folder for each
//! instruction set.
//!
//! In: a function that a generator of `kernels` writes as instructions. Out: a
//! [`crate::kernel::Native`]: text that a `.S` file and naked functions share, with its bytes, its
//! stack and its cycles. Law: an instruction set knows its instructions, and no kernel.
//!
//! A set's instructions are rows of one table ([`table`]): each has its operands, text, size, kind,
//! meaning, and a case on the emulator, by construction. Every function is checked when it is made
//! ([`verify`]); what depends on what in straight code is one graph for all ([`depend`]).

pub mod armv6m;
pub mod armv7em;
mod depend;
pub mod hvx;
pub mod mve;
pub mod riscv;
#[cfg(any(test, feature = "testing"))]
pub mod simulate;
pub mod table;
mod verify;
