//! What surrounds the calls of emitted Rust: what it says of itself in its docs, and the traits that its struct has.
//!
//! In: the ports of a module. Out: doc comments, and `impl`s of `secateur::Model` and of the standard traits. Law: every
//! public item has docs, and a name out of a model stands in them as code, where nothing of it is markup.

use super::module::{Module, printable};
use super::names::type_name;
use super::rust::{Cx, element};
use super::rust_expr::float_literal;
use crate::error::Result;
use crate::program::Port;
use crate::tensor::DType;
use std::fmt::Write;

/// A name as code in docs.
pub(super) fn code(name: &str) -> String {
    format!("`{}`", printable(name).replace('`', "'"))
}

/// Type, shape and worth of a port's elements.
pub(super) fn stored(port: &Port) -> String {
    let worth = port.affine.map(|(scale, zero_point)| match zero_point {
        0 => format!(", worth `{scale:?} * stored` each"),
        ..0 => format!(", worth `{scale:?} * (stored + {})` each", zero_point.unsigned_abs()),
        1.. => format!(", worth `{scale:?} * (stored - {zero_point})` each"),
    });
    let held = port.held().map(|held| format!("; {held}"));
    let (worth, held) = (worth.unwrap_or_default(), held.unwrap_or_default());
    format!("`{}` in the shape `{:?}`{worth}{held}", port.elem.name(), port.shape)
}

/// The lines of a struct's docs.
pub(super) fn described(o: &mut String, module: &Module<'_>) -> Result<()> {
    let program = module.program;
    let _ = writeln!(
        o,
        "\n/// One instance of the model {}; instances are independent of each other.\n///",
        code(&program.name)
    );
    for (what, ports) in [("input", &program.inputs), ("output", &program.outputs)] {
        for port in ports {
            let _ = writeln!(o, "/// - {what} {}: {}", code(&port.name), stored(port));
        }
    }
    for (port, _, state) in module.kept()? {
        let (name, next) = (code(&port.name), code(&state.next));
        let _ = writeln!(o, "/// - state {name}, the next of which is {next}: {}", stored(&port));
    }
    Ok(())
}

/// A tuple of some; one stands alone.
fn tuple(parts: &[String]) -> String {
    match parts {
        [one] => one.clone(),
        parts => format!("({})", parts.join(", ")),
    }
}

fn element_type(elem: DType) -> &'static str {
    match elem {
        DType::Bool => "Bool",
        DType::I8 => "I8",
        DType::U8 => "U8",
        DType::I16 => "I16",
        DType::U16 => "U16",
        DType::I32 => "I32",
        DType::U32 => "U32",
        DType::I64 => "I64",
        DType::U64 => "U64",
        DType::F32 => "F32",
    }
}

/// A port as a constant.
fn constant(port: &Port) -> String {
    let affine = match port.affine {
        None => "::core::option::Option::None".to_owned(),
        Some((scale, zero_point)) => format!(
            "::core::option::Option::Some(::secateur::Affine {{ scale: {}, zero_point: {zero_point} }})",
            float_literal(scale)
        ),
    };
    format!(
        "::secateur::Port {{ name: \"{}\", shape: &{:?}, element: ::secateur::ElementType::{}, affine: {affine} }}",
        port.name.escape_default(),
        port.shape,
        element_type(port.elem)
    )
}

