//! Program -> C99: `NAME.c`, `NAME.h`, the runtime headers that they include, and `NAME.S` where
//! native kernels are used.
//!
//! Law: the text compiles alone and without a warning; it has no undefined behaviour, no heap,
//! no recursion, and no float where the program has none. Assembly stands beside the portable
//! body, which other processors and compilers get.

use super::EmitOptions;
use super::c_data;
use super::module::{Item, Module, banner, layer_comment, printable};
use super::names::base_name;
use super::range::{fits, of_type};
use crate::artifact::File;
use crate::error::{Error, Result, Site};
use crate::kernel::{Access, BinOp, CallArg, Expr, Instr, Native, ParamKind, Stmt, Ty, UnOp};
use crate::program::{Arg, Place, Port, Program, Step};
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

fn scalar_type(ty: Ty) -> &'static str {
    match ty {
        Ty::I32 => "int32_t",
        Ty::I64 => "int64_t",
        Ty::F32 => "float",
    }
}

/// The preprocessor's word for a core feature, so that one file serves every processor.
fn feature_test(feature: &str) -> String {
    match feature {
        "dsp" => "defined(__ARM_FEATURE_DSP)".to_string(),
        "mve" => "defined(__ARM_FEATURE_MVE)".to_string(),
        _ => "defined(__arm__)".to_string(),
    }
}

/// Prints a program as C.
pub fn emit(program: &Program, options: &EmitOptions) -> Result<Vec<File>> {
    let module = Module::new(program, options)?;
    let name = base_name(&program.name);
    let cx = Cx { module: &module, name: &name };
    let border = program.inputs.iter().chain(&program.outputs).any(|p| p.affine.is_some());
    let mut files = vec![
        File { path: format!("{name}.c"), text: cx.source(options)? },
        File { path: format!("{name}.h"), text: header(&module, &name, options, border) },
        header_file(sources::SECATEUR_H),
    ];
    if border || module.uses_float {
        files.push(header_file(sources::SECATEUR_MATH_H));
    }
    if module.items.iter().any(|i| i.native.is_some()) {
        files.push(File { path: format!("{name}.S"), text: cx.assembly(options) });
    }
    Ok(files)
}

fn header_file((path, text): sources::Source) -> File {
    File { path: path.to_string(), text: text.to_string() }
}

fn comment(lines: &[String]) -> String {
    format!("/* {}\n */\n", lines.join("\n * "))
}

