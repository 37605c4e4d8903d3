//! A kernel call before it is placed: the kernel, and what each parameter is bound to.
//!
//! Law: nothing here knows the graph or the program, so a kernel can be tested alone.

use crate::kernel::Kernel;
use crate::tensor::Data;
use std::sync::Arc;

/// One call with its operands by role.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spelled {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) args: Vec<Role>,
}

/// What a parameter is bound to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Role {
    /// Run-time operand by position.
    Operand(usize),
    Result,
    /// The result, each byte of which is written only when operand 0 is not read any more where
    /// it stands: it may stand in that operand's place.
    ResultInPlace,
    /// The node's workspace in the arena, from a byte offset on.
    Workspace(usize),
    /// Read-only data made at compile time; `align` in bytes.
    Data {
        name: &'static str,
        data: Data,
        align: usize,
    },
    Scalar(i32),
}

impl Role {
    pub(crate) fn data(name: &'static str, data: Data) -> Role {
        let align = data.dtype().size();
        Role::Data { name, data, align }
    }
}