impl Cx<'_> {
    /// Sizes, as constants of the struct.
    pub(super) fn sizes(&self, o: &mut String) {
        let module = self.module;
        let option = "::core::option::Option";
        let (arena, state) = match module.program.shares_arena {
            true => (
                "Bytes that a run needs of the arena that models share.",
                "Bytes that an instance keeps between runs, apart from the arena.",
            ),
            false => ("Bytes of working memory in each instance.", "Bytes of it that are kept between runs."),
        };
        let predicted =
            self.predicted.map_or(format!("{option}::None"), |bytes| format!("{option}::Some({bytes})"));
        let sizes = [
            (arena, "ARENA_BYTES: usize", module.arena_bytes().to_string()),
            (state, "STATE_BYTES: usize", module.state_bytes().to_string()),
            ("Bytes of constants in flash.", "WEIGHTS_BYTES: usize", module.weight_bytes().to_string()),
            (
                "Bytes of machine code on the chip, as predicted; `None` where nothing is known of its core.",
                "CODE_BYTES: ::core::option::Option<usize>",
                predicted,
            ),
            (
                "Bytes of stack that a native kernel takes at most; the code around them is not counted.",
                "KERNEL_STACK_BYTES: usize",
                module.kernel_stack().to_string(),
            ),
        ];
        for (says, name, value) in sizes {
            let _ = writeln!(o, "    /// {says}\n    pub const {name} = {value};");
        }
    }

    /// The struct's field, and the constant that says its bytes.
    pub(super) fn own_memory(&self) -> (&'static str, &'static str) {
        if self.module.program.shares_arena { ("state", "STATE_BYTES") } else { ("arena", "ARENA_BYTES") }
    }

    /// What lends a shared arena to the model.
    pub(super) fn on(&self, o: &mut String) {
        let ty = type_name(&self.module.program.name);
        let _ = writeln!(
            o,
            "\n    /// The model with the arena to run in, which models share that run one after the other. One of fewer\n    \
             /// bytes than `ARENA_BYTES` is an error of the build.\n    #[inline]\n    \
             pub fn on<'a, const BYTES: usize>(&'a mut self, arena: &'a mut ::secateur::Arena<BYTES>) -> {ty}Runner<'a> {{\n        \
             {ty}Runner {{ model: self, arena: arena.lend::<{{ {ty}::ARENA_BYTES }}>() }}\n    }}"
        );
    }

    /// The struct of a model with its arena, and the head of its methods.
    pub(super) fn runner(&self, o: &mut String) {
        let ty = type_name(&self.module.program.name);
        // Only runs that touch a state read it.
        let _ = writeln!(
            o,
            "\n/// The model {} with the arena that it was lent, by [`{ty}::on`]: to be filled, run and read.\n\
             pub struct {ty}Runner<'a> {{\n    #[allow(dead_code)]\n    model: &'a mut {ty},\n    arena: &'a mut [u8],\n}}\n\n\
             impl ::core::fmt::Debug for {ty}Runner<'_> {{\n    \
             fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{\n        \
             f.debug_struct(\"{ty}Runner\").finish_non_exhaustive()\n    }}\n}}\n\n\
             #[allow(dead_code)]\nimpl {ty}Runner<'_> {{",
            code(&self.module.program.name)
        );
    }

    /// The traits that the struct has.
    pub(super) fn traits(&self, o: &mut String) {
        let (module, program) = (self.module, self.module.program);
        let ty = type_name(&program.name);
        // Who runs it, and where the constants of that are.
        let (runs, own, shares) = match program.shares_arena {
            true => (format!("{ty}Runner<'_>"), ty.as_str(), true),
            false => (ty.clone(), "Self", false),
        };
        let kinds = |ports: &[Port], mutable: &str| {
            let each = ports.iter().map(|p| format!("&'a {mutable}[{}; {}]", p.elem.name(), p.len()));
            tuple(&each.collect::<Vec<_>>())
        };
        let ports = |ports: &[Port]| {
            let each: Vec<String> = ports.iter().map(|p| format!("\n        {},", constant(p))).collect();
            if each.is_empty() { "&[]".to_owned() } else { format!("&[{}\n    ]", each.concat()) }
        };
        let named = |prefix: &str, idents: &[String]| -> Vec<String> {
            idents.iter().map(|ident| format!("{prefix}_{ident}")).collect()
        };
        let (inputs, outputs) = (named("in", &module.inputs), named("out", &module.outputs));
        let mut args = vec!["self".to_owned()];
        args.extend(inputs.iter().chain(&outputs).cloned());
        let _ = writeln!(
            o,
            "\nimpl ::secateur::Model for {runs} {{\n    type Inputs<'a> = {};\n    type Outputs<'a> = {};\n    \
             const NAME: &'static str = \"{}\";\n    const SHARES_ARENA: bool = {shares};\n    const ARENA_BYTES: usize = {own}::ARENA_BYTES;\n    \
             const STATE_BYTES: usize = {own}::STATE_BYTES;\n    const WEIGHTS_BYTES: usize = {own}::WEIGHTS_BYTES;\n    \
             const CODE_BYTES: ::core::option::Option<usize> = {own}::CODE_BYTES;\n    \
             const KERNEL_STACK_BYTES: usize = {own}::KERNEL_STACK_BYTES;\n    \
             const INPUTS: &'static [::secateur::Port] = {};\n    const OUTPUTS: &'static [::secateur::Port] = {};\n    \
             #[inline]\n    fn run(&mut self, {}: Self::Inputs<'_>, {}: Self::Outputs<'_>) {{\n        \
             Self::run({})\n    }}\n    #[inline]\n    fn run_in_place(&mut self) {{\n        Self::run_in_place(self)\n    }}\n    \
             #[inline]\n    fn reset(&mut self) {{{}}}\n}}",
            kinds(&program.inputs, ""),
            kinds(&program.outputs, "mut "),
            program.name.escape_default(),
            ports(&program.inputs),
            ports(&program.outputs),
            tuple(&inputs),
            tuple(&outputs),
            args.join(", "),
            match (program.states.is_empty(), program.shares_arena) {
                (true, _) => "",
                (false, false) => "\n        Self::reset(self)\n    ",
                (false, true) => "\n        self.model.reset()\n    ",
            },
        );
        let _ = writeln!(
            o,
            "\nimpl ::core::default::Default for {ty} {{\n    fn default() -> Self {{\n        Self::new()\n    }}\n}}\n\n\
             // Without the bytes of the arena.\nimpl ::core::fmt::Debug for {ty} {{\n    \
             fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{\n        \
             f.debug_struct(\"{ty}\").finish_non_exhaustive()\n    }}\n}}"
        );
    }

    /// What the arguments of `run` are, as lines of its docs.
    pub(super) fn arguments(&self, o: &mut String) {
        let (module, program) = (self.module, self.module.program);
        o.push_str(
            "\n    /// One inference. Arrays are row-major, and are copied to and from those inside the instance.\n    ///\n",
        );
        for (port, ident) in program.inputs.iter().zip(&module.inputs) {
            let _ = writeln!(o, "    /// - `in_{ident}`: {}", stored(port));
        }
        for (port, ident) in program.outputs.iter().zip(&module.outputs) {
            let _ = writeln!(o, "    /// - `out_{ident}`: {}", stored(port));
        }
    }
}