/// `NAME.h`.
fn header(module: &Module<'_>, name: &str, options: &EmitOptions, border: bool) -> String {
    let (program, upper) = (module.program, name.to_ascii_uppercase());
    let mut o = comment(&banner(program, options, "C interface"));
    let _ = writeln!(o, "#ifndef {upper}_H\n#define {upper}_H\n\n#include <stdint.h>");
    if border {
        let _ = writeln!(o, "#ifndef {upper}_NO_FLOAT\n#include \"secateur_math.h\"\n#endif");
    }
    o.push_str("\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n/* Sizes in bytes. */\n");
    let _ = writeln!(o, "#define {upper}_ARENA_BYTES {}", program.arena);
    let _ = writeln!(o, "#define {upper}_WEIGHTS_BYTES {}", module.weight_bytes());
    match options.code {
        Some(code) => {
            let _ = writeln!(o, "#define {upper}_CODE_BYTES {code}");
            let _ = writeln!(o, "#define {upper}_FLASH_BYTES {}", module.weight_bytes() + code);
        }
        None => {
            let _ =
                writeln!(o, "/* {upper}_CODE_BYTES and {upper}_FLASH_BYTES: not measured for this text. */");
        }
    }
    match options.stack {
        Some(stack) => {
            let _ = writeln!(o, "#define {upper}_STACK_BYTES {stack}");
        }
        None => {
            let _ = writeln!(o, "/* {upper}_STACK_BYTES: not measured for this text. */");
        }
    }
    for (what, ports, names) in
        [("Input", &program.inputs, &module.inputs), ("Output", &program.outputs, &module.outputs)]
    {
        for (port, ident) in ports.iter().zip(names) {
            port_macros(&mut o, what, port, &format!("{upper}_{}", ident.to_ascii_uppercase()));
        }
    }
    let _ = writeln!(
        o,
        "\n/* Working memory of one instance. Instances are independent of each other. */\n\
         typedef union {{\n    uint64_t align;\n    uint8_t bytes[{}];\n}} {name}_arena;\n",
        program.arena.max(8)
    );
    let _ = writeln!(
        o,
        "/* Makes an arena ready; once before the first run, and again to start over. */\n\
         void {name}_init({name}_arena *arena);\n"
    );
    let _ = writeln!(
        o,
        "/* One inference. Arrays are row-major in the shapes above and do not overlap. */\n{};",
        run_signature(module, name)
    );
    o.push_str("\n#ifdef __cplusplus\n}\n#endif\n");
    if border {
        let _ = writeln!(
            o,
            "\n/* Between real numbers and the stored integers of the model: real = scale * (stored - zero point).\n \
             * Define {upper}_NO_FLOAT before including this file to leave them out. */\n#ifndef {upper}_NO_FLOAT"
        );
        for (port, ident) in program.inputs.iter().zip(&module.inputs) {
            border_helper(&mut o, port, ident, name, true);
        }
        for (port, ident) in program.outputs.iter().zip(&module.outputs) {
            border_helper(&mut o, port, ident, name, false);
        }
        o.push_str("#endif\n");
    }
    o.push_str("\n#endif\n");
    o
}

fn port_macros(o: &mut String, what: &str, port: &Port, prefix: &str) {
    let dims: Vec<String> = port.shape.iter().map(|d| d.to_string()).collect();
    let _ = writeln!(
        o,
        "\n/* {what} `{}`: {} [{}]. */",
        printable(&port.name),
        port.elem.name(),
        dims.join(", ")
    );
    let _ = writeln!(o, "#define {prefix}_TYPE {}", c_type(port.elem));
    let _ = writeln!(o, "#define {prefix}_LEN {}", port.shape.iter().product::<usize>());
    let _ = writeln!(o, "#define {prefix}_RANK {}", port.shape.len());
    if !dims.is_empty() {
        let _ = writeln!(o, "#define {prefix}_SHAPE {{{}}}", dims.join(", "));
    }
    if let Some((scale, zero_point)) = port.affine {
        let _ = writeln!(o, "#define {prefix}_SCALE {}", float_literal(scale));
        let _ = writeln!(o, "#define {prefix}_ZERO_POINT ({zero_point})");
    }
}

fn border_helper(o: &mut String, port: &Port, ident: &str, name: &str, input: bool) {
    if port.affine.is_none() {
        return;
    }
    let upper = format!("{}_{}", name.to_ascii_uppercase(), ident.to_ascii_uppercase());
    let ty = c_type(port.elem);
    let (lo, hi) = port.elem.range().unwrap_or((0, 0));
    let loop_head = format!("    int32_t i;\n    for (i = 0; i < {upper}_LEN; i++) {{");
    let _ = if input {
        writeln!(
            o,
            "static inline void {name}_quantize_{ident}(const float *real, {ty} *stored)\n{{\n{loop_head}\n        \
             stored[i] = ({ty})secateur_quantize(real[i], {upper}_SCALE, {upper}_ZERO_POINT, {lo}, {hi});\n    }}\n}}"
        )
    } else {
        writeln!(
            o,
            "static inline void {name}_dequantize_{ident}(const {ty} *stored, float *real)\n{{\n{loop_head}\n        \
             real[i] = {upper}_SCALE * (float)(stored[i] - {upper}_ZERO_POINT);\n    }}\n}}"
        )
    };
}

