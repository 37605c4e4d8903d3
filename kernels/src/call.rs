//! A kernel call before it is placed: the kernel, and what each parameter is bound to.
//!
//! Law: nothing here knows the graph or the program, so a kernel can be tested alone.

use crate::kernel::Kernel;
use crate::program::cost;
use crate::tensor::Data;
use secateur_targets::Target;
use std::borrow::Cow;
use std::sync::Arc;

/// One call, its arguments bound to what a node has.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub kernel: Arc<Kernel>,
    pub args: Vec<Bind>,
}

/// What a parameter is bound to.
#[derive(Debug, Clone, PartialEq)]
pub enum Bind {
    /// Operand of the node, by position.
    Operand(usize),
    /// Result of the node, by position.
    Result(usize),
    /// Result 0, each byte of which is written only when operand 0 is not read any more where
    /// it stands: it may stand in that operand's place.
    ResultInPlace,
    /// Result 0, which the call makes a copy of operand 0: where that stands there already, it is left out.
    ResultCopied,
    /// The node's workspace in the arena, from a byte offset on.
    Workspace(usize),
    /// Read-only data made at compile time; `align` in bytes.
    Data {
        name: Cow<'static, str>,
        data: Data,
        align: usize,
    },
    Scalar(i32),
}

impl Bind {
    /// Data aligned to its element.
    pub fn data(name: &'static str, data: Data) -> Bind {
        let align = data.dtype().size();
        Bind::aligned(name, data, align)
    }
    /// Data aligned to so many bytes.
    pub fn aligned(name: &'static str, data: Data, align: usize) -> Bind {
        Bind::Data { name: name.into(), data, align }
    }
}

/// The name of a way that runs on any core.
pub const PORTABLE: &str = "portable";

/// The name of a way that is these calls: the native kernels that they run.
pub fn way<'a>(calls: impl IntoIterator<Item = &'a Call>) -> String {
    let mut names: Vec<&str> = Vec::new();
    for native in calls.into_iter().flat_map(|c| cost::native_kernels(&c.kernel)) {
        if !names.contains(&native.name.as_str()) {
            names.push(&native.name);
        }
    }
    match names.as_slice() {
        [] => PORTABLE.to_owned(),
        _ => names.join("+"),
    }
}

impl Call {
    /// Whether it copies operand 0 to result 0, and does nothing else.
    pub fn only_copies(&self) -> bool {
        self.args.contains(&Bind::ResultCopied)
    }
    /// Whether result 0 may stand where operand 0 stands.
    pub fn in_place(&self) -> bool {
        self.args.contains(&Bind::ResultInPlace)
    }
    /// Predicted cycles of one run; 0 where the core has no cost table.
    pub fn cycles(&self, target: &Target) -> f64 {
        target.core.cost.as_ref().map_or(0.0, |core| cost::count(&self.kernel).cycles(core))
    }
    /// Bytes of the data that the call reads.
    pub fn data_bytes(&self) -> usize {
        let data = self.args.iter().filter_map(|a| match a {
            Bind::Data { data, .. } => Some(data.len() * data.dtype().size()),
            _ => None,
        });
        data.sum()
    }
}
