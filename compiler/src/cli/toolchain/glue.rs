//! What ties emitted models to the harness: tables of models in C and in Rust, and the linker
//! script of a board.

use super::Model;
use super::image::port_bytes;
use crate::emit::names::type_name;
use crate::program::Port;
use crate::tensor::DType;
use secateur_targets::Emulator;
use std::fmt::Write as _;

/// Bytes of stack that the firmware has.
const STACK: u64 = 64 << 10;

/// `models.c`: arenas, port arrays and the table `serve_models`.
pub(super) fn models_c(models: &[Model]) -> String {
    let mut text = String::from("#include \"serve.h\"\n");
    for model in models {
        let _ = writeln!(text, "#include \"{}.h\"", model.program.name);
    }
    let mut table = String::new();
    for (index, model) in models.iter().enumerate() {
        let name = &model.program.name;
        let mut arguments = String::new();
        for (kind, ports) in [("in", &model.program.inputs), ("out", &model.program.outputs)] {
            let mut list = String::new();
            for (i, port) in ports.iter().enumerate() {
                let bytes = port_bytes(port);
                let array = format!("{kind}_{index}_{i}");
                // Aligned for any element type.
                let _ = writeln!(text, "static uint64_t {array}[{}];", bytes.div_ceil(8).max(1));
                let _ = write!(arguments, ", (void *){array}");
                let _ = write!(list, " {{{array}, {bytes}}},");
            }
            let _ = writeln!(text, "static const serve_port {kind}s_{index}[] = {{{list} {{0, 0}}}};");
        }
        let _ = writeln!(text, "static {name}_arena arena_{index};");
        let _ = writeln!(text, "static void init_{index}(void) {{ {name}_init(&arena_{index}); }}");
        let _ = writeln!(
            text,
            "static uint32_t run_{index}(void)\n{{\n    const uintptr_t mark = paint_stack();\n    \
             {name}_run(&arena_{index}{arguments});\n    return painted_stack(mark);\n}}"
        );
        let (ins, outs) = (model.program.inputs.len(), model.program.outputs.len());
        let _ =
            writeln!(table, "    {{init_{index}, run_{index}, ins_{index}, {ins}, outs_{index}, {outs}}},");
    }
    let _ = write!(text, "const serve_model serve_models[] = {{\n{table}}};\n");
    let _ = writeln!(text, "const uint32_t serve_model_count = {};", models.len());
    text
}

fn rust_type(port: &Port) -> String {
    let elem = match port.elem {
        DType::Bool => "bool",
        other => other.name(),
    };
    format!("[{elem}; {}]", port.shape.iter().product::<usize>())
}

/// `models.rs`: the emitted modules, their instances, port arrays and the table `MODELS`.
pub(super) fn models_rs(models: &[Model]) -> String {
    let mut text = String::from(
        "//! The models of this harness.\n\nuse crate::port;\nuse crate::serve::{Model, Port};\n\n",
    );
    let mut table = String::new();
    for (index, model) in models.iter().enumerate() {
        let name = &model.program.name;
        let ty = type_name(name);
        let _ = writeln!(text, "#[path = \"{name}.rs\"]\n#[allow(dead_code)]\nmod model_{index};\n");
        let mut arguments = String::new();
        let mut statics = String::new();
        for (kind, ports, reference) in [
            ("IN", &model.program.inputs, "&*&raw const "),
            ("OUT", &model.program.outputs, "&mut *&raw mut "),
        ] {
            let mut list = String::new();
            for (i, port) in ports.iter().enumerate() {
                let array = format!("{kind}_{index}_{i}");
                let zero = match port.elem {
                    DType::F32 => "0.0",
                    DType::Bool => "false",
                    _ => "0",
                };
                let (ty, len) = (rust_type(port), port.shape.iter().product::<usize>());
                let _ = writeln!(statics, "static mut {array}: {ty} = [{zero}; {len}];");
                let _ =
                    write!(arguments, "{}{reference}{array}", if arguments.is_empty() { "" } else { ", " });
                let _ =
                    write!(list, "Port {{ data: (&raw mut {array}).cast(), bytes: {} }}, ", port_bytes(port));
            }
            let _ = writeln!(statics, "static {kind}S_{index}: &[Port] = &[{list}];");
        }
        text += &statics;
        let _ = writeln!(
            text,
            "static mut MODEL_{index}: model_{index}::{ty} = model_{index}::{ty}::new();\n\
             // Not inlined, so that the model's whole stack lies below the painted mark.\n\
             #[inline(never)]\nfn call_{index}() {{\n    \
             // SAFETY: one thread, and the harness holds no reference while this runs.\n    \
             unsafe {{ (*&raw mut MODEL_{index}).run({arguments}) }}\n}}\n\
             fn run_{index}() -> u32 {{\n    let mark = port::paint_stack();\n    call_{index}();\n    \
             port::painted_stack(mark)\n}}"
        );
        let _ =
            writeln!(table, "    Model {{ run: run_{index}, inputs: INS_{index}, outputs: OUTS_{index} }},");
    }
    let _ = write!(text, "\npub static MODELS: &[Model] = &[\n{table}];\n");
    text
}

/// What an emulator begins with: start-up, semihosting, stack painting.
pub(super) fn start_file(emulator: &Emulator) -> &'static str {
    match emulator.start_file.as_str() {
        "riscv" => include_str!("../harness/start_riscv.s"),
        _ => include_str!("../harness/start.s"),
    }
}

/// The linker script of a board or of a program in user mode.
pub(super) fn linker_script(emulator: &Emulator) -> String {
    let trap = if emulator.trap_unaligned { 8 } else { 0 };
    let fill = [
        ("@code-start@", emulator.code.start.0),
        ("@code-size@", emulator.code.size.0),
        ("@ram-start@", emulator.ram.start.0),
        ("@ram-size@", emulator.ram.size.0),
        ("@stack-size@", STACK),
        ("@unaligned-trap@", trap),
    ];
    let script = match emulator.is_user_mode() {
        true => include_str!("../harness/link_user.ld"),
        false => include_str!("../harness/link.ld"),
    };
    fill.iter().fold(script.to_owned(), |text, (name, value)| text.replace(name, &format!("{value:#x}")))
}
