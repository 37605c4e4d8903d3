//! What stands around emitted C for who builds it: a Makefile, or lists for CMake.
//!
//! In: the program, the options of the emitters, the files that they wrote. Out: files that build a library of these.
//! Law: whatever a project around it has, no name meets one of it: variables and targets begin with the model's name,
//! or with `secateur`. (A crate is the Rust printer's.)

use super::file::File;
use super::module::origin;
use super::names::base_name;
use super::{EmitOptions, printable};
use crate::error::{Error, Result};
use crate::options::{Layout, Leaf, Options};
use crate::program::Program;
use secateur_targets::Target;

/// How C is compiled for a target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Build {
    /// The compiler's command: GCC where it knows the core, else `clang`; `cc` for the host.
    pub compiler: String,
    /// Flags that choose the core.
    pub flags: Vec<String>,
}

impl Build {
    /// The usual compiler for a target.
    pub fn of(target: &Target) -> Build {
        let host = || Build { compiler: "cc".to_owned(), flags: Vec::new() };
        match &target.core.toolchain {
            _ if target.is_host() => host(),
            None => host(),
            Some(tools) if tools.gcc.is_empty() => {
                Build { compiler: "clang".to_owned(), flags: tools.clang.clone() }
            }
            Some(tools) => Build { compiler: tools.command("gcc"), flags: tools.gcc.clone() },
        }
    }
    /// Flags by which the compiler knows the core, and no others.
    pub fn core_flags(&self) -> String {
        let chooses = |f: &&String| f.starts_with("-m") && !f.starts_with("-mcmodel");
        self.flags.iter().filter(chooses).cloned().collect::<Vec<_>>().join(" ")
    }
    /// The archiver that goes with the compiler.
    pub fn archiver(&self) -> String {
        match self.compiler.strip_suffix("gcc") {
            Some(prefix) => format!("{prefix}ar"),
            None if self.compiler == "clang" => "llvm-ar".to_owned(),
            None => "ar".to_owned(),
        }
    }
}

/// Refuses a layout that builds what is not emitted.
pub fn check_layout(options: &Options) -> Result<()> {
    match options.layout.language() {
        Some(language) if !options.emit.contains(&language) => {
            let (name, language) = (options.layout.show(), language.show());
            let why = format!("{name} builds {language}, which is not emitted");
            let help = format!("emit it: `--emit {}`", language.trim_matches('"'));
            Err(Error::option("layout", why).help(help))
        }
        _ => Ok(()),
    }
}

/// The files of the layout: none where the sources stand alone, or make a crate.
pub fn around(program: &Program, options: &EmitOptions, files: &[File]) -> Vec<File> {
    let parts: &[(&str, &str)] = match options.layout {
        Layout::Files | Layout::Cargo => &[],
        Layout::Make => &[("Makefile", include_str!("layout/Makefile"))],
        Layout::Cmake => &[
            ("CMakeLists.txt", include_str!("layout/CMakeLists.txt")),
            ("toolchain.cmake", include_str!("layout/toolchain.cmake")),
        ],
    };
    parts.iter().map(|(path, text)| file(path, text, program, options, files)).collect()
}

/// A template with its `@words@` filled in, below the lines that say whose it is.
fn file(path: &str, template: &str, program: &Program, options: &EmitOptions, files: &[File]) -> File {
    let ending = |end: &str| {
        let paths = files.iter().map(|f| f.path.as_str()).filter(|path| path.ends_with(end));
        paths.collect::<Vec<_>>().join(" ")
    };
    let (assembly, headers) = (ending(".S"), ending(".h"));
    let build = &options.build;
    let mut text = format!("# {}\n", origin(path, &program.name));
    text += template;
    for (word, value) in [
        ("@name@", base_name(&program.name)),
        ("@target@", printable(&options.target)),
        ("@core@", printable(&options.core)),
        ("@compiler@", build.compiler.clone()),
        ("@archiver@", build.archiver()),
        ("@flags@", build.flags.join(" ")),
        ("@assembly@", assembly.clone()),
        ("@headers@", headers),
        ("@languages@", if assembly.is_empty() { "C" } else { "C ASM" }.to_owned()),
        ("@system@", if options.core == "host" { "" } else { "Generic" }.to_owned()),
        ("@processor@", processor(&options.core).to_owned()),
    ] {
        text = text.replace(word, &value);
    }
    File { path: path.to_owned(), text }
}

/// The processor's family, as CMake calls those of bare metal.
fn processor(core: &str) -> &'static str {
    match core {
        _ if core.starts_with("cortex") => "arm",
        _ if core.starts_with("rv32") => "riscv32",
        _ if core.starts_with("hexagon") => "hexagon",
        _ => "",
    }
}
