//! Program -> C99: `NAME.c`, `NAME.h`, the runtime headers that they include, and `NAME_kernels.S`
//! where native kernels are used.
//!
//! Law: the text compiles alone and without a warning; it has no undefined behaviour, no heap,
//! no recursion, and no float where the program has none. Assembly stands beside the portable
//! body, which other processors and compilers get, and all where `SECATEUR_PORTABLE` is defined.
//! The assembly has a stem of its own, as build rules call objects by it; its symbols name the
//! file, so that a linker that lacks it says which.

use super::EmitOptions;
use super::architecture::wrapping;
use super::c_expr::int_literal;
use super::module::{Item, Module, banner, layer_comment};
use super::names::base_name;
use super::needs::Need;
use super::{c_data, c_header};
use crate::emit::File;
use crate::error::{Error, Result, Site};
use crate::kernel::{Access, CallArg, Expr, Instr, Native, ParamKind, Stmt, Ty};
use crate::program::{Arg, Initial, Program, Step};
use crate::tensor::DType;
use secateur_runtime::sources;
use std::fmt::Write;

/// The caller's element type.
pub(super) fn c_type(elem: DType) -> &'static str {
    match elem {
        DType::F32 => "float",
        DType::I8 => "int8_t",
        DType::U8 | DType::Bool => "uint8_t",
        DType::I16 => "int16_t",
        DType::U16 => "uint16_t",
        DType::I32 => "int32_t",
        DType::U32 => "uint32_t",
        DType::I64 => "int64_t",
        DType::U64 => "uint64_t",
    }
}

/// The same inside kernels, where buffers of different types share the arena.
fn alias_type(elem: DType) -> &'static str {
    match elem {
        DType::F32 => "secateur_f32",
        DType::I16 => "secateur_i16",
        DType::U16 => "secateur_u16",
        DType::I32 => "secateur_i32",
        DType::U32 => "secateur_u32",
        DType::I64 => "secateur_i64",
        DType::U64 => "secateur_u64",
        DType::I8 | DType::U8 | DType::Bool => c_type(elem),
    }
}

pub(super) fn scalar_type(ty: Ty) -> &'static str {
    match ty {
        Ty::I32 => "int32_t",
        Ty::I64 => "int64_t",
        Ty::F32 => "float",
    }
}

/// Prints a program as C.
pub fn emit(program: &Program, options: &EmitOptions) -> Result<Vec<File>> {
    let module = Module::new(program, options)?;
    let name = base_name(&program.name);
    let cx = Cx { module: &module, name: &name, marks: options.marks };
    let border = program.inputs.iter().chain(&program.outputs).any(|p| p.affine.is_some());
    let mut files = vec![
        File { path: format!("{name}.c"), text: cx.source(options)? },
        File { path: format!("{name}.h"), text: c_header::header(&module, &name, options, border)? },
        header_file(sources::SECATEUR_H),
    ];
    if border || module.uses_float {
        files.push(header_file(sources::SECATEUR_MATH_H));
    }
    if module.features().iter().any(|f| wrapping(f).check.is_some()) {
        files.push(header_file(sources::SECATEUR_CORE_H));
    }
    if module.items.iter().any(|i| i.native.is_some()) {
        files.push(File { path: format!("{name}_kernels.S"), text: cx.assembly(options) });
    }
    Ok(files)
}

fn header_file((path, text): sources::Source) -> File {
    File { path: path.to_string(), text: text.to_string() }
}

pub(super) fn comment(lines: &[String]) -> String {
    format!("/* {}\n */\n", lines.join("\n * "))
}

/// A function that not all builds use.
fn where_needed(o: &mut String, text: &str, need: &Need) {
    match need.c() {
        None => o.push_str(text),
        Some(condition) => {
            let _ = writeln!(o, "\n#if {condition}{text}#endif");
        }
    }
}

/// When a C compiler takes a native kernel, as the preprocessor says it.
fn condition(native: &Native) -> String {
    format!("!defined(SECATEUR_PORTABLE) && {}", wrapping(&native.feature).c)
}

pub(super) struct Cx<'a> {
    pub(super) module: &'a Module<'a>,
    pub(super) name: &'a str,
    marks: bool,
}

/// Names and types inside one function: a kernel's, or an instruction's.
pub(super) struct Scope<'a> {
    pub(super) params: &'a [String],
    pub(super) vars: &'a [String],
    pub(super) ranges: &'a super::range::Ranges,
}