/// Accessors of an input and of an output inside the arena.
pub(super) fn input_slot(o: &mut String, port: &Port, ident: &str, at: usize) {
    let (n, ty) = (port.len(), port.elem.name());
    let _ = writeln!(
        o,
        "\n    /// The input {} inside the instance: to be filled before each `run_in_place`, which\n    \
         /// may overwrite it.\n    ///\n    /// Row-major: {}.",
        code(&port.name),
        stored(port)
    );
    // What else stood there may be no `bool`.
    let (more, clear) = if port.elem == DType::Bool {
        ("    /// All of it is `false` at first.\n", format!("slot.write_bytes(0, {n});\n            "))
    } else {
        ("", String::new())
    };
    let _ = writeln!(
        o,
        "{more}    pub fn {ident}_mut(&mut self) -> &mut [{ty}; {n}] {{\n        \
         // SAFETY: inside the arena, aligned, and every bit pattern there is a value.\n        unsafe {{\n            \
         let slot = self.arena.as_mut_ptr().cast::<u8>().add({at});\n            {clear}&mut *slot.cast()\n        }}\n    }}"
    );
}

pub(super) fn output_slot(o: &mut String, port: &Port, ident: &str, at: usize) {
    let (n, ty) = (port.len(), element(port.elem));
    let _ = writeln!(
        o,
        "\n    /// The output {} inside the instance, as the last run left it.{}\n    ///\n    /// Row-major: {}.\n    \
         pub fn {ident}(&self) -> &[{ty}; {n}] {{\n        \
         // SAFETY: inside the arena, aligned, and every bit pattern there is a value.\n        \
         unsafe {{ &*self.arena.as_ptr().cast::<u8>().add({at}).cast() }}\n    }}",
        code(&port.name),
        if port.elem == DType::Bool { " Bytes of 0 and 1." } else { "" },
        stored(port)
    );
}
