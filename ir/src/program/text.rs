//! The stable text form of a program: ports, constants by digest, buffers by place, steps,
//! then every kernel once.

use super::{Arg, Initial, Place, Port, Program, Step};
use crate::kernel::{self, Kernel, Stmt};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::sync::Arc;

/// Prints a program. Kernels are numbered in order of first use; equal ones share a number.
pub fn print(program: &Program) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "program {}", program.name);
    let _ = writeln!(out, "  arena {} bytes, lower bound {}", program.arena, program.arena_lower_bound);
    for (what, ports) in [("in", &program.inputs), ("out", &program.outputs)] {
        for (i, port) in ports.iter().enumerate() {
            let _ = writeln!(out, "  {what} {i} {}", self::port(port));
        }
    }
    for (i, c) in program.constants.iter().enumerate() {
        let len = c.bytes.len() / c.dtype.size();
        let _ = writeln!(out, "  c{i} {}: {}[{len}] align {} {}", c.name, c.dtype, c.align, digest(&c.bytes));
    }
    for (i, b) in program.buffers.iter().enumerate() {
        let place = match b.place {
            Place::Arena(at) => format!("arena {at}"),
            Place::State(at) => format!("state {at}"),
        };
        let _ = write!(out, "  b{i} {}: {}[{}] at {place}", b.name, b.elem, b.len);
        if let Some(h) = &b.holds {
            let _ = write!(out, " holds %{} {} strides {}", h.value, dims(&h.shape), dims(&h.strides));
            affine(h.affine, &mut out);
        }
        out.push('\n');
    }
    for s in &program.states {
        let init = match s.init {
            Initial::Bytes(byte) => format!("bytes {byte}"),
            Initial::Constant(c) => format!("c{}", c.0),
        };
        let _ = writeln!(out, "  state b{} = {init}, next %{}", s.buffer.0, s.next);
    }
    let kernels = kernels(program);
    for entry in &program.entries {
        let _ = writeln!(out, "entry {}", entry.name);
        for s in &entry.steps {
            let _ = writeln!(out, "  {}", step(program, &kernels, s));
        }
    }
    for (i, k) in kernels.iter().enumerate() {
        let _ = write!(out, "k{i} {}", kernel::print(k));
    }
    out
}

fn step(program: &Program, kernels: &[Arc<Kernel>], s: &Step) -> String {
    let n = kernels.iter().position(|k| *k == s.kernel).unwrap_or(usize::MAX);
    let from = |offset: usize| if offset == 0 { String::new() } else { format!("+{offset}") };
    let args: Vec<String> = s
        .args
        .iter()
        .map(|a| match a {
            Arg::Buffer { buffer, offset } => format!("b{}{}", buffer.0, from(*offset)),
            Arg::Constant { constant, offset } => format!("c{}{}", constant.0, from(*offset)),
            Arg::Scalar(v) => v.to_string(),
        })
        .collect();
    let layer = program.layers.get(s.layer).map_or("?", |l| l.name.as_str());
    format!("k{n} {}({})  # {layer}", s.kernel.name, args.join(", "))
}

/// The different kernels of a program, callees before their callers, in order of first use.
pub fn kernels(program: &Program) -> Vec<Arc<Kernel>> {
    fn add(k: &Arc<Kernel>, all: &mut Vec<Arc<Kernel>>) {
        if all.iter().any(|x| Arc::ptr_eq(x, k) || x == k) {
            return;
        }
        kernel::visit(&k.body, &mut |s| {
            if let Stmt::Call { kernel, .. } = s {
                add(kernel, all);
            }
        });
        all.push(k.clone());
    }
    let mut all = Vec::new();
    for s in program.entries.iter().flat_map(|e| &e.steps) {
        add(&s.kernel, &mut all);
    }
    all
}

fn port(p: &Port) -> String {
    let mut out = format!("%{}: {}{}", p.name, p.elem, dims(&p.shape));
    if p.real != p.elem {
        let _ = write!(out, " real {}", p.real);
    }
    affine(p.affine, &mut out);
    let _ = write!(out, " at arena {}", p.at);
    out
}

fn affine(a: Option<(f32, i32)>, out: &mut String) {
    if let Some((scale, zero)) = a {
        let _ = write!(out, " (scale {scale:e}, zero {zero})");
    }
}

fn dims(shape: &[usize]) -> String {
    let dims: Vec<String> = shape.iter().map(ToString::to_string).collect();
    format!("[{}]", dims.join("x"))
}

/// The first eight hexadecimal digits of SHA-256.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(4).map(|b| format!("{b:02x}")).collect()
}
