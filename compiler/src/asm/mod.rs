//! Assembly for inner loops whose order and registers decide their speed, a folder for each
//! instruction set.
//!
//! In: a function that a generator of `kernels` writes as instructions. Out: a
//! [`crate::kernel::Native`]: text that a `.S` file and naked functions share, with its bytes, its
//! stack and its cycles. Law: an instruction set knows its instructions, and no kernel.

pub(crate) mod armv6m;
pub mod armv7em;
pub(crate) mod hvx;
pub(crate) mod mve;
pub(crate) mod riscv;
