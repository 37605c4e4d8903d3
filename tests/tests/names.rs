//! Names that models bring: whatever their authors wrote, the emitted C and Rust compile without
//! a warning, and hold nothing but ASCII.

use secateur_compiler::artifact::compile;
use secateur_compiler::emit::File;
use secateur_compiler::emit::{EmitOptions, c, names, rust};
use secateur_compiler::error::Fault;
use secateur_compiler::kernel::*;
use secateur_compiler::observe::Silent;
use secateur_compiler::options::{Language, Quantize};
use secateur_compiler::program::machine::Machine;
use secateur_compiler::program::*;
use secateur_compiler::tensor::{DType, Data};
use secateur_compiler::{Options, Tensor, targets};
use secateur_tests::{host, repository, tools};
use std::collections::BTreeSet;

/// Macros and functions of C's headers, words of C and Rust, what emitted code uses itself, names
/// that differ in letter case alone, controls of writing direction, ends of comments, and none.
const HOSTILE: &[&str] = &[
    "INT8_MIN",
    "NULL",
    "FLT_MAX",
    "SECATEUR_H",
    "errno",
    "stdin",
    "assert",
    "EOF",
    "I",
    "complex",
    "unix",
    "linux",
    "i386",
    "bool",
    "true",
    "int",
    "match",
    "type",
    "self",
    "Self",
    "crate",
    "new",
    "run",
    "run_in_place",
    "init",
    "default",
    "arena",
    "h",
    "no",
    "weights",
    "kernels",
    "math",
    "in",
    "Identity:0",
    "StatefulPartitionedCall:0",
    "x",
    "X",
    "x_2",
    "x\u{202e}gnp",
    "a\u{2066}b\u{200b}",
    "caf\u{e9}",
    "\u{6e29}\u{5ea6}",
    "a/b",
    "//",
    "*/ int x; /*",
    "??/\n#error",
    "\\",
    "",
    "__",
    "1d",
    "a_name_that_is_longer_than_any_compiler_of_the_last_century_cared_to_remember_0",
    "a_name_that_is_longer_than_any_compiler_of_the_last_century_cared_to_remember_1",
];

/// Ports have the names that the user gives them, and weights their section, in code that gives the same bits.
#[test]
fn ports_take_the_names_of_the_user_and_weights_their_section() {
    let model = std::fs::read(repository().join("tests/field/two_outputs_shared.onnx")).unwrap();
    let renames = [("x", "image"), ("r", "rest")].map(|(port, name)| (port.to_string(), name.to_string()));
    let options = Options {
        name: "net".into(),
        quantize: Quantize::None,
        emit: vec![Language::C, Language::Rust],
        renames: renames.into(),
        section: Some(".model_weights".into()),
        ..Options::default()
    };
    let target = targets::find("host").unwrap();
    let artifact = compile(&model, &target, None, &options, &mut Silent).unwrap();
    let is_rust = |f: &&File| f.path.ends_with(".rs");
    let (rust, c): (Vec<_>, Vec<_>) = artifact.files.iter().partition(is_rust);
    let owned = |files: Vec<&File>| files.into_iter().cloned().collect::<Vec<_>>();
    let (rust, c) = (owned(rust), owned(c));
    let header = &c.iter().find(|f| f.path == "net.h").unwrap().text;
    for name in ["NET_IMAGE_LEN", "*net_output_rest(", "net_output_y1(", "/* Output `r`: f32"] {
        assert!(header.contains(name), "{name}\n{header}");
    }
    for name in ["pub fn image_mut(", "pub const REST_LEN", "pub fn y2(", "link_section = \".model_weights\""]
    {
        assert!(rust[0].text.contains(name), "{name}");
    }
    let image: Vec<f32> = (0..192).map(|i| (i * 37 % 200) as f32 / 100.0 - 1.0).collect();
    let mut machine = Machine::new(&artifact.program).unwrap();
    let want = machine.run(&[Tensor::f32(&[1, 3, 8, 8], image.clone())]).unwrap();
    let want = [want.into_iter().map(Tensor::into_data).collect::<Vec<_>>()];
    let sample = [vec![Data::F32(image)]];
    for cc in host::c_compilers() {
        assert_eq!(host::run_c(cc, &artifact.program, &c, &sample), want, "{cc}");
        let folder = tempfile::tempdir().unwrap();
        host::write(folder.path(), &c);
        let mut command = tools::command(cc);
        let built = command.args(["-std=c99", "-c", "net.c"]).current_dir(folder.path()).status().unwrap();
        let (object, section) = (std::fs::read(folder.path().join("net.o")).unwrap(), b"\0.model_weights\0");
        assert!(built.success() && object.windows(section.len()).any(|bytes| bytes == section), "{cc}");
    }
    assert_eq!(host::run_rust(&artifact.program, &rust, &sample, "1"), want);
    for (port, name, says) in [
        ("z", "a", "no input, output or state is called `z`\n  help: there are `x`, `y1`, `y2`, `r`"),
        (
            "x",
            "Image",
            "`Image` is no name for C and Rust: small letters, digits and single `_`, beginning with a letter\n  \
                        help: a name that can be is `image`",
        ),
        ("r", "y1", "`y1` is a word of Rust, that of another port or method, or too long"),
        ("r", "match", "`match` is a word of Rust"),
    ] {
        let renames = [(port.to_string(), name.to_string())].into();
        let options = Options { renames, ..options.clone() };
        let said = compile(&model, &target, None, &options, &mut Silent).unwrap_err().to_string();
        assert!(said.contains(says), "{said}");
    }
    for section in ["", "9", "a b", "a\"", ".w\u{e9}", &"s".repeat(64)] {
        let options = Options { section: Some(section.into()), ..options.clone() };
        let said = compile(&model, &target, None, &options, &mut Silent).unwrap_err();
        assert_eq!(said.fault, Fault::Option, "{section}");
    }
}

