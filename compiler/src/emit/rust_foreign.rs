//! Emitted C, seen from Rust: the struct of emitted Rust, whose runs are those of the C.
//!
//! In: the program that the C was printed from. Out: a module of Rust that links with it. Law: the interface is the text
//! of the Rust printer; only what `run_in_place` does differs, and of the constants those alone are here that `new` puts
//! into an instance.

use super::EmitOptions;
use super::module::{Module, banner, printable};
use super::names::base_name;
use super::rust::{Cx, element};
use super::section::rust_attribute;
use crate::error::Result;
use crate::program::{Initial, Program};
use std::fmt::Write;

/// The module's text.
///
/// Errors: a program that has no entry `run`, or is not consistent.
pub fn wrapper_text(program: &Program, options: &EmitOptions) -> Result<String> {
    let module = Module::new(program, options)?;
    let (counts, core) = (options.counts.as_slice(), printable(&options.core));
    let predicted = options.predicted_code;
    let section = rust_attribute(options.section.as_deref());
    let cx = Cx { module: &module, marks: false, core, counts, section, predicted, foreign: true };
    let mut o = String::new();
    for line in banner(program, options, "Rust interface of the C") {
        let _ = writeln!(o, "// {line}");
    }
    let _ = writeln!(
        o,
        "\nconst _: () = assert!(::secateur::ABI == {}, \"the crate `secateur` does not fit this generated code: compile the model again\");",
        secateur_runtime::ABI
    );
    o.push_str("const _: () = assert!(cfg!(target_endian = \"little\"), \"the weights of this generated code are little-endian\");\n");
    cx.interface(&mut o)?;
    cx.weights(&mut o);
    Ok(o)
}

impl Cx<'_> {
    /// Whether a constant is among those of the module's text.
    pub(super) fn holds(&self, constant: usize) -> bool {
        let begins = |init: &Initial| matches!(init, Initial::Constant(id) if id.0 as usize == constant);
        let used = self.module.constants.get(constant).is_some_and(Option::is_some);
        used && (!self.foreign || self.module.program.states.iter().any(|state| begins(&state.init)))
    }

    /// The body of `run_in_place`: the C, on the inputs and outputs inside the instance.
    pub(super) fn call(&self, o: &mut String) {
        let (module, program) = (self.module, self.module.program);
        let name = base_name(&program.name);
        let (mut params, mut args) = (Vec::new(), Vec::new());
        let mut state = "";
        if program.states_apart() {
            params.push("state: *mut u64".to_owned());
            args.push("state.cast()".to_owned());
            state = "let state = self.model.state.as_mut_ptr().cast::<u8>();\n        ";
        }
        params.push("arena: *mut u64".to_owned());
        args.push("arena.cast()".to_owned());
        for (port, ident) in program.inputs.iter().zip(&module.inputs) {
            params.push(format!("in_{ident}: *const {}", element(port.elem)));
            args.push(format!("arena.add({}).cast()", module.spot(port.at).1));
        }
        for (port, ident) in program.outputs.iter().zip(&module.outputs) {
            params.push(format!("out_{ident}: *mut {}", element(port.elem)));
            args.push(format!("arena.add({}).cast()", module.spot(port.at).1));
        }
        let _ = writeln!(
            o,
            "        unsafe extern \"C\" {{\n            fn {name}_run({});\n        }}\n        \
             {state}let arena = self.arena.as_mut_ptr().cast::<u8>();\n        \
             // SAFETY: an arena as the C has it, aligned and long enough, with its ports in their places.\n        \
             unsafe {{ {name}_run({}) }};",
            params.join(", "),
            args.join(", ")
        );
    }
}
