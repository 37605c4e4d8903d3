//! What ties emitted models to the harness: tables of models in C and in Rust, and the linker
//! script of a board.

use super::Model;
use crate::emit::names::{self, type_name};
use secateur_targets::Emulator;
use std::fmt::Write as _;

/// Folder of the emitted files below that of the harness.
pub(super) const EMITTED: &str = "emitted";

/// Bytes of stack that the firmware has.
const STACK: u64 = 64 << 10;

/// `models.c`: arenas, where the ports stand in them, and the table `serve_models`.
pub(super) fn models_c(models: &[Model]) -> String {
    let mut text = String::from("#include \"serve.h\"\n");
    for model in models {
        let _ = writeln!(text, "#include \"{EMITTED}/{}.h\"", model.program.name);
    }
    let mut table = String::new();
    for (index, model) in models.iter().enumerate() {
        let name = &model.program.name;
        let (inputs, outputs) = names::ports(model.program);
        let mut arguments = String::new();
        let _ = writeln!(text, "static {name}_arena arena_{index};");
        let (mut state, mut kept) = (String::new(), format!("arena_{index}"));
        if model.program.states_apart() {
            let _ = writeln!(text, "static {name}_state state_{index};");
            (state, kept) = (format!("&state_{index}, "), format!("state_{index}"));
        }
        for (kind, put, ports, idents) in [
            ("ins", "input", &model.program.inputs, inputs),
            ("outs", "output", &model.program.outputs, outputs),
        ] {
            let mut list = String::new();
            for (i, (port, ident)) in ports.iter().zip(idents).enumerate() {
                let slot = format!("{name}_{put}_{ident}(&arena_{index})");
                let _ = writeln!(text, "static void *{put}_{index}_{i}(void) {{ return {slot}; }}");
                let _ = write!(arguments, ", {slot}");
                let _ = write!(list, " {{{put}_{index}_{i}, {}}},", port.bytes());
            }
            let _ = writeln!(text, "static const serve_port {kind}_{index}[] = {{{list} {{0, 0}}}};");
        }
        let _ = writeln!(text, "static void init_{index}(void) {{ {name}_init(&{kept}); }}");
        let _ = writeln!(
            text,
            "static uint32_t run_{index}(void)\n{{\n    const uintptr_t mark = paint_stack();\n    \
             run_begins();\n    {name}_run({state}&arena_{index}{arguments});\n    run_ends();\n    \
             return painted_stack(mark);\n}}"
        );
        let (ins, outs) = (model.program.inputs.len(), model.program.outputs.len());
        let _ =
            writeln!(table, "    {{init_{index}, run_{index}, ins_{index}, {ins}, outs_{index}, {outs}}},");
    }
    let _ = write!(text, "const serve_model serve_models[] = {{\n{table}}};\n");
    let _ = writeln!(text, "const uint32_t serve_model_count = {};", models.len());
    text
}

/// `models.rs`: the emitted modules, their instances, where the ports stand in them, and the table `MODELS`.
pub(super) fn models_rs(models: &[Model]) -> String {
    let mut text = String::from(
        "//! The models of this harness.\n\nuse crate::port;\nuse crate::serve::{Model, Port, run_begins, run_ends};\n\n",
    );
    let mut table = String::new();
    for (index, model) in models.iter().enumerate() {
        let name = &model.program.name;
        let ty = type_name(name);
        let (inputs, outputs) = names::ports(model.program);
        let _ = writeln!(
            text,
            "#[path = \"{EMITTED}/{}.rs\"]\n#[allow(dead_code)]\nmod model_{index};\n",
            names::rust_module(name)
        );
        let mut runs = format!("(*&raw mut MODEL_{index})");
        if model.program.shares_arena {
            let _ = writeln!(
                text,
                "static mut ARENA_{index}: secateur::Arena<{{ model_{index}::{ty}::ARENA_BYTES }}> = secateur::Arena::new();"
            );
            let _ = write!(runs, ".on(&mut *&raw mut ARENA_{index})");
        }
        for (kind, ports, idents, slot) in [
            ("INS", &model.program.inputs, inputs, "_mut().as_mut_ptr()"),
            ("OUTS", &model.program.outputs, outputs, "().as_ptr().cast_mut()"),
        ] {
            let mut list = String::new();
            for (port, ident) in ports.iter().zip(idents) {
                // SAFETY of that text: one thread, and no reference outlives the call.
                let _ = write!(
                    list,
                    "Port {{ data: || unsafe {{ {runs}.{ident}{slot}.cast() }}, bytes: {} }}, ",
                    port.bytes()
                );
            }
            let _ = writeln!(text, "static {kind}_{index}: &[Port] = &[{list}];");
        }
        let _ = writeln!(
            text,
            "static mut MODEL_{index}: model_{index}::{ty} = model_{index}::{ty}::new();\n\
             // Not inlined, so that the model's whole stack lies below the painted mark.\n\
             #[inline(never)]\nfn call_{index}() {{\n    \
             // SAFETY: one thread, and the harness holds no reference while this runs.\n    \
             unsafe {{ {runs}.run_in_place() }}\n}}\n\
             extern \"C\" fn run_{index}() -> u32 {{\n    let mark = port::paint_stack();\n    run_begins();\n    \
             call_{index}();\n    run_ends();\n    port::painted_stack(mark)\n}}"
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
        "hexagon" => include_str!("../harness/start_hexagon.s"),
        _ => include_str!("../harness/start.s"),
    }
}

/// Functions that the compiler calls by itself, where it comes without them.
pub(super) fn arithmetic(emulator: &Emulator) -> Option<&'static str> {
    (emulator.start_file == "hexagon").then_some(include_str!("../harness/arithmetic_hexagon.c"))
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
