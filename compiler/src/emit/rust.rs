//! Program -> Rust: one module that depends on the crate `secateur` alone, or a small crate
//! around it.
//!
//! Law: no allocation, no float where the program has none, and no panic path: integers wrap,
//! indices are the ones proven on the program, division goes through the runtime. `unsafe` stands
//! where views are made and where instruction blocks are called. The macro gives this same text.

use super::architecture::wrapping;
use super::module::{Item, Module, banner, layer_comment, printable};
use super::names::{rust_module, type_name};
use super::needs::Need;
use super::range::Ranges;
use super::rust_border::{border_helper, port_constants, state_accessors};
use super::rust_expr::{byte_string, literal};
use super::rust_model::{described, input_slot, output_slot};
use super::section::rust_attribute;
use super::{EmitOptions, counts};
use crate::counts::Counts;
use crate::emit::File;
use crate::error::{Error, Result, Site};
use crate::kernel::{Access, CallArg, Expr, Instr, Native, ParamKind, Stmt, Ty};
use crate::options::Layout;
use crate::program::{Arg, Initial, Program, Step};
use crate::tensor::DType;
use std::fmt::Write;

/// Bools are bytes inside kernels: every bit pattern of a byte is a value.
pub(super) fn element(elem: DType) -> &'static str {
    match elem {
        DType::Bool => "u8",
        other => other.name(),
    }
}

pub(super) fn scalar_type(ty: Ty) -> &'static str {
    match ty {
        Ty::I32 => "i32",
        Ty::I64 => "i64",
        Ty::F32 => "f32",
    }
}

/// Prints a program as Rust.
pub fn emit(program: &Program, options: &EmitOptions) -> Result<Vec<File>> {
    let name = rust_module(&program.name);
    let text = module_text(program, options)?;
    if options.layout != Layout::Cargo {
        return Ok(vec![File { path: format!("{name}.rs"), text }]);
    }
    let manifest = format!(
        "# {}\n[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n\
         secateur = {{ version = \"{}\", default-features = false }}\n",
        banner(program, options, "Manifest")[0],
        env!("CARGO_PKG_VERSION")
    );
    let about = &banner(program, options, "Rust implementation")[0];
    let (head, body) = text.split_at(text.find("\n\n").map_or(0, |i| i + 1));
    Ok(vec![
        File { path: "Cargo.toml".to_string(), text: manifest },
        File { path: "src/lib.rs".to_string(), text: format!("{head}\n//! {about}\n#![no_std]\n{body}") },
    ])
}

/// The module's text; also what the macro expands to.
pub fn module_text(program: &Program, options: &EmitOptions) -> Result<String> {
    let module = Module::new(program, options)?;
    let (counts, core) = (options.counts.as_slice(), printable(&options.core));
    let (marks, predicted) = (options.marks, options.predicted_code);
    let section = rust_attribute(options.section.as_deref());
    let cx = Cx { module: &module, marks, core, counts, section, predicted, foreign: false };
    let mut o = String::new();
    for line in banner(program, options, "Rust implementation") {
        let _ = writeln!(o, "// {line}");
    }
    o.push_str(
        "// It holds `unsafe` blocks: a crate with `#![forbid(unsafe_code)]` takes it as a crate of its own\n\
         // (`secateur compile --layout cargo`).\n",
    );
    let _ = writeln!(
        o,
        "\nconst _: () = assert!(::secateur::ABI == {}, \"the crate `secateur` does not fit this generated code: compile the model again\");",
        secateur_runtime::ABI
    );
    o.push_str("const _: () = assert!(cfg!(target_endian = \"little\"), \"the weights of this generated code are little-endian\");\n");
    for feature in module.features() {
        let _ = writeln!(
            o,
            "#[cfg(all(target_os = \"none\", {}))]\ncompile_error!(\"`{}` was compiled for {} ({}), and this build is for \
             another processor: compile the model again for this one\");",
            wrapping(feature).rust_wrong,
            printable(&program.name),
            printable(&options.target),
            printable(&options.core)
        );
    }
    if options.marks {
        o.push_str("\nunsafe extern \"C\" {\n    safe fn secateur_layer();\n}\n");
    }
    cx.interface(&mut o)?;
    cx.weights(&mut o);
    cx.kernels(&mut o)?;
    Ok(o)
}

