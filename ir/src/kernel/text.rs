//! The stable text form of a kernel, for `--dump-after`, errors and snapshot tests.
//!
//! Law: equal kernels print equally, and a reader can tell every type: integers are I32 unless
//! they end in `L`, floats have a point or an exponent.

use super::{Access, BinOp, CallArg, Expr, Kernel, ParamKind, Stmt, Ty, UnOp};
use std::fmt::Write;

/// Prints a kernel, one statement a line. Native text follows the body.
pub fn print(kernel: &Kernel) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "kernel {}", signature(kernel));
    block(kernel, &kernel.body, 1, &mut out);
    for native in &kernel.native {
        let _ = writeln!(out, "  native {} (stack {})", native.feature, native.stack);
        for line in native.text.lines() {
            let _ = writeln!(out, "    | {line}");
        }
    }
    out
}

fn signature(kernel: &Kernel) -> String {
    let params: Vec<String> = kernel
        .params
        .iter()
        .map(|p| match &p.kind {
            ParamKind::Buffer { elem, len, access } => {
                let access = match access {
                    Access::Read => "read",
                    Access::Write => "write",
                    Access::ReadWrite => "readwrite",
                };
                format!("{}: {access} {elem}[{len}]", p.name)
            }
            ParamKind::Scalar { lo, hi } => format!("{}: {lo}..={hi}", p.name),
        })
        .collect();
    format!("{}({})", kernel.name, params.join(", "))
}

fn block(kernel: &Kernel, body: &[Stmt], depth: usize, out: &mut String) {
    for s in body {
        let _ = writeln!(out, "{}{}", "  ".repeat(depth), head(kernel, s));
        match s {
            Stmt::For { body, .. } => block(kernel, body, depth + 1, out),
            Stmt::If { then, els, .. } => {
                block(kernel, then, depth + 1, out);
                if !els.is_empty() {
                    let _ = writeln!(out, "{}else", "  ".repeat(depth));
                    block(kernel, els, depth + 1, out);
                }
            }
            _ => {}
        }
    }
}

/// The first line of a statement: all of it but its blocks.
pub fn head(kernel: &Kernel, s: &Stmt) -> String {
    let e = |e: &Expr| expr(kernel, e);
    let var = |v: &super::VarId| kernel.vars.get(v.0 as usize).map_or("?", |v| v.name.as_str());
    match s {
        Stmt::For { var: v, lo, hi, step, .. } => {
            let by = if *step == 1 { String::new() } else { format!(" by {step}") };
            format!("for {} in {}..{}{by}", var(v), e(lo), e(hi))
        }
        Stmt::Let { var: v, value } => format!("let {} = {}", var(v), e(value)),
        Stmt::Var { var: v, value } => format!("var {} = {}", var(v), e(value)),
        Stmt::Assign { var: v, value } => format!("{} = {}", var(v), e(value)),
        Stmt::Store { buffer, index, value } => {
            format!("{}[{}] = {}", kernel.param_name(*buffer), e(index), e(value))
        }
        Stmt::If { cond, .. } => format!("if {}", e(cond)),
        Stmt::Call { kernel: callee, args } => {
            let args: Vec<String> = args
                .iter()
                .map(|a| match a {
                    CallArg::Slice { buffer, offset } => {
                        format!("{}[{}..]", kernel.param_name(*buffer), e(offset))
                    }
                    CallArg::Scalar(s) => e(s),
                })
                .collect();
            format!("{}({})", callee.name, args.join(", "))
        }
    }
}

/// Prints an expression with as few parentheses as the usual precedence allows.
pub fn expr(kernel: &Kernel, e: &Expr) -> String {
    prec(kernel, e, 0)
}

/// Bind strength of an infix operator; `None` for those printed as functions.
fn infix(op: BinOp) -> Option<(u8, &'static str)> {
    Some(match op {
        BinOp::Mul => (7, "*"),
        BinOp::Div => (7, "/"),
        BinOp::Rem => (7, "%"),
        BinOp::Add => (6, "+"),
        BinOp::Sub => (6, "-"),
        BinOp::Shl => (5, "<<"),
        BinOp::Shr => (5, ">>"),
        BinOp::And => (4, "&"),
        BinOp::Xor => (3, "^"),
        BinOp::Or => (2, "|"),
        BinOp::Lt => (1, "<"),
        BinOp::Le => (1, "<="),
        BinOp::Gt => (1, ">"),
        BinOp::Ge => (1, ">="),
        BinOp::Eq => (1, "=="),
        BinOp::Ne => (1, "!="),
        BinOp::Min | BinOp::Max => return None,
    })
}

fn prec(kernel: &Kernel, e: &Expr, outer: u8) -> String {
    let go = |e: &Expr| prec(kernel, e, 0);
    match e {
        Expr::Int(v, ty) => {
            let text = format!("{v}{}", if *ty == Ty::I64 { "L" } else { "" });
            if *v < 0 && outer > 0 { format!("({text})") } else { text }
        }
        Expr::Float(x) => format!("{:?}", x.get()),
        Expr::Var(v) => kernel.vars.get(v.0 as usize).map_or("?".into(), |v| v.name.clone()),
        Expr::Param(p) => kernel.param_name(*p).to_string(),
        Expr::Load { buffer, index } => format!("{}[{}]", kernel.param_name(*buffer), go(index)),
        Expr::Unary(op, a) => {
            let name = match op {
                UnOp::Neg => "neg",
                UnOp::Abs => "abs",
                UnOp::Sqrt => "sqrt",
                UnOp::Exp => "exp",
                UnOp::Log => "log",
                UnOp::Tanh => "tanh",
                UnOp::Sigmoid => "sigmoid",
                UnOp::Floor => "floor",
                UnOp::Round => "round",
                UnOp::Order => "order",
            };
            format!("{name}({})", go(a))
        }
        Expr::Binary(op, a, b) => match infix(*op) {
            Some((p, sign)) => {
                let text = format!("{} {sign} {}", prec(kernel, a, p), prec(kernel, b, p + 1));
                if p < outer { format!("({text})") } else { text }
            }
            None => {
                let name = if *op == BinOp::Min { "min" } else { "max" };
                format!("{name}({}, {})", go(a), go(b))
            }
        },
        Expr::Cast(to, a) => {
            let name = match to {
                Ty::I32 => "i32",
                Ty::I64 => "i64",
                Ty::F32 => "f32",
            };
            format!("{name}({})", go(a))
        }
        Expr::Select(c, a, b) => format!("select({}, {}, {})", go(c), go(a), go(b)),
        Expr::Call(instr, args) => {
            let args: Vec<String> = args.iter().map(go).collect();
            format!("{}({})", instr.name, args.join(", "))
        }
    }
}
