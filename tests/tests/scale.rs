//! Work that must grow with the size of a program, and not with its square.

use secateur_compiler::emit::{self, EmitOptions};
use secateur_compiler::kernel::{Expr, Kernel, Stmt, Ty, Var, VarId};
use secateur_compiler::program::{Entry, Program, Step};
use std::sync::Arc;

/// A program of steps that each run a kernel of their own, all of the same name.
fn program(steps: i32) -> Program {
    let kernel = |n| Kernel {
        name: "scale".into(),
        params: Vec::new(),
        vars: vec![Var { name: "x".into(), ty: Ty::I32 }],
        body: vec![Stmt::Let { var: VarId(0), value: Expr::Int(n, Ty::I32) }],
        native: Vec::new(),
    };
    let steps = (0..steps).map(|n| Step { layer: 0, kernel: Arc::new(kernel(n.into())), args: Vec::new() });
    Program {
        name: "net".into(),
        entries: vec![Entry { name: "run".into(), steps: steps.collect() }],
        arena: 8,
        ..Program::default()
    }
}

/// Processor time of this thread: the machine may be busy with other things.
#[cfg(unix)]
fn seconds() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).tv_sec
}

#[cfg(unix)]
#[test]
fn twenty_thousand_kernels_are_emitted_in_seconds() {
    let before = seconds();
    let program = program(20_000);
    let c = emit::c::emit(&program, &EmitOptions::default()).unwrap();
    let rust = emit::rust::emit(&program, &EmitOptions::default()).unwrap();
    assert!(c[0].text.contains("net_scale_20000(") && rust[0].text.contains("scale_20000("));
    let took = seconds() - before;
    assert!(took < 20, "{took} s");
}