impl Cx<'_> {
    /// `NAME.c`.
    fn source(&self, options: &EmitOptions) -> Result<String> {
        let (module, name) = (self.module, self.name);
        let upper = name.to_ascii_uppercase();
        let mut o = comment(&banner(module.program, options, "C implementation"));
        if !module.uses_float {
            let _ = writeln!(o, "#ifndef {upper}_NO_FLOAT\n#define {upper}_NO_FLOAT\n#endif");
        }
        o += &c_header::include_same(name, &format!("{name}.c"), options);
        o.push_str("#include \"secateur.h\"\n");
        if module.uses_float {
            o.push_str(
                "#include \"secateur_math.h\"\n\n#if defined(__GNUC__) && !defined(__clang__)\n\
                 #pragma GCC optimize(\"fp-contract=off\")\n#endif\nSECATEUR_EXACT\n",
            );
        }
        self.processor(&mut o, options);
        if options.section.is_some() {
            o.push_str(super::section::c_lines());
        }
        for (constant, ident) in module.program.constants.iter().zip(&module.constants) {
            if let Some(ident) = ident {
                c_data::constant(&mut o, constant, &format!("{name}_{ident}"), options.section.as_deref());
            }
        }
        for ((instr, ident), need) in module.instrs.iter().zip(&module.needs.instrs) {
            let mut text = String::new();
            self.instr(&mut text, instr, ident)?;
            where_needed(&mut o, &text, need);
        }
        for (item, need) in module.items.iter().zip(&module.needs.items) {
            let mut text = String::new();
            self.kernel(&mut text, item)?;
            where_needed(&mut o, &text, need);
        }
        self.init(&mut o, options)?;
        self.run(&mut o)?;
        Ok(o)
    }

    fn instr(&self, o: &mut String, instr: &Instr, ident: &str) -> Result<()> {
        let ranges = self.module.instr_ranges(instr);
        let mut names = super::names::Namespace::locals();
        let vars: Vec<String> = instr.params.iter().map(|p| names.take(&p.name)).collect();
        let args: Vec<String> =
            instr.params.iter().zip(&vars).map(|(p, v)| format!("{} {v}", scalar_type(p.ty))).collect();
        let scope = Scope { params: &[], vars: &vars, ranges: &ranges };
        let _ = writeln!(
            o,
            "\nstatic inline {} {}_{ident}({})\n{{\n    return {};\n}}",
            scalar_type(instr.result),
            self.name,
            args.join(", "),
            self.expr(&instr.body, &scope)?
        );
        Ok(())
    }

    fn parameters(&self, item: &Item<'_>) -> String {
        let args: Vec<String> = item
            .kernel
            .params
            .iter()
            .zip(&item.params)
            .map(|(p, ident)| match p.kind {
                ParamKind::Scalar { .. } => format!("int32_t {ident}"),
                ParamKind::Buffer { elem, access: Access::Read, .. } => {
                    format!("const {} *{ident}", alias_type(elem))
                }
                ParamKind::Buffer { elem, .. } => format!("{} *{ident}", alias_type(elem)),
            })
            .collect();
        if args.is_empty() { "void".to_string() } else { args.join(", ") }
    }

    fn kernel(&self, o: &mut String, item: &Item<'_>) -> Result<()> {
        let head = format!("void {}_{}({})", self.name, item.name, self.parameters(item));
        o.push('\n');
        if let Some(native) = item.native {
            let _ = writeln!(o, "#if {}", condition(native));
            let serves = item.shares.map_or(item, |other| &self.module.items[other]);
            let _ = writeln!(o, "{head}\n    __asm__(\"{}\");\n#else", self.symbol(serves));
        }
        let _ = writeln!(o, "static {head}\n{{");
        for (i, ident) in item.params.iter().enumerate() {
            if !item.used_params.contains(&i) {
                let _ = writeln!(o, "    (void){ident};");
            }
        }
        let scope = Scope { params: &item.params, vars: &item.vars, ranges: &item.ranges };
        for s in &item.kernel.body {
            self.stmt(o, s, item, &scope, 1)?;
        }
        o.push_str("}\n");
        if item.native.is_some() {
            o.push_str("#endif\n");
        }
        Ok(())
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
                // The bound is evaluated once: inline only where it cannot change.
                let mut changes = false;
                hi.visit(&mut |e| {
                    changes |= match e {
                        Expr::Load { .. } => true,
                        Expr::Var(v) => item.mutable.contains(v),
                        _ => false,
                    };
                });
                let hi = self.expr(hi, scope)?;
                let by = if *step == 1 { format!("{v}++") } else { format!("{v} += {step}") };
                let _ = if changes {
                    writeln!(o, "{pad}for (int32_t {v} = {lo}, {v}_end = {hi}; {v} < {v}_end; {by}) {{")
                } else {
                    writeln!(o, "{pad}for (int32_t {v} = {lo}; {v} < {hi}; {by}) {{")
                };
                block(o, body)?;
                let _ = writeln!(o, "{pad}}}");
            }
            Stmt::Let { var, value } | Stmt::Var { var, value } => {
                if !item.read.contains(var) {
                    return Ok(());
                }
                let ty = scalar_type(item.kernel.vars[var.0 as usize].ty);
                let constant = if item.mutable.contains(var) { "" } else { "const " };
                let value = self.expr(value, scope)?;
                let _ = writeln!(o, "{pad}{constant}{ty} {} = {value};", item.vars[var.0 as usize]);
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
                    DType::Bool => format!("(uint8_t)({} != 0)", self.atom(value, scope)?),
                    _ => format!("({}){}", c_type(elem), self.atom(value, scope)?),
                };
                let index = self.expr(index, scope)?;
                let _ = writeln!(o, "{pad}{}[{index}] = {value};", item.params[buffer.0 as usize]);
            }
            Stmt::If { cond, then, els } => {
                let _ = writeln!(o, "{pad}if ({}) {{", self.condition(cond, scope)?);
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
                for arg in args {
                    texts.push(match arg {
                        CallArg::Scalar(e) => self.expr(e, scope)?,
                        CallArg::Slice { buffer, offset: Expr::Int(0, _) } => {
                            item.params[buffer.0 as usize].clone()
                        }
                        CallArg::Slice { buffer, offset } => {
                            format!("&{}[{}]", item.params[buffer.0 as usize], self.expr(offset, scope)?)
                        }
                    });
                }
                let _ = writeln!(o, "{pad}{}_{}({});", self.name, callee.name, texts.join(", "));
            }
        }
        Ok(())
    }

    fn init(&self, o: &mut String, options: &EmitOptions) -> Result<()> {
        let (program, name) = (self.module.program, self.name);
        let memory = if program.states_apart() { "state" } else { "arena" };
        let _ = writeln!(o, "\nvoid {name}_init({name}_{memory} *{memory})\n{{");
        if program.states.is_empty() {
            o.push_str("    (void)arena; /* this model keeps nothing between runs */\n");
        }
        let kept = self.module.kept()?;
        if kept.iter().any(|(_, _, state)| matches!(state.init, Initial::Bytes(_))) {
            o.push_str("    uint32_t i;\n");
        }
        self.checks(o, options);
        for (port, _, state) in kept {
            let (at, bytes) = (port.at, port.bytes());
            let _ = match state.init {
                Initial::Bytes(byte) => writeln!(
                    o,
                    "    for (i = 0U; i < {bytes}U; i++) {{\n        {memory}->bytes[{at}U + i] = {byte}U;\n    }}"
                ),
                Initial::Constant(id) => {
                    let ident = self.module.constants[id.0 as usize].as_deref().unwrap_or("?");
                    writeln!(o, "    (void)secateur_copy(&{memory}->bytes[{at}], {name}_{ident}, {bytes});")
                }
            };
        }
        o.push_str("}\n");
        Ok(())
    }

    fn run(&self, o: &mut String) -> Result<()> {
        let (module, program, name) = (self.module, self.module.program, self.name);
        let mut calls = String::new();
        let mut last = None;
        for step in &module.run.steps {
            if let Some(layer) = layer_comment(program, step, &mut last) {
                let _ = writeln!(calls, "    /* {layer} */");
                if self.marks {
                    calls.push_str("    secateur_layer();\n");
                }
            }
            let item = module.item(&step.kernel)?;
            let args = self.step_args(step)?;
            let call = format!("    {name}_{}({});", item.name, args.join(", "));
            if call.len() <= 110 {
                let _ = writeln!(calls, "{call}");
            } else {
                let _ = writeln!(calls, "    {name}_{}(\n        {});", item.name, args.join(",\n        "));
            }
        }
        if self.marks {
            o.push_str("\nvoid secateur_layer(void);\n");
        }
        let _ = writeln!(o, "\n{}\n{{", c_header::run_signature(module, name));
        if program.inputs.is_empty() && program.outputs.is_empty() && !calls.contains("arena->") {
            o.push_str("    (void)arena;\n");
        }
        if program.states_apart() && !calls.contains("state->") {
            o.push_str("    (void)state;\n");
        }
        // Only a caller's own arrays are copied.
        for (port, ident) in program.inputs.iter().zip(&module.inputs) {
            let _ = writeln!(
                o,
                "    if (in_{ident} != {name}_input_{ident}(arena)) {{\n        \
                 (void)secateur_copy(&arena->bytes[{}], in_{ident}, {});\n    }}",
                module.spot(port.at).1,
                port.bytes()
            );
        }
        o.push_str(&calls);
        for (port, ident) in program.outputs.iter().zip(&module.outputs) {
            let _ = writeln!(
                o,
                "    if (out_{ident} != {name}_output_{ident}(arena)) {{\n        \
                 (void)secateur_copy(out_{ident}, &arena->bytes[{}], {});\n    }}",
                module.spot(port.at).1,
                port.bytes()
            );
        }
        o.push_str("}\n");
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
                (Arg::Scalar(v), ParamKind::Scalar { .. }) => int_literal((*v).into(), Ty::I32),
                (Arg::Buffer { buffer, offset }, ParamKind::Buffer { elem, access, .. }) => {
                    let (at, own) = module.place(step, *buffer)?;
                    let constness = if *access == Access::Read { "const " } else { "" };
                    let (memory, at) = module.spot(at + offset * own.size());
                    if alias_type(*elem) == "uint8_t" {
                        format!("&{memory}->bytes[{at}]")
                    } else {
                        format!("({constness}{} *)(void *)&{memory}->bytes[{at}]", alias_type(*elem))
                    }
                }
                (
                    Arg::Constant { constant, offset },
                    ParamKind::Buffer { elem, access: Access::Read, .. },
                ) => {
                    let ident = module.constants[constant.0 as usize].as_deref().unwrap_or("?");
                    let ident = format!("{}_{ident}", self.name);
                    let data = &module.program.constants[constant.0 as usize];
                    let start = if *offset == 0 { ident } else { format!("&{ident}[{offset}]") };
                    if alias_type(*elem) == c_data::storage_type(data) {
                        start
                    } else {
                        format!("(const {} *)(const void *){start}", alias_type(*elem))
                    }
                }
                _ => {
                    return Err(Error::internal(
                        site(),
                        format!("the argument for `{}` is of the wrong kind", param.name),
                    ));
                }
            });
        }
        Ok(out)
    }

    /// What the linker knows a native kernel by. Where the file is not linked, its message says so:
    /// undefined reference to `kws_gemm_s8_in_kws_kernels_S`.
    fn symbol(&self, item: &Item<'_>) -> String {
        let (name, own) = (self.name, &item.name);
        format!("{name}_{own}_in_{name}_kernels_S")
    }

    /// `NAME_kernels.S`: the native kernels, each a global function.
    fn assembly(&self, options: &EmitOptions) -> String {
        let mut o = comment(&banner(self.module.program, options, "Instruction blocks"));
        o += &c_header::include_same(self.name, &format!("{}_kernels.S", self.name), options);
        for (i, item) in self.module.items.iter().enumerate() {
            let (Some(native), None) = (item.native, item.shares) else { continue };
            if !self.module.needs.native(self.module, i) {
                continue;
            }
            let symbol = self.symbol(item);
            let Native { feature, text, .. } = native;
            let around = wrapping(feature);
            let _ = writeln!(
                o,
                "\n#if {}\n    .section .text.{symbol},\"ax\",%progbits\n    .balign 4",
                condition(native)
            );
            for line in around.head {
                let _ = writeln!(o, "    {line}");
            }
            let _ = writeln!(o, "    .global {symbol}\n    .type {symbol}, %function\n{symbol}:");
            for line in around.open.iter().copied().chain(text.lines()).chain(around.close.iter().copied()) {
                let flush = line.starts_with(char::is_whitespace) || line.ends_with(':');
                let _ = writeln!(o, "{}{line}", if flush { "" } else { "    " });
            }
            let _ = writeln!(o, "    .size {symbol}, . - {symbol}\n#endif");
        }
        // Linkers warn where some objects say that their stack holds no code and others do not:
        // this one says what those of the same compiler's C do.
        o.push_str(
            "\n#if defined(__ELF__) && (defined(__clang__) || defined(__linux__) || defined(__FreeBSD__))\n    \
             .section .note.GNU-stack,\"\",%progbits\n#endif\n",
        );
        o
    }
}