/// Each input is copied to the output that stands at its place.
fn copies(name: &str, inputs: &[&str], outputs: &[&str]) -> Program {
    let mut k = KernelBuilder::new("copy");
    let x = k.buffer("x", DType::I8, 4, Access::Read);
    let y = k.buffer("y", DType::I8, 4, Access::Write);
    k.for_("i", 0, 4, |k, i| k.store(y, i, x.at(i)));
    let kernel = k.finish().unwrap();
    let mut p = Program { name: name.into(), ..Program::default() };
    let mut steps = Vec::new();
    for (layer, (input, output)) in inputs.iter().zip(outputs).enumerate() {
        let mut args = Vec::new();
        for (name, ports) in [(input, &mut p.inputs), (output, &mut p.outputs)] {
            let at = p.arena;
            ports.push(Port {
                name: name.to_string(),
                shape: vec![4],
                elem: DType::I8,
                real: DType::F32,
                declared: DType::F32,
                affine: Some((0.5, -3)),
                at,
            });
            p.buffers.push(Buffer {
                name: name.to_string(),
                elem: DType::I8,
                len: 4,
                place: Place::Arena(at),
                holds: None,
            });
            args.push(Arg::Buffer { buffer: BufferId(p.buffers.len() as u32 - 1), offset: 0 });
            p.arena += 8;
        }
        steps.push(Step { layer, kernel: kernel.clone(), args });
        p.layers.push(Layer {
            name: input.to_string(),
            op: "Identity".into(),
            family: String::new(),
            output: output.to_string(),
            output_shape: vec![4],
            macs: 0,
            live_macs: 0,
            weight_bytes: 0,
            live_bytes: 8,
        });
    }
    p.entries = vec![Entry { name: "run".into(), steps }];
    p
}

fn ascii(files: &[File]) {
    for file in files {
        let strange: String = file.text.chars().filter(|c| !matches!(c, ' '..='~' | '\n')).collect();
        assert!(strange.is_empty(), "{} holds {strange:?}", file.path);
    }
}

