//! Builds emitted C and Rust with this machine's compilers, warnings as errors, and runs them.

use crate::tools;
use secateur_compiler::emit::File;
use secateur_compiler::emit::names;
use secateur_compiler::program::{Port, Program};
use secateur_compiler::tensor::{DType, Data};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const WARNINGS: [&str; 5] = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror"];

/// The C compilers that the tests build with; one that this machine lacks fails the test by name.
pub fn c_compilers() -> [&'static str; 2] {
    // What they link with besides.
    tools::require(&["gcc", "g++", "clang-19", "/usr/lib/llvm-19/lib/clang/19/lib/linux"]);
    ["gcc", "clang-19"]
}

/// Writes files below a folder.
pub fn write(dir: &Path, files: &[File]) {
    for f in files {
        let path = dir.join(&f.path);
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder");
        std::fs::write(path, &f.text).expect("a file");
    }
}

fn run(command: &mut Command, what: &str) {
    let out = command.output().unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(out.status.success(), "{what}:\n{}", String::from_utf8_lossy(&out.stderr));
}

/// Builds the files with a main program in C or C++ (through the header) and returns what it
/// writes.
pub fn build_and_run_c(cc: &str, files: &[File], main: &str, language: &str, input: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), files);
    let source = files.iter().find(|f| f.path.ends_with(".c")).expect("a C file");
    let name = if language == "c" { "main_.c" } else { "main_.cc" };
    std::fs::write(dir.path().join(name), main).expect("a file");
    // Undefined behaviour ends the program.
    let checks = ["-O1", "-fsanitize=undefined", "-fno-sanitize-recover=all"];
    let compile = |file: &str, warnings: &[&str]| {
        let mut c = tools::command(cc);
        c.current_dir(dir.path()).args(warnings).args(checks).args(["-c", file]);
        run(&mut c, &format!("{cc} {file}"));
    };
    compile(&source.path, &WARNINGS);
    if language == "c" {
        compile(name, &WARNINGS);
    } else {
        compile(name, &["-xc++", "-std=c++11", "-Wall", "-Wextra", "-Werror"]);
    }
    let mut link = tools::command(cc);
    link.current_dir(dir.path())
        .args(checks)
        .arg(source.path.replace(".c", ".o"))
        .args(["main_.o", "-o", "main_"]);
    run(&mut link, &format!("{cc} linking"));
    execute(&dir.path().join("main_"), input)
}

fn execute(program: &Path, input: &[u8]) -> Vec<u8> {
    let mut child = tools::built(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    let (mut stdin, input) = (child.stdin.take().expect("piped"), input.to_vec());
    let feed = std::thread::spawn(move || {
        // The program may end before it has read everything.
        let _ = stdin.write_all(&input);
    });
    let mut out = Vec::new();
    child.stdout.take().expect("piped").read_to_end(&mut out).expect("reads");
    let mut err = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut err).expect("text");
    feed.join().expect("fed");
    assert!(child.wait().expect("ends").success(), "the program failed: {err}");
    out
}

fn c_type(elem: DType) -> &'static str {
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

fn len(port: &Port) -> usize {
    port.shape.iter().product()
}

fn feed(samples: &[Vec<Data>]) -> Vec<u8> {
    samples.iter().flatten().flat_map(Data::to_le_bytes).collect()
}

fn parse(program: &Program, bytes: &[u8], samples: usize) -> Vec<Vec<Data>> {
    let mut at = 0;
    let mut take = |port: &Port| {
        let from = at;
        at += len(port) * port.elem.size();
        Data::from_le_bytes(port.elem, &bytes[from..at])
    };
    let out = (0..samples).map(|_| program.outputs.iter().map(&mut take).collect()).collect();
    assert_eq!(at, bytes.len(), "the program wrote another number of bytes");
    out
}

/// Runs emitted C on samples (one array per input), one instance for all. Inputs and outputs stand
/// in arrays of the caller's own; the harness of the command line uses those inside the arena.
pub fn run_c(cc: &str, program: &Program, files: &[File], samples: &[Vec<Data>]) -> Vec<Vec<Data>> {
    let name = names::base_name(&program.name);
    let mut main = format!("#include \"{name}.h\"\n#include <stdio.h>\nstatic {name}_arena arena;\n");
    // A shared arena holds another model's numbers before each run.
    let (mut init, mut dirt) = ("&arena", "");
    if program.shares_arena {
        main.push_str("#include <string.h>\n");
        dirt = "        memset(&arena, 0xa5, sizeof arena);\n";
    }
    let (mut reads, mut writes, mut args) = (String::new(), String::new(), String::from("&arena"));
    if program.states_apart() {
        let _ = writeln!(main, "static {name}_state state;");
        (init, args) = ("&state", "&state, &arena".into());
    }
    for (i, port) in program.inputs.iter().enumerate() {
        let _ = writeln!(main, "static {} in{i}[{}];", c_type(port.elem), len(port).max(1));
        let _ = writeln!(
            reads,
            "        if (fread(in{i}, sizeof in{i}[0], {0}, stdin) != {0}) return 0;",
            len(port)
        );
        let _ = write!(args, ", in{i}");
    }
    for (i, port) in program.outputs.iter().enumerate() {
        let _ = writeln!(main, "static {} out{i}[{}];", c_type(port.elem), len(port).max(1));
        let _ = writeln!(writes, "        fwrite(out{i}, sizeof out{i}[0], {}, stdout);", len(port));
        let _ = write!(args, ", out{i}");
    }
    let _ = writeln!(
        main,
        "int main(void) {{\n    int n;\n    {name}_init({init});\n    for (n = 0; n < {}; n++) {{\n{reads}{dirt}        \
         {name}_run({args});\n{writes}    }}\n    return 0;\n}}",
        samples.len()
    );
    let out = build_and_run_c(cc, files, &main, "c", &feed(samples));
    parse(program, &out, samples.len())
}