fn run_signature(module: &Module<'_>, name: &str) -> String {
    let mut args = vec![format!("{name}_arena *arena")];
    for (port, ident) in module.program.inputs.iter().zip(&module.inputs) {
        args.push(format!("const {} *{ident}", c_type(port.elem)));
    }
    for (port, ident) in module.program.outputs.iter().zip(&module.outputs) {
        args.push(format!("{} *{ident}", c_type(port.elem)));
    }
    format!("void {name}_run({})", args.join(", "))
}

/// Shortest text that reads back as the same float; bits where there is none.
pub(super) fn float_literal(x: f32) -> String {
    if !x.is_finite() {
        return format!("secateur_float(0x{:08x}u)", x.to_bits());
    }
    format!("{x:?}f")
}

fn int_literal(v: i64, ty: Ty) -> String {
    match (v, ty) {
        (i64::MIN, _) => "INT64_MIN".to_string(),
        (v, Ty::I64) if v < 0 => format!("-INT64_C({})", -v),
        (v, Ty::I64) => format!("INT64_C({v})"),
        (v, _) if v == i64::from(i32::MIN) => "INT32_MIN".to_string(),
        (v, _) => v.to_string(),
    }
}

struct Cx<'a> {
    module: &'a Module<'a>,
    name: &'a str,
}