#[test]
fn no_name_of_a_port_breaks_the_emitted_code() {
    let reversed: Vec<&str> = HOSTILE.iter().rev().copied().collect();
    let program = copies("hostile", HOSTILE, &reversed);
    let options = EmitOptions::default();
    let sample: Vec<Data> = (0..HOSTILE.len()).map(|i| Data::I8(vec![i as i8, -1, 2, -3])).collect();
    let want = vec![sample.clone()];
    let mut files = c::emit(&program, &options).unwrap();
    ascii(&files);
    // Every macro of C's headers is there before the model's own text is read.
    let every = [
        "assert", "complex", "ctype", "errno", "fenv", "float", "inttypes", "iso646", "limits", "locale",
        "math", "setjmp", "signal", "stdarg", "stdbool", "stddef", "stdint", "stdio", "stdlib", "string",
        "tgmath", "time", "wchar", "wctype",
    ];
    let before: String = every.iter().map(|h| format!("#include <{h}.h>\n")).collect();
    for file in &mut files {
        if !file.path.starts_with("secateur") {
            file.text.insert_str(0, &before);
        }
    }
    for cc in host::c_compilers() {
        assert_eq!(host::run_c(cc, &program, &files, std::slice::from_ref(&sample)), want, "{cc}");
    }
    let files = rust::emit(&program, &options).unwrap();
    ascii(&files);
    assert!(!files[0].text.contains("allow(dead_code, "), "no lint of names is switched off");
    assert_eq!(host::run_rust(&program, &files, &[sample], "0"), want);
}

#[test]
fn natural_names_stay() {
    let ports = |inputs: &[&str], outputs: &[&str]| names::ports(&copies("s", inputs, outputs));
    let same = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let natural = ["x", "h", "arena", "weights", "stack", "flash", "code", "no"];
    let out = ["y", "h_out", "scores", "logits", "int", "float", "raw", "errno"];
    assert_eq!(ports(&natural, &out), (same(&natural), same(&out)));
    assert_eq!(
        ports(&["in", "Input:0", "INT8_MIN"], &["Identity:0", "StatefulPartitionedCall_1:0", "type"]),
        (
            same(&["in", "input_0", "int8_min"]),
            same(&["identity_0", "stateful_partitioned_call_1_0", "type_2"])
        )
    );
    // Macros are in capital letters: these would be the same.
    assert_eq!(ports(&["x", "X"], &["y", "Y"]), (same(&["x", "x_2"]), same(&["y", "y_2"])));
    // An accessor of an input has the name of this output.
    assert_eq!(ports(&["h"], &["h_mut"]), (same(&["h"]), same(&["h_mut_2"])));
}

/// What C99 promises to tell apart: 31 bytes of a name that the linker sees, 63 of others.
#[test]
fn names_differ_where_c99_looks() {
    let longest = "a".repeat(names::LONGEST);
    assert_eq!(names::refusal(&longest), None);
    let mut seen = BTreeSet::new();
    let mut functions = names::Namespace::functions(&longest);
    for word in ["run", "init"] {
        functions.keep(word);
        seen.insert(format!("{longest}_{word}"));
    }
    for i in 0..3000 {
        let name =
            functions.take_external(if i % 2 == 0 { "gemm_s8_r4q2" } else { "gemm_s8_r4q3" }, &longest);
        let symbol = format!("{longest}_{name}_in_{longest}_kernels_S");
        assert!(seen.insert(symbol[..31].to_string()), "{symbol}");
    }
    let long: Vec<String> =
        (0..300).map(|i| format!("{}{i}", "port_of_a_name_without_end_".repeat(4))).collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    let program = copies(&longest, &long, &long);
    let mut macros = BTreeSet::new();
    for file in c::emit(&program, &EmitOptions::default()).unwrap().iter().filter(|f| f.path.ends_with(".h"))
    {
        for line in file.text.lines().filter_map(|l| l.strip_prefix("#define ")) {
            let name = line.split([' ', '(']).next().unwrap();
            assert!(
                name.len() <= 63 && (file.path.starts_with("secateur") || macros.insert(name.to_string())),
                "{name}"
            );
        }
    }
    assert!(macros.len() > 600 * 5);
}

