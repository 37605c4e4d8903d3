//! A node's kernel that calls others: what it is made of, and the workspace that they share.
//!
//! In: operands, constants, calls of products. Out: the parameters of one kernel and what they are bound to. Law: a
//! part of the workspace has one parameter, so that no two name the same bytes.

use super::{Cx, View};
use crate::error::Result;
use crate::kernel::{Access, Buf, CallArg, Kernel, KernelBuilder, ParamKind, int};
use crate::kernels::call::{Bind, Call};
use crate::kernels::offer::Candidate;
use crate::tensor::{DType, Data};
use std::sync::Arc;

/// Alignment of pieces of the workspace.
const ALIGN: usize = 16;

/// A kernel under construction, what its parameters are bound to, and the workspace so far.
pub(super) struct Composite {
    pub(super) k: KernelBuilder,
    pub(super) args: Vec<Bind>,
    pub(super) workspace: usize,
}

impl Composite {
    pub(super) fn new(name: impl Into<String>) -> Composite {
        Composite { k: KernelBuilder::new(name), args: Vec::new(), workspace: 0 }
    }
    /// A parameter for an operand or a result.
    pub(super) fn port(&mut self, name: &str, view: &View, access: Access) -> Buf {
        self.args.push(view.arg.clone());
        view.param(&mut self.k, name, access)
    }
    /// A parameter for an operand that may be left out.
    pub(super) fn optional(&mut self, cx: &Cx<'_>, name: &str, index: usize) -> Result<Option<(Buf, View)>> {
        if cx.operand(index).is_none() {
            return Ok(None);
        }
        let view = cx.input(index)?;
        Ok(Some((self.port(name, &view, Access::Read), view)))
    }
    /// A parameter for elements in the workspace.
    pub(super) fn place(&mut self, name: &str, elem: DType, len: usize) -> Buf {
        self.args.push(Bind::Workspace(self.workspace));
        self.workspace += (len * elem.size()).next_multiple_of(ALIGN);
        self.k.buffer(name, elem, len, Access::ReadWrite)
    }
    /// Read-only data.
    pub(super) fn data(&mut self, name: &'static str, data: Data, align: usize) -> Buf {
        let buffer = self.k.buffer(name, data.dtype(), data.len(), Access::Read);
        self.args.push(Bind::aligned(name, data, align));
        buffer
    }
    /// Declares what a product's call needs beside operands and result.
    pub(super) fn inner(
        &mut self,
        cx: &Cx<'_>,
        what: &str,
        (call, workspace): (Call, usize),
    ) -> Result<Inner> {
        let mut given = Vec::new();
        for (bind, param) in call.args.iter().zip(&call.kernel.params) {
            given.push(match (bind, &param.kind) {
                (Bind::Operand(i), _) => Given::Operand(*i),
                (Bind::Result(_) | Bind::ResultInPlace | Bind::ResultCopied, _) => Given::Result,
                (Bind::Scalar(v), _) => Given::Scalar(*v),
                (bind, ParamKind::Buffer { elem, len, access }) => {
                    let bind = match bind {
                        Bind::Workspace(at) => Bind::Workspace(self.workspace + at),
                        other => other.clone(),
                    };
                    self.args.push(bind);
                    let name = format!("{what}_{}", param.name);
                    Given::Held(self.k.buffer(&name, *elem, *len, *access))
                }
                _ => return Err(cx.unsupported("has a product that its kernel cannot call")),
            });
        }
        self.workspace += workspace.next_multiple_of(ALIGN);
        Ok(Inner { kernel: call.kernel, given })
    }
    /// The kernel as a way to compute the node.
    pub(super) fn offer(self, way: &'static str) -> Result<Candidate> {
        let call = Call { kernel: self.k.finish()?, args: self.args };
        Ok(Candidate { way, call, workspace: self.workspace })
    }
}

/// A product's call inside of a node's kernel.
pub(super) struct Inner {
    kernel: Arc<Kernel>,
    given: Vec<Given>,
}

enum Given {
    Operand(usize),
    Result,
    Held(Buf),
    Scalar(i32),
}

impl Inner {
    /// Calls it on these operands; it reads no others.
    pub(super) fn call(&self, k: &mut KernelBuilder, operands: &[CallArg], y: CallArg) {
        let args = self.given.iter().filter_map(|given| match given {
            Given::Operand(i) => operands.get(*i).cloned(),
            Given::Result => Some(y.clone()),
            Given::Held(buffer) => Some(buffer.from(0)),
            Given::Scalar(v) => Some(CallArg::Scalar(int(*v))),
        });
        k.call(&self.kernel, args.collect());
    }
}