/// Names and types inside one function: a kernel's, or an instruction's.
struct Scope<'a> {
    params: &'a [String],
    vars: &'a [String],
    ranges: &'a super::range::Ranges,
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
        let _ = writeln!(o, "#include \"{name}.h\"\n#include \"secateur.h\"");
        if module.uses_float {
            o.push_str("#include \"secateur_math.h\"\n");
        }
        if !module.program.states.is_empty() {
            o.push_str("#include <string.h>\n");
        }
        for (constant, ident) in module.program.constants.iter().zip(&module.constants) {
            if let Some(ident) = ident {
                c_data::constant(&mut o, constant, &format!("{name}_{ident}"));
            }
        }
        for (instr, ident) in &module.instrs {
            self.instr(&mut o, instr, ident)?;
        }
        for item in &module.items {
            self.kernel(&mut o, item)?;
        }
        self.init(&mut o)?;
        self.run(&mut o)?;
        Ok(o)
    }

    fn instr(&self, o: &mut String, instr: &Instr, ident: &str) -> Result<()> {
        let ranges = super::range::Ranges {
            params: Vec::new(),
            vars: instr.params.iter().map(|p| of_type(p.ty)).collect(),
            var_types: instr.params.iter().map(|p| p.ty).collect(),
            elems: Vec::new(),
        };
        let mut names = super::names::Namespace::default();
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
            let _ =
                writeln!(o, "#if {}\n{head}; /* in {}.S */\n#else", feature_test(&native.feature), self.name);
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
                            format!("{} + {}", item.params[buffer.0 as usize], self.atom(offset, scope)?)
                        }
                    });
                }
                let _ = writeln!(o, "{pad}{}_{}({});", self.name, callee.name, texts.join(", "));
            }
        }
        Ok(())
    }

    /// An expression as a truth value.
    fn condition(&self, e: &Expr, scope: &Scope<'_>) -> Result<String> {
        match e {
            Expr::Binary(op, ..) if op.compares() => self.expr(e, scope),
            // Both sides are free of effects, so the lazy operators mean the same on 0 and 1.
            Expr::Binary(op @ (BinOp::And | BinOp::Or), a, b) if truth(a) && truth(b) => {
                let sign = if *op == BinOp::And { "&&" } else { "||" };
                let side = |e: &Expr| -> Result<String> { Ok(format!("({})", self.condition(e, scope)?)) };
                Ok(format!("{} {sign} {}", side(a)?, side(b)?))
            }
            _ => Ok(format!("{} != 0", self.atom(e, scope)?)),
        }
    }

    /// An expression that binds tighter than any operator.
    fn atom(&self, e: &Expr, scope: &Scope<'_>) -> Result<String> {
        let text = self.expr(e, scope)?;
        let wrap = match e {
            Expr::Select(..) | Expr::Cast(..) => !text.starts_with("secateur_"),
            Expr::Unary(UnOp::Neg, _) => true,
            Expr::Int(..) | Expr::Float(_) => text.starts_with('-'),
            Expr::Binary(op, a, b) => self.plain(*op, a, b, scope).is_some(),
            _ => false,
        };
        Ok(if wrap { format!("({text})") } else { text })
    }

    /// The operator, where it can be used as it stands: on floats, and on integers that do not
    /// leave their type.
    fn plain(&self, op: BinOp, a: &Expr, b: &Expr, scope: &Scope<'_>) -> Option<&'static str> {
        let ty = scope.ranges.ty(a);
        let float = ty == Ty::F32;
        let inside = || float || fits(scope.ranges.exact(op, a, b), ty);
        let (bl, bh) = scope.ranges.range(b);
        let width = if ty == Ty::I64 { 64 } else { 32 };
        match op {
            BinOp::Add if inside() => Some("+"),
            BinOp::Sub if inside() => Some("-"),
            BinOp::Mul if inside() => Some("*"),
            BinOp::Div if float || ((bl > 0 || bh < 0) && inside()) => Some("/"),
            BinOp::Rem if !float && (bl > 0 || bh < -1) => Some("%"),
            BinOp::And => Some("&"),
            BinOp::Or => Some("|"),
            BinOp::Xor => Some("^"),
            BinOp::Shr if bl >= 0 && bh < width => Some(">>"),
            BinOp::Lt => Some("<"),
            BinOp::Le => Some("<="),
            BinOp::Gt => Some(">"),
            BinOp::Ge => Some(">="),
            BinOp::Eq => Some("=="),
            BinOp::Ne => Some("!="),
            _ => None,
        }
    }

    fn expr(&self, e: &Expr, scope: &Scope<'_>) -> Result<String> {
        let missing = || Error::internal(Site::Whole, "an expression cannot be printed as C");
        Ok(match e {
            Expr::Int(v, ty) => int_literal(*v, *ty),
            Expr::Float(bits) => float_literal(bits.get()),
            Expr::Var(v) => scope.vars.get(v.0 as usize).ok_or_else(missing)?.clone(),
            Expr::Param(p) => scope.params.get(p.0 as usize).ok_or_else(missing)?.clone(),
            Expr::Load { buffer, index } => {
                let load = format!("{}[{}]", scope.params[buffer.0 as usize], self.expr(index, scope)?);
                match scope.ranges.elems[buffer.0 as usize] {
                    Some(DType::U32 | DType::U64) => format!("((int64_t){load})"),
                    _ => load,
                }
            }
            Expr::Unary(op, a) => match op {
                UnOp::Neg => format!("-{}", self.atom(a, scope)?),
                _ => {
                    let f = match op {
                        UnOp::Neg => return Err(missing()),
                        UnOp::Abs => "absf",
                        UnOp::Sqrt => "sqrtf",
                        UnOp::Exp => "expf",
                        UnOp::Log => "logf",
                        UnOp::Tanh => "tanhf",
                        UnOp::Sigmoid => "sigmoidf",
                        UnOp::Floor => "floorf",
                        UnOp::Round => "roundf",
                    };
                    format!("secateur_{f}({})", self.expr(a, scope)?)
                }
            },
            Expr::Binary(op, a, b) => match self.plain(*op, a, b, scope) {
                Some(sign) => {
                    // A chain of sums or products needs no parentheses on its left.
                    let chain = matches!(
                        (op, a.as_ref()),
                        (BinOp::Add | BinOp::Sub, Expr::Binary(BinOp::Add | BinOp::Sub | BinOp::Mul, ..))
                            | (BinOp::Mul, Expr::Binary(BinOp::Mul, ..))
                    );
                    let left = if chain { self.expr(a, scope)? } else { self.atom(a, scope)? };
                    let product = *op == BinOp::Add && matches!(b.as_ref(), Expr::Binary(BinOp::Mul, ..));
                    let right = if product { self.expr(b, scope)? } else { self.atom(b, scope)? };
                    format!("{left} {sign} {right}")
                }
                None => {
                    let f = match op {
                        BinOp::Add => "add",
                        BinOp::Sub => "sub",
                        BinOp::Mul => "mul",
                        BinOp::Div => "div",
                        BinOp::Rem => "rem",
                        BinOp::Min => "min",
                        BinOp::Max => "max",
                        BinOp::Shl => "shl",
                        BinOp::Shr => "shr",
                        _ => return Err(missing()),
                    };
                    let suffix = match scope.ranges.ty(a) {
                        Ty::I32 => "",
                        Ty::I64 => "64",
                        Ty::F32 => "f",
                    };
                    format!("secateur_{f}{suffix}({}, {})", self.expr(a, scope)?, self.expr(b, scope)?)
                }
            },
            Expr::Cast(to, a) => {
                let from = scope.ranges.ty(a);
                match (from, to) {
                    (Ty::F32, Ty::I32) => format!("secateur_to_i32({})", self.expr(a, scope)?),
                    (Ty::F32, Ty::I64) => format!("secateur_to_i64({})", self.expr(a, scope)?),
                    (from, to) if from == *to => self.expr(a, scope)?,
                    _ => format!("({}){}", scalar_type(*to), self.atom(a, scope)?),
                }
            }
            Expr::Select(c, a, b) => {
                let c = match c.as_ref() {
                    Expr::Var(_) | Expr::Param(_) => format!("{} != 0", self.expr(c, scope)?),
                    _ => self.condition(c, scope)?,
                };
                format!("({c}) ? {} : {}", self.atom(a, scope)?, self.atom(b, scope)?)
            }
            Expr::Call(instr, args) => {
                let args: Result<Vec<String>> = args.iter().map(|a| self.expr(a, scope)).collect();
                format!("{}_{}({})", self.name, self.module.instr(instr), args?.join(", "))
            }
        })
    }

    fn init(&self, o: &mut String) -> Result<()> {
        let (program, name) = (self.module.program, self.name);
        let _ = writeln!(o, "\nvoid {name}_init({name}_arena *arena)\n{{");
        if program.states.is_empty() {
            o.push_str("    (void)arena; /* this model keeps nothing between runs */\n");
        }
        for state in &program.states {
            let buffer = program.buffers.get(state.buffer.0 as usize);
            let constant = program.constants.get(state.init.0 as usize);
            let (Some(buffer), Some(constant)) = (buffer, constant) else {
                return Err(Error::internal(Site::Whole, "a state names what does not exist"));
            };
            let (Place::State(at), bytes) = (buffer.place, buffer.len * buffer.elem.size()) else {
                return Err(Error::internal(Site::Whole, "a state lies outside of the state memory"));
            };
            if bytes != constant.bytes.len() {
                return Err(Error::internal(Site::Whole, "a state's initial value has another size"));
            }
            let ident = self.module.constants[state.init.0 as usize].as_deref().unwrap_or("?");
            let _ = writeln!(o, "    memcpy(arena->bytes + {at}, {name}_{ident}, {bytes});");
        }
        o.push_str("}\n");
        Ok(())
    }

    fn run(&self, o: &mut String) -> Result<()> {
        let (module, name) = (self.module, self.name);
        let mut calls = String::new();
        let mut used = std::collections::BTreeSet::new();
        let mut last = None;
        for step in &module.run.steps {
            if let Some(layer) = layer_comment(module.program, step, &mut last) {
                let _ = writeln!(calls, "    /* {layer} */");
            }
            let item = module.item(&step.kernel)?;
            let args = self.step_args(step, &mut used)?;
            let _ = writeln!(calls, "    {name}_{}({});", item.name, args.join(", "));
        }
        let _ = writeln!(o, "\n{}\n{{", run_signature(module, name));
        let idents = module.inputs.iter().chain(&module.outputs).map(String::as_str);
        for ident in std::iter::once("arena").chain(idents) {
            if !used.contains(ident) {
                let _ = writeln!(o, "    (void){ident};");
            }
        }
        o.push_str(&calls);
        o.push_str("}\n");
        Ok(())
    }

    fn step_args(&self, step: &Step, used: &mut std::collections::BTreeSet<String>) -> Result<Vec<String>> {
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
                    let (place, own) = module.place(step, *buffer)?;
                    let constness = if *access == Access::Read { "const " } else { "" };
                    match place {
                        Place::Arena(at) | Place::State(at) => {
                            used.insert("arena".to_string());
                            let at = at + offset * own.size();
                            if alias_type(*elem) == "uint8_t" {
                                format!("arena->bytes + {at}")
                            } else {
                                format!("({constness}{} *)(void *)(arena->bytes + {at})", alias_type(*elem))
                            }
                        }
                        Place::Input(i) | Place::Output(i) => {
                            let input = matches!(place, Place::Input(_));
                            if input && *access != Access::Read {
                                return Err(Error::internal(
                                    site(),
                                    "a step writes to an input of the model",
                                ));
                            }
                            let ident = if input { &module.inputs[i] } else { &module.outputs[i] };
                            used.insert(ident.clone());
                            let start =
                                if *offset == 0 { ident.clone() } else { format!("({ident} + {offset})") };
                            if alias_type(*elem) == c_type(own) {
                                if *offset == 0 { ident.clone() } else { format!("{ident} + {offset}") }
                            } else {
                                let void = if input { "const void *" } else { "void *" };
                                format!("({constness}{} *)({void}){start}", alias_type(*elem))
                            }
                        }
                    }
                }
                (
                    Arg::Constant { constant, offset },
                    ParamKind::Buffer { elem, access: Access::Read, .. },
                ) => {
                    let ident = module.constants[constant.0 as usize].as_deref().unwrap_or("?");
                    let ident = format!("{}_{ident}", self.name);
                    let data = &module.program.constants[constant.0 as usize];
                    let start = if *offset == 0 { ident } else { format!("({ident} + {offset})") };
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

    /// `NAME.S`: the native kernels, each a global function.
    fn assembly(&self, options: &EmitOptions) -> String {
        let mut o = comment(&banner(self.module.program, options, "Instruction blocks"));
        o.push_str("    .syntax unified\n");
        for item in &self.module.items {
            let Some(Native { feature, text, .. }) = item.native else { continue };
            let symbol = format!("{}_{}", self.name, item.name);
            let _ = writeln!(
                o,
                "\n#if {}\n    .section .text.{symbol},\"ax\",%progbits\n    .balign 4\n    .thumb\n    .thumb_func\n    \
                 .global {symbol}\n    .type {symbol}, %function\n{symbol}:",
                feature_test(feature)
            );
            for line in text.lines() {
                let _ = writeln!(
                    o,
                    "{}{line}",
                    if line.starts_with(char::is_whitespace) || line.ends_with(':') { "" } else { "    " }
                );
            }
            let _ = writeln!(o, "    .size {symbol}, . - {symbol}\n#endif");
        }
        // Without this note, linkers on Linux ask for an executable stack.
        o.push_str("\n#if defined(__ELF__)\n    .section .note.GNU-stack,\"\",%progbits\n#endif\n");
        o
    }
}

/// Whether an expression is 0 or 1 by its form.
fn truth(e: &Expr) -> bool {
    match e {
        Expr::Binary(op, a, b) => {
            op.compares() || (matches!(op, BinOp::And | BinOp::Or) && truth(a) && truth(b))
        }
        _ => false,
    }
}