pub(super) struct Cx<'a> {
    pub(super) module: &'a Module<'a>,
    pub(super) marks: bool,
    pub(super) core: String,
    pub(super) counts: &'a [Counts],
    /// The line before each constant.
    pub(super) section: String,
    /// Bytes of machine code, as predicted.
    pub(super) predicted: Option<usize>,
    /// Whether the runs are those of emitted C.
    pub(super) foreign: bool,
}

/// Names and types inside one function: a kernel's, or an instruction's.
pub(super) struct Scope<'a> {
    pub(super) params: &'a [String],
    pub(super) vars: &'a [String],
    pub(super) ranges: &'a Ranges,
}

impl Cx<'_> {
    pub(super) fn interface(&self, o: &mut String) -> Result<()> {
        let (module, program) = (self.module, self.module.program);
        let ty = type_name(&program.name);
        described(o, module)?;
        let (field, bytes) = self.own_memory();
        // Of a model without states.
        let unread = if program.shares_arena { "    #[allow(dead_code)]\n" } else { "" };
        let _ = writeln!(
            o,
            "#[derive(Clone)]\npub struct {ty} {{\n{unread}    {field}: ::secateur::Aligned<u64, [u8; {ty}::{bytes}]>,\n}}\n\n\
             // An interface: nobody uses all of it, and its names are those of the model.\n#[allow(dead_code)]\nimpl {ty} {{"
        );
        self.sizes(o);
        for (what, ports, names) in
            [("input", &program.inputs, &module.inputs), ("output", &program.outputs, &module.outputs)]
        {
            for (port, ident) in ports.iter().zip(names) {
                port_constants(o, what, port, &ident.to_ascii_uppercase());
            }
        }
        for (port, ident, _) in module.kept()? {
            port_constants(o, "state", &port, &ident.to_ascii_uppercase());
        }
        self.constructor(o)?;
        if program.shares_arena {
            self.on(o);
        } else {
            self.slots(o);
        }
        for (port, ident, state) in module.kept()? {
            state_accessors(o, &port, ident, &state.next, field);
        }
        if !program.shares_arena {
            self.run(o)?;
        }
        for (port, ident) in program.inputs.iter().zip(&module.inputs) {
            border_helper(o, port, ident, true);
        }
        counts::rust(o, self.counts, program, &module.inputs);
        for (port, ident) in program.outputs.iter().zip(&module.outputs) {
            border_helper(o, port, ident, false);
        }
        o.push_str("}\n");
        if program.shares_arena {
            self.runner(o);
            self.slots(o);
            self.run(o)?;
            o.push_str("}\n");
        }
        self.traits(o);
        Ok(())
    }

    fn constructor(&self, o: &mut String) -> Result<()> {
        let program = self.module.program;
        o.push_str(
            "\n    /// An instance ready to run; usable in a `static`.\n    pub const fn new() -> Self {\n        ",
        );
        let (field, bytes) = self.own_memory();
        if program.states.is_empty() {
            let _ = writeln!(o, "Self {{ {field}: ::secateur::Aligned::new([0; Self::{bytes}]) }}\n    }}");
            return Ok(());
        }
        let _ = writeln!(
            o,
            "let mut model = Self {{ {field}: ::secateur::Aligned::new([0; Self::{bytes}]) }};\n        model.reset();\n        \
             model\n    }}\n\n    /// Sets what is kept between runs to its initial value, to start over.\n    \
             pub const fn reset(&mut self) {{\n        let {field} = self.{field}.as_mut_ptr().cast::<u8>();"
        );
        for (port, _, state) in self.module.kept()? {
            let (at, bytes) = (port.at, port.bytes());
            let _ = match state.init {
                Initial::Bytes(byte) => writeln!(
                    o,
                    "        // SAFETY: {bytes} bytes of the arena that are a state's alone.\n        \
                     unsafe {{ {field}.add({at}).write_bytes({byte}, {bytes}) }};"
                ),
                Initial::Constant(id) => writeln!(
                    o,
                    "        // SAFETY: {bytes} bytes of a constant go to their own place in the arena.\n        \
                     unsafe {{ weights::{}.as_ptr().cast::<u8>().copy_to_nonoverlapping({field}.add({at}), {bytes}) }};",
                    self.constant(id.0 as usize)
                ),
            };
        }
        o.push_str("    }\n");
        Ok(())
    }

    fn constant(&self, index: usize) -> String {
        self.module.constants[index].as_deref().unwrap_or("?").to_ascii_uppercase()
    }

    /// Accessors of the inputs and outputs inside the arena.
    fn slots(&self, o: &mut String) {
        let (module, program) = (self.module, self.module.program);
        for (port, ident) in program.inputs.iter().zip(&module.inputs) {
            input_slot(o, port, ident, module.spot(port.at).1);
        }
        for (port, ident) in program.outputs.iter().zip(&module.outputs) {
            output_slot(o, port, ident, module.spot(port.at).1);
        }
    }

    fn run(&self, o: &mut String) -> Result<()> {
        let (module, program) = (self.module, self.module.program);
        let mut args = vec!["&mut self".to_string()];
        let (mut before, mut after) = (String::new(), String::new());
        for (port, ident) in program.inputs.iter().zip(&module.inputs) {
            args.push(format!("in_{ident}: &[{}; {}]", port.elem.name(), port.len()));
            let _ = writeln!(before, "        *self.{ident}_mut() = *in_{ident};");
        }
        for (port, ident) in program.outputs.iter().zip(&module.outputs) {
            args.push(format!("out_{ident}: &mut [{}; {}]", port.elem.name(), port.len()));
            let _ = if port.elem == DType::Bool {
                writeln!(
                    after,
                    "        for (to, from) in out_{ident}.iter_mut().zip(self.{ident}()) {{\n            \
                     *to = *from != 0;\n        }}"
                )
            } else {
                writeln!(after, "        *out_{ident} = *self.{ident}();")
            };
        }
        self.arguments(o);
        let _ = writeln!(
            o,
            "    #[allow(clippy::too_many_arguments)] // one argument a port\n    \
             pub fn run({}) {{\n{before}        self.run_in_place();\n{after}    }}",
            args.join(", ")
        );
        o.push_str("\n    /// One inference on the inputs and outputs inside the instance: nothing is copied.\n    pub fn run_in_place(&mut self) {\n");
        if self.foreign {
            self.call(o);
            o.push_str("    }\n");
            return Ok(());
        }
        let mut calls = String::new();
        let mut last = None;
        for step in &module.run.steps {
            if let Some(layer) = layer_comment(program, step, &mut last) {
                let _ = writeln!(calls, "        // {layer}");
                if self.marks {
                    calls.push_str("        secateur_layer();\n");
                }
            }
            let item = module.item(&step.kernel)?;
            let args = self.step_args(step)?;
            let views = args.iter().any(|a| a.contains("::new("));
            let (head, args) = (format!("kernels::{}", item.name), args.join(",\n                "));
            let _ = if views {
                writeln!(
                    calls,
                    "        // SAFETY: places, lengths and alignments are the schedule's; indices were proven.\n        \
                     unsafe {{\n            {head}(\n                {args},\n            )\n        }};"
                )
            } else {
                writeln!(calls, "        {head}({args});")
            };
        }
        for feature in module.features() {
            let around = wrapping(feature);
            if let Some(check) = around.check {
                let _ = writeln!(
                    o,
                    "        debug_assert!(::secateur::{check}(), \"`{}` was compiled for {}, this processor has no {}\");",
                    printable(&program.name),
                    self.core,
                    around.lacks
                );
            }
        }
        if calls.contains("arena.add(") {
            o.push_str("        let arena = self.arena.as_mut_ptr().cast::<u8>();\n");
        }
        if calls.contains("state.add(") {
            o.push_str("        let state = self.model.state.as_mut_ptr().cast::<u8>();\n");
        }
        o.push_str(&calls);
        o.push_str("    }\n");
        Ok(())
    }

    fn step_args(&self, step: &Step) -> Result<Vec<String>> {
        let module = self.module;
        let site = || Site::Kernel(step.kernel.name.clone());
        if step.args.len() != step.kernel.params.len() {
            return Err(Error::internal(site(), "a step has another number of arguments than its kernel"));
        }
        let mut out = Vec::with_capacity(step.args.len());
        for (arg, param) in step.args.iter().zip(&step.kernel.params) {
            out.push(match (arg, &param.kind) {
                (Arg::Scalar(v), ParamKind::Scalar { .. }) => v.to_string(),
                (Arg::Buffer { buffer, offset }, ParamKind::Buffer { elem, len, access }) => {
                    let (at, own) = module.place(step, *buffer)?;
                    let view = if *access == Access::Read { "View" } else { "ViewMut" };
                    let (memory, at) = module.spot(at + offset * own.size());
                    format!("::secateur::{view}::new({memory}.add({at}).cast::<{}>(), {len})", element(*elem))
                }
                (Arg::Constant { constant, offset }, ParamKind::Buffer { elem, len, access: Access::Read }) => {
                    let own = module.program.constants[constant.0 as usize].dtype;
                    let add = if *offset == 0 { String::new() } else { format!(".add({})", offset * own.size()) };
                    let ident = self.constant(constant.0 as usize);
                    format!(
                        "::secateur::View::new(weights::{ident}.as_ptr().cast::<u8>(){add}.cast::<{}>(), {len})",
                        element(*elem)
                    )
                }
                _ => return Err(Error::internal(site(), format!("the argument for `{}` is of the wrong kind", param.name))),
            });
        }
        Ok(out)
    }

    pub(super) fn weights(&self, o: &mut String) {
        if !(0..self.module.constants.len()).any(|i| self.holds(i)) {
            return;
        }
        o.push_str("\n/// Constants: little-endian bytes, aligned for their type.\nmod weights {\n    use ::secateur::Aligned;\n");
        for (i, constant) in self.module.program.constants.iter().enumerate() {
            if !self.holds(i) {
                continue;
            }
            let align = match constant.align.max(constant.dtype.size()) {
                0 | 1 => "u8",
                2 => "u16",
                3 | 4 => "u32",
                _ => "u64",
            };
            let _ = writeln!(
                o,
                "    /// {} numbers of type {}.\n{}    pub(super) static {}: Aligned<{align}, [u8; {}]> = Aligned::new(*{});",
                constant.bytes.len() / constant.dtype.size().max(1),
                constant.dtype.name(),
                self.section,
                self.constant(i),
                constant.bytes.len(),
                byte_string(&constant.bytes)
            );
        }
        o.push_str("}\n");
    }

    fn kernels(&self, o: &mut String) -> Result<()> {
        if self.module.items.is_empty() {
            return Ok(());
        }
        o.push_str(
            "\n/// The loops of the model.\n// Generated expressions keep their parentheses, and arguments are what a kernel needs.\n\
             #[allow(unused_parens, clippy::all)]\nmod kernels {\n",
        );
        let mut body = String::new();
        // `ViewMut<` does not contain `View<`.
        let mut imports = ["View<", "ViewMut<", "math::"].map(|name| (name, Need::default()));
        let needs = &self.module.needs;
        for ((instr, ident), need) in self.module.instrs.iter().zip(&needs.instrs) {
            let mut text = String::new();
            self.instr(&mut text, instr, ident, need)?;
            note_imports(&mut imports, &text, need, need);
            body.push_str(&text);
        }
        for i in 0..self.module.items.len() {
            let mut text = String::new();
            self.kernel(&mut text, i)?;
            note_imports(&mut imports, &text, &needs.items[i], &needs.body(self.module, i));
            body.push_str(&text);
        }
        for (name, need) in &imports {
            if *need != Need::default() {
                let _ = writeln!(
                    o,
                    "{}    use ::secateur::{};",
                    attribute(need),
                    name.trim_end_matches(['<', ':'])
                );
            }
        }
        o.push_str(&body);
        o.push_str("}\n");
        Ok(())
    }

    fn instr(&self, o: &mut String, instr: &Instr, ident: &str, need: &Need) -> Result<()> {
        let ranges = self.module.instr_ranges(instr);
        let mut names = super::names::Namespace::locals();
        let vars: Vec<String> = instr.params.iter().map(|p| names.take(&p.name)).collect();
        let args: Vec<String> =
            instr.params.iter().zip(&vars).map(|(p, v)| format!("{v}: {}", scalar_type(p.ty))).collect();
        let _ = writeln!(
            o,
            "\n{}    #[inline(always)]\n    fn {ident}({}) -> {} {{\n        {}\n    }}",
            attribute(need),
            args.join(", "),
            scalar_type(instr.result),
            self.expr(&instr.body, &Scope { params: &[], vars: &vars, ranges: &ranges })?
        );
        Ok(())
    }

    fn kernel(&self, o: &mut String, index: usize) -> Result<()> {
        let (item, needs) = (&self.module.items[index], &self.module.needs);
        let args: Vec<String> = item
            .kernel
            .params
            .iter()
            .zip(&item.params)
            .map(|(p, ident)| match p.kind {
                ParamKind::Scalar { .. } => format!("{ident}: i32"),
                ParamKind::Buffer { elem, access: Access::Read, .. } => {
                    format!("{ident}: View<'_, {}>", element(elem))
                }
                ParamKind::Buffer { elem, .. } => format!("{ident}: ViewMut<'_, {}>", element(elem)),
            })
            .collect();
        let head = attribute(&needs.items[index]);
        let _ = writeln!(o, "\n{head}    pub(super) fn {}({}) {{", item.name, args.join(", "));
        let mut depth = 2;
        if let Some(native) = item.native {
            let used = needs.items[index].meets(&native.feature);
            if !used {
                // Nobody calls it where its native text could run.
                self.body(o, item, depth)?;
                o.push_str("    }\n");
                if item.shares.is_none() && needs.native(self.module, index) {
                    self.naked(o, item, native);
                }
                return Ok(());
            }
            self.native_call(o, item, native);
            let _ = writeln!(o, "        #[cfg(not({}))]\n        {{", wrapping(&native.feature).rust);
            depth = 3;
            self.body(o, item, depth)?;
            let _ = writeln!(o, "        }}\n    }}");
            if item.shares.is_none() {
                self.naked(o, item, native);
            }
            return Ok(());
        }
        self.body(o, item, depth)?;
        o.push_str("    }\n");
        Ok(())
    }

    fn body(&self, o: &mut String, item: &Item<'_>, depth: usize) -> Result<()> {
        for (i, ident) in item.params.iter().enumerate() {
            if !item.used_params.contains(&i) {
                let _ = writeln!(o, "{}let _ = {ident};", "    ".repeat(depth));
            }
        }
        let scope = Scope { params: &item.params, vars: &item.vars, ranges: &item.ranges };
        item.kernel.body.iter().try_for_each(|s| self.stmt(o, s, item, &scope, depth))
    }

    fn native_call(&self, o: &mut String, item: &Item<'_>, native: &Native) {
        let args: Vec<String> = item
            .kernel
            .params
            .iter()
            .zip(&item.params)
            .map(|(p, ident)| match p.kind {
                ParamKind::Scalar { .. } => ident.clone(),
                ParamKind::Buffer { access: Access::Read, .. } => format!("{ident}.as_ptr()"),
                ParamKind::Buffer { .. } => format!("{ident}.as_mut_ptr()"),
            })
            .collect();
        let _ = writeln!(
            o,
            "        // SAFETY: the block touches what the loops below touch, and keeps the calling convention.\n        \
             #[cfg({})]\n        unsafe {{\n            self::{}_block({})\n        }};",
            wrapping(&native.feature).rust,
            item.shares.map_or(&item.name, |other| &self.module.items[other].name),
            args.join(", ")
        );
    }

    /// The instruction block as a naked function.
    fn naked(&self, o: &mut String, item: &Item<'_>, native: &Native) {
        let around = wrapping(&native.feature);
        let args: Vec<String> = item
            .kernel
            .params
            .iter()
            .zip(&item.params)
            .map(|(p, ident)| match p.kind {
                ParamKind::Scalar { .. } => format!("{ident}: i32"),
                ParamKind::Buffer { elem, access: Access::Read, .. } => {
                    format!("{ident}: *const {}", element(elem))
                }
                ParamKind::Buffer { elem, .. } => format!("{ident}: *mut {}", element(elem)),
            })
            .collect();
        let _ = writeln!(
            o,
            "\n    /// Instruction block for cores with `{}`.\n    #[cfg({})]\n    #[unsafe(naked)]\n    \
             unsafe extern \"C\" fn {}_block({}) {{\n        ::core::arch::naked_asm!(",
            printable(&native.feature),
            around.rust,
            item.name,
            args.join(", ")
        );
        let lines = around
            .rust_open
            .iter()
            .chain(around.open)
            .copied()
            .chain(native.text.lines())
            .chain(around.close.iter().copied());
        for line in lines.filter(|l| !l.trim().is_empty()) {
            // The text is a format string: braces of register lists are doubled.
            let line = line.trim_end().replace('{', "{{").replace('}', "}}");
            let _ = writeln!(o, "            {line:?},");
        }
        o.push_str("        )\n    }\n");
    }

    fn stmt(&self, o: &mut String, s: &Stmt, item: &Item<'_>, scope: &Scope<'_>, depth: usize) -> Result<()> {
        let pad = "    ".repeat(depth);
        let block = |o: &mut String, body: &[Stmt]| {
            body.iter().try_for_each(|s| self.stmt(o, s, item, scope, depth + 1))
        };
        match s {
            Stmt::For { var, lo, hi, step, body } => {
                let v = &item.vars[var.0 as usize];
                let lo = self.expr(lo, scope)?;
                let mut changes = false;
                hi.visit(&mut |e| {
                    changes |= match e {
                        Expr::Load { .. } => true,
                        Expr::Var(v) => item.mutable.contains(v),
                        _ => false,
                    };
                });
                let mut hi = if literal(hi) { self.typed(hi, scope)? } else { self.atom(hi, scope)? };
                let _ = writeln!(o, "{pad}let mut {v} = {lo};");
                if changes {
                    let _ = writeln!(o, "{pad}let {v}_end = {hi};");
                    hi = format!("{v}_end");
                }
                let _ = writeln!(o, "{pad}while {v} < {hi} {{");
                block(o, body)?;
                let _ = writeln!(o, "{pad}    {v} = {v}.wrapping_add({step});\n{pad}}}");
            }
            Stmt::Let { var, value } | Stmt::Var { var, value } => {
                if !item.read.contains(var) {
                    return Ok(());
                }
                let mutable = if item.mutable.contains(var) { "mut " } else { "" };
                let ty = scalar_type(item.kernel.vars[var.0 as usize].ty);
                let value = self.expr(value, scope)?;
                let _ = writeln!(o, "{pad}let {mutable}{}: {ty} = {value};", item.vars[var.0 as usize]);
            }
            Stmt::Assign { var, value } => {
                if item.read.contains(var) {
                    let value = self.expr(value, scope)?;
                    let _ = writeln!(o, "{pad}{} = {value};", item.vars[var.0 as usize]);
                }
            }
            Stmt::Store { buffer, index, value } => {
                let elem = item.ranges.elems[buffer.0 as usize].unwrap_or(DType::I32);
                let value = match elem {
                    DType::I32 | DType::I64 | DType::F32 => self.expr(value, scope)?,
                    DType::Bool => format!("u8::from({} != 0)", self.atom(value, scope)?),
                    _ => format!("{} as {}", self.atom(value, scope)?, element(elem)),
                };
                let index = self.typed(index, scope)?;
                let _ = writeln!(o, "{pad}{}.set({index}, {value});", item.params[buffer.0 as usize]);
            }
            Stmt::If { cond, then, els } => {
                let _ = writeln!(o, "{pad}if {} {{", self.condition(cond, scope)?);
                block(o, then)?;
                if !els.is_empty() {
                    let _ = writeln!(o, "{pad}}} else {{");
                    block(o, els)?;
                }
                let _ = writeln!(o, "{pad}}}");
            }
            Stmt::Call { kernel, args } => {
                let callee = self.module.item(kernel)?;
                let mut texts = Vec::with_capacity(args.len());
                for (arg, param) in args.iter().zip(&callee.kernel.params) {
                    texts.push(match (arg, &param.kind) {
                        (CallArg::Scalar(e), _) => self.typed(e, scope)?,
                        (CallArg::Slice { buffer, offset }, ParamKind::Buffer { len, access, .. }) => {
                            let own = item.kernel.buffer(*buffer).map(|b| b.2);
                            let read = if *access == Access::Read && own != Some(Access::Read) {
                                ".read()"
                            } else {
                                ""
                            };
                            let ident = &item.params[buffer.0 as usize];
                            format!("{ident}{read}.slice({}, {len})", self.typed(offset, scope)?)
                        }
                        _ => {
                            return Err(Error::internal(
                                Site::Kernel(item.name.clone()),
                                "a call passes a buffer for a scalar",
                            ));
                        }
                    });
                }
                let _ = writeln!(o, "{pad}self::{}({});", callee.name, texts.join(", "));
            }
        }
        Ok(())
    }
}

/// The attribute of what not all builds use, on a line of its own.
fn attribute(need: &Need) -> String {
    need.rust().map_or_else(String::new, |condition| format!("    #[cfg({condition})]\n"))
}

/// Where a text needs an import: types stand in heads, functions in bodies.
fn note_imports(imports: &mut [(&str, Need)], text: &str, head: &Need, body: &Need) {
    for (name, need) in imports {
        if text.contains(*name) {
            need.add(if name.ends_with('<') { head } else { body });
        }
    }
}