#[test]
fn a_name_that_cannot_work_is_refused_as_usage() {
    let target = targets::find("host").unwrap();
    for name in [
        "main",
        "lib",
        "build",
        "features",
        "secateur",
        "Secateur",
        "secateur_math",
        "string",
        "signal",
        "math",
        "stdio",
        "assert",
        "core",
        "std",
        "alloc",
        "test",
        "proc_macro",
        "static",
        "dyn",
        "u8",
        "str",
        "con",
        "kws_kernels",
        "a__b",
        "a_",
        "_a",
        "1d",
        "a-b",
        "",
        "caf\u{e9}",
        "a_name_that_is_longer_than_thirty_one",
    ] {
        let options = Options { name: name.into(), ..Options::default() };
        let error = compile(&[], &target, None, &options, &mut Silent).unwrap_err();
        assert_eq!(error.fault, Fault::Option, "{name}: {error}");
        let help = error.help.unwrap_or_else(|| panic!("{name}: {} has no help", error.message));
        let other = names::adapted(name);
        assert!(help.contains(&format!("`{other}`")), "{help}");
        assert_eq!(names::refusal(&other), None, "{other}");
    }
    // Names of the harness's own files and functions serve like any other.
    for name in ["models", "serve", "port", "start", "run", "init", "int", "model", "option"] {
        assert_eq!(names::refusal(name), None, "{name}");
    }
}

/// Whatever the headers of this machine's compilers include: none of it can be hidden by a
/// model's header.
#[test]
fn no_header_that_emitted_code_reads_can_be_hidden() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("all.c");
    std::fs::write(&source, "#include <stdint.h>\n#include <string.h>\n#include <float.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <math.h>\n").unwrap();
    let mut seen = 0;
    for cc in ["gcc", "clang-19", "arm-none-eabi-gcc"] {
        if tools::find(cc).is_none() {
            eprintln!("skipped: no {cc}");
            continue;
        }
        let Ok(out) = tools::command(cc).arg("-H").arg("-fsyntax-only").arg(&source).output() else {
            eprintln!("skipped: no {cc}");
            continue;
        };
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        for line in text.lines().filter(|l| l.starts_with('.')) {
            let path = std::path::Path::new(line.trim_start_matches('.').trim());
            // Headers in folders of their own are read by the folder's name.
            let folder =
                path.parent().unwrap().file_name().unwrap_or_default().to_string_lossy().into_owned();
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            let top = ["include", "arm-none-eabi"].contains(&folder.as_str());
            if top && names::spelled(&stem) == stem && !stem.starts_with("__") {
                seen += 1;
                assert!(
                    names::refusal(&stem).is_some(),
                    "{cc}: a model called `{stem}` hides {}",
                    path.display()
                );
            }
        }
    }
    assert!(seen > 10, "the compilers list what they read");
}

/// A firmware of models whose names are those of the harness's own files.
#[test]
fn names_of_the_harness_serve() {
    use secateur_compiler::cli::toolchain::{Model, Optimize, build};
    use secateur_compiler::options::Language;
    use secateur_compiler::tensor::Tensor;
    let target = targets::find("host").unwrap();
    let programs: Vec<Program> =
        ["models", "serve", "port", "Option", "int"].iter().map(|n| copies(n, &["x"], &["y"])).collect();
    for language in [Language::C, Language::Rust] {
        let options = EmitOptions::default();
        let files: Vec<Vec<File>> = programs
            .iter()
            .map(|p| match language {
                Language::C => c::emit(p, &options).unwrap(),
                Language::Rust => rust::emit(p, &options).unwrap(),
            })
            .collect();
        let models: Vec<Model> =
            programs.iter().zip(&files).map(|(program, files)| Model { program, files }).collect();
        let image = build(language, &models, &target, Optimize::Debug).unwrap();
        let sample = vec![Tensor::new(vec![4], Data::I8(vec![1, -2, 3, -4])).unwrap()];
        for index in 0..models.len() {
            let got = image.run(index, std::slice::from_ref(&sample), &mut Silent).unwrap();
            assert_eq!(got.outputs, vec![sample.clone()], "{language:?}");
        }
    }
}
