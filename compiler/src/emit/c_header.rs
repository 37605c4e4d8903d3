//! `NAME.h`: what the user of generated C sees.
//!
//! Out: sizes, shapes, scales, the arena, the two calls, and conversions at the border. Law: it
//! compiles as C99 and as C++ without a warning, and needs no more than `secateur.h` where floats
//! are left out.

use super::EmitOptions;
use super::c::{c_type, comment};
use super::c_expr::float_literal;
use super::counts;
use super::module::{Module, banner, printable};
use crate::error::Result;
use crate::program::{Port, State};
use std::fmt::Write;

/// `NAME.h`.
pub(super) fn header(module: &Module<'_>, name: &str, options: &EmitOptions, border: bool) -> Result<String> {
    let (program, upper) = (module.program, name.to_ascii_uppercase());
    let mut o = comment(&banner(program, options, "C interface"));
    let _ = writeln!(
        o,
        "#ifndef {upper}_SECATEUR_H\n#define {upper}_SECATEUR_H\n\n/* Of one compilation: sources with another number refuse to be built. */\n\
         #define {upper}_DIGEST {}\n\n#ifndef __ASSEMBLER__\n#include <stdint.h>\n#include \"secateur.h\"",
        digest(options)
    );
    if border {
        let _ = writeln!(o, "#ifndef {upper}_NO_FLOAT\n#include \"secateur_math.h\"\n#endif");
    }
    o.push_str("\nSECATEUR_CXX_BEGIN\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n/* Sizes in bytes. */\n");
    let _ = writeln!(o, "#define {upper}_ARENA_BYTES {}", module.arena_bytes());
    if program.states_apart() {
        let _ = writeln!(o, "#define {upper}_STATE_BYTES {}", module.state_bytes());
    }
    let _ = writeln!(o, "#define {upper}_WEIGHTS_BYTES {}", module.weight_bytes());
    let missing = match &options.not_measured {
        Some(why) => format!("not measured: {}", printable(why)),
        None => "not measured for this text".to_string(),
    };
    match options.code {
        Some(code) => {
            let _ = writeln!(o, "#define {upper}_CODE_BYTES {code}");
            let _ = writeln!(o, "#define {upper}_FLASH_BYTES {}", module.weight_bytes() + code);
        }
        None => {
            let _ = writeln!(o, "/* {upper}_CODE_BYTES and {upper}_FLASH_BYTES: {missing}. */");
        }
    }
    match options.stack {
        Some(stack) => {
            let _ = writeln!(o, "#define {upper}_STACK_BYTES {stack}");
        }
        None => {
            let _ = writeln!(o, "/* {upper}_STACK_BYTES: {missing}. */");
        }
    }
    for (what, ports, names) in
        [("Input", &program.inputs, &module.inputs), ("Output", &program.outputs, &module.outputs)]
    {
        for (port, ident) in ports.iter().zip(names) {
            port_macros(&mut o, what, port, "", &format!("{upper}_{}", ident.to_ascii_uppercase()));
        }
    }
    let kept = module.kept()?;
    for (port, ident, state) in &kept {
        let next = format!(", kept between runs; takes the value of `{}`", printable(&state.next));
        port_macros(&mut o, "State", port, &next, &format!("{upper}_{}", ident.to_ascii_uppercase()));
    }
    let whose = match program.shares_arena {
        false => "of one instance. Instances are independent of each other. */",
        true => {
            "while it runs. Models that run one after the other may share it: a union of their\n * arenas serves all. */"
        }
    };
    if program.states_apart() {
        let _ = writeln!(
            o,
            "\n/* What one instance keeps between runs. Instances are independent of each other. */\n\
             typedef union {{\n    uint64_t align;\n    uint8_t bytes[{}];\n}} {name}_state;",
            module.state_bytes()
        );
    }
    let _ = writeln!(
        o,
        "\n/* Working memory {whose}\ntypedef union {{\n    uint64_t align;\n    uint8_t bytes[{}];\n}} {name}_arena;\n",
        module.arena_bytes().max(8)
    );
    slots(&mut o, module, name);
    let memory = if program.states_apart() { "state" } else { "arena" };
    states(&mut o, &kept, name, memory);
    let begins = match kept.is_empty() {
        true => "",
        false => {
            "\n * Sets what is kept between runs to what it begins with: call it again where a sequence ends."
        }
    };
    let _ = writeln!(
        o,
        "/* Makes {} ready; once before the first run, and again to start over.{begins} */\n\
         void {name}_init({name}_{memory} *{memory});\n",
        if memory == "state" { "a state" } else { "an arena" }
    );
    let _ = writeln!(
        o,
        "/* One inference. Arrays are row-major in the shapes above and do not overlap. Those of the\n \
         * caller's own lie outside of the arena, and are copied to and from it. */\n{};",
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
    counts::c(&mut o, &options.counts, module, name);
    o.push_str("SECATEUR_CXX_END\n\n#endif\n#endif\n");
    Ok(o)
}

/// What the files of one compilation have in common, as a number: the first digits of the digest.
fn digest(options: &EmitOptions) -> String {
    let number = options.digest.get(..8).and_then(|d| u32::from_str_radix(d, 16).ok());
    format!("0x{:08x}U", number.unwrap_or(0))
}

/// Lines that include the header, and stop the build if it came with other sources than `file`.
pub(super) fn include_same(name: &str, file: &str, options: &EmitOptions) -> String {
    format!(
        "#include \"{name}.h\"\n#if {}_DIGEST != {}\n\
         #error \"{file} and {name}.h are of different compilations: take all files of one\"\n#endif\n",
        name.to_ascii_uppercase(),
        digest(options)
    )
}

/// Accessors of the inputs and outputs inside the arena.
fn slots(o: &mut String, module: &Module<'_>, name: &str) {
    let program = module.program;
    let Some(call) = example(module, name) else { return };
    let _ = writeln!(
        o,
        "/* The inputs and outputs inside the arena. Given to {name}_run they are used in place, and no other\n \
         * arrays are needed:\n *\n *     {call}\n *\n \
         * An input is to be filled before each run, which may overwrite it; an output holds until the\n \
         * next use of the arena. */"
    );
    let inputs = program.inputs.iter().zip(&module.inputs).map(|(p, ident)| ("input", p, ident));
    let outputs = program.outputs.iter().zip(&module.outputs).map(|(p, ident)| ("output", p, ident));
    for (what, port, ident) in inputs.chain(outputs) {
        let ty = c_type(port.elem);
        let _ = writeln!(
            o,
            "static inline {ty} *{name}_{what}_{ident}({name}_arena *arena)\n{{\n    \
             return ({ty} *)(void *)&arena->bytes[{}];\n}}",
            module.spot(port.at).1
        );
    }
    o.push('\n');
}

/// Accessors of what is kept between runs, in the arena or in memory of its own.
fn states(o: &mut String, kept: &[(Port, &str, &State)], name: &str, memory: &str) {
    if kept.is_empty() {
        return;
    }
    let _ = writeln!(
        o,
        "/* What the {memory} keeps between runs: to be read, saved, or set to what was saved. Each run changes it. */"
    );
    for (port, ident, _) in kept {
        let ty = c_type(port.elem);
        let _ = writeln!(
            o,
            "static inline {ty} *{name}_{ident}({name}_{memory} *{memory})\n{{\n    \
             return ({ty} *)(void *)&{memory}->bytes[{}];\n}}",
            port.at
        );
    }
    o.push('\n');
}

/// The call of `run` without a copy; `None` if the model has no ports.
fn example(module: &Module<'_>, name: &str) -> Option<String> {
    let inputs = module.inputs.iter().map(|ident| format!("{name}_input_{ident}(&arena)"));
    let outputs = module.outputs.iter().map(|ident| format!("{name}_output_{ident}(&arena)"));
    let ports: Vec<String> = inputs.chain(outputs).collect();
    let state = if module.program.states_apart() { "&state, " } else { "" };
    (!ports.is_empty()).then(|| format!("{name}_run({state}&arena, {});", ports.join(", ")))
}

fn port_macros(o: &mut String, what: &str, port: &Port, more: &str, prefix: &str) {
    let dims: Vec<String> = port.shape.iter().map(|d| d.to_string()).collect();
    let _ = writeln!(
        o,
        "\n/* {what} `{}`: {} [{}]{more}{}. */",
        printable(&port.name),
        port.elem.name(),
        dims.join(", "),
        port.held().map_or_else(String::new, |held| format!("; {held}"))
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

pub(super) fn run_signature(module: &Module<'_>, name: &str) -> String {
    let mut args = Vec::new();
    if module.program.states_apart() {
        args.push(format!("{name}_state *state"));
    }
    args.push(format!("{name}_arena *arena"));
    for (port, ident) in module.program.inputs.iter().zip(&module.inputs) {
        args.push(format!("const {} *in_{ident}", c_type(port.elem)));
    }
    for (port, ident) in module.program.outputs.iter().zip(&module.outputs) {
        args.push(format!("{} *out_{ident}", c_type(port.elem)));
    }
    format!("void {name}_run({})", args.join(", "))
}