/// What a program of emitted Rust prints: `main` has the model as module `model`.
pub fn build_and_run_rust(files: &[File], main: &str, opt: &str, input: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), files);
    let runtime = dir.path().join("runtime");
    for (name, text) in secateur_runtime::sources::RUST {
        std::fs::create_dir_all(&runtime).expect("a folder");
        std::fs::write(runtime.join(name), text).expect("a file");
    }
    let mut lib = tools::command("rustc");
    lib.current_dir(dir.path()).args(["--edition=2024", "--crate-type=rlib", "--crate-name=secateur"]);
    lib.arg(format!("-Copt-level={opt}")).arg("runtime/lib.rs");
    run(&mut lib, "rustc of the runtime");
    let main = format!("#[path = \"{}\"]\nmod model;\n{main}", files[0].path);
    std::fs::write(dir.path().join("main.rs"), &main).expect("a file");
    let mut bin = tools::command("rustc");
    bin.current_dir(dir.path()).args([
        "--edition=2024",
        "-Dwarnings",
        "--extern",
        "secateur=libsecateur.rlib",
    ]);
    bin.arg(format!("-Copt-level={opt}")).arg("main.rs");
    run(&mut bin, "rustc of the model");
    execute(&dir.path().join("main"), input)
}

/// Runs emitted Rust on samples, one instance for all. Debug assertions are on at level 0.
pub fn run_rust(program: &Program, files: &[File], samples: &[Vec<Data>], opt: &str) -> Vec<Vec<Data>> {
    let ty = names::type_name(&program.name);
    let mut main = format!(
        "use std::io::{{Read, Write}};\n\
         static MODEL: std::sync::Mutex<model::{ty}> = std::sync::Mutex::new(model::{ty}::new());\nfn main() {{\n    \
         let mut model = MODEL.lock().unwrap();\n    let mut stdin = std::io::stdin().lock();\n    let mut stdout = std::io::stdout().lock();\n"
    );
    let (mut reads, mut writes, mut args) = (String::new(), String::new(), Vec::new());
    for (i, port) in program.inputs.iter().enumerate() {
        let (n, ty) = (len(port), port.elem.name());
        let value =
            if port.elem == DType::Bool { "c[0] != 0".into() } else { format!("{ty}::from_le_bytes(*c)") };
        let _ = writeln!(
            reads,
            "        let mut bytes = [0u8; {}];\n        stdin.read_exact(&mut bytes).unwrap();\n        \
             let mut in{i} = [{ty}::default(); {n}];\n        \
             for (x, c) in in{i}.iter_mut().zip(bytes.as_chunks::<{}>().0) {{ *x = {value}; }}",
            n * port.elem.size(),
            port.elem.size()
        );
        args.push(format!("&in{i}"));
    }
    for (i, port) in program.outputs.iter().enumerate() {
        let (n, ty) = (len(port), port.elem.name());
        let value = if port.elem == DType::Bool { "&[u8::from(*y)]" } else { "&y.to_le_bytes()" };
        let _ = writeln!(main, "    let mut out{i} = [{ty}::default(); {n}];");
        let _ = writeln!(writes, "        for y in &out{i} {{ stdout.write_all({value}).unwrap(); }}");
        args.push(format!("&mut out{i}"));
    }
    let mut on = "";
    if program.shares_arena {
        let _ =
            writeln!(main, "    let mut arena = secateur::Arena::<{{ model::{ty}::ARENA_BYTES }}>::new();");
        // It holds another model's numbers before each run.
        reads += "        arena.lend::<0>().fill(0xa5);\n";
        on = ".on(&mut arena)";
    }
    let _ = writeln!(
        main,
        "    for _ in 0..{} {{\n{reads}        model{on}.run({});\n{writes}    }}\n}}",
        samples.len(),
        args.join(", ")
    );
    parse(program, &build_and_run_rust(files, &main, opt, &feed(samples)), samples.len())
}
