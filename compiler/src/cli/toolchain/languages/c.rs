//! Emitted C: `cc` for the host; for a chip its core's GCC, else `clang`.

use super::super::image::{Image, ports};
use super::super::{Model, Optimize, glue, tools};
use crate::error::{Error, Result, Site};
use secateur_targets::Target;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A C compiler with the flags that choose the core.
#[derive(Debug, Clone)]
pub(crate) struct Compiler {
    pub(crate) program: PathBuf,
    pub(crate) flags: Vec<String>,
    pub(crate) gcc: bool,
}

const CLANGS: &[&str] = &["clang", "clang-21", "clang-20", "clang-19", "clang-18", "clang-17", "clang-16"];

/// The C compiler for a target. `CC` names another for the host.
pub(crate) fn compiler(target: &Target) -> Result<Compiler> {
    if target.is_host() {
        let named = std::env::var("CC").ok().filter(|cc| !cc.is_empty());
        let names: Vec<&str> = named.iter().map(String::as_str).chain(["cc", "gcc", "clang"]).collect();
        let program = tools::find(&names)
            .ok_or_else(|| tools::missing("A C compiler", &["cc", "gcc", "clang"], "gcc"))?;
        return Ok(Compiler { program, flags: Vec::new(), gcc: false });
    }
    let Some(tools) = &target.core.toolchain else {
        return Err(Error::option("target", format!("core `{}` has no toolchain", target.core.name)));
    };
    let gcc = tools.command("gcc");
    if !tools.gcc.is_empty()
        && let Some(program) = self::tools::find(&[gcc.as_str()])
    {
        return Ok(Compiler { program, flags: tools.gcc.clone(), gcc: true });
    }
    let program = self::tools::find(CLANGS).ok_or_else(|| {
        self::tools::missing("A C compiler for the target", &[gcc.as_str(), "clang"], tools.package())
    })?;
    Ok(Compiler { program, flags: tools.clang.clone(), gcc: false })
}

/// Writes the model's C files into a folder of their own, where no name meets one of the harness,
/// and gives those to compile.
pub(crate) fn write_sources(model: &Model, folder: &Path, host: bool) -> Result<Vec<PathBuf>> {
    let mut sources = Vec::new();
    for file in model.files {
        let path = folder.join(glue::EMITTED).join(&file.path);
        if !["c", "h", "S"].iter().any(|e| path.extension().is_some_and(|x| x == *e)) {
            continue;
        }
        tools::write(&path, &file.text)?;
        let assembly = path.extension().is_some_and(|x| x == "S");
        if path.extension().is_some_and(|x| x == "c") || (assembly && !host) {
            sources.push(path);
        }
    }
    if sources.is_empty() {
        return Err(Error::internal(Site::Whole, format!("`{}` was not emitted as C", model.program.name)));
    }
    Ok(sources)
}

/// Flags that keep the arithmetic as the evaluator has it.
pub(crate) const EXACT: &[&str] = &["-std=c99", "-ffp-contract=off"];

/// Flags that firmware is usually built with. They move frames by some bytes, so what is measured
/// is built with them too.
pub(crate) const FIRMWARE: &[&str] = &["-ffunction-sections", "-fdata-sections"];

pub(crate) fn level(optimize: Optimize) -> &'static str {
    match optimize {
        Optimize::Speed => "-O2",
        Optimize::Size => "-Os",
        Optimize::Debug => "-O1",
    }
}

/// Whether debug checks are left out, and where they end.
fn checks(optimize: Optimize) -> &'static str {
    if optimize == Optimize::Debug { "-DSECATEUR_STOP=serve_stop" } else { "-DNDEBUG" }
}

/// GCC's arithmetic library for a target, as an argument of the linking compiler.
fn arithmetic(compiler: &Compiler, target: &Target) -> Result<String> {
    match target.core.toolchain.as_ref().map(|t| &t.gcc_library) {
        Some(flags) if !flags.is_empty() => {
            let found =
                tools::run(Command::new(&compiler.program).args(flags).arg("-print-libgcc-file-name"))?;
            Ok(String::from_utf8_lossy(&found.stdout).trim().to_owned())
        }
        _ => Ok("-lgcc".to_owned()),
    }
}

pub(crate) fn build(models: &[Model], target: &Target, optimize: Optimize) -> Result<Image> {
    let compiler = compiler(target)?;
    let folder = tools::folder()?;
    let at = |name: &str| folder.path().join(name);
    let mut sources = Vec::new();
    for model in models {
        sources.extend(write_sources(model, folder.path(), target.is_host())?);
    }
    let emulator = target.core.emulator.clone();
    tools::write(&at("models.c"), glue::models_c(models))?;
    tools::write(&at("serve.h"), include_str!("../../harness/serve.h"))?;
    tools::write(&at("serve.c"), include_str!("../../harness/serve.c"))?;
    sources.extend([at("models.c"), at("serve.c")]);
    let mut command = Command::new(&compiler.program);
    command
        .args(&compiler.flags)
        .args(EXACT)
        .arg(level(optimize))
        .arg(checks(optimize))
        .arg("-I")
        .arg(folder.path());
    match &emulator {
        None => {
            tools::write(&at("port.c"), include_str!("../../harness/port_host.c"))?;
            sources.push(at("port.c"));
        }
        Some(emulator) => {
            tools::write(&at("port.c"), include_str!("../../harness/port_semihosting.c"))?;
            tools::write(&at("start.s"), glue::start_file(emulator))?;
            tools::write(&at("link.ld"), glue::linker_script(emulator))?;
            command.args(FIRMWARE).args(["-nostdlib", "-Wl,--gc-sections"]);
            command.arg("-T").arg(at("link.ld"));
            if compiler.gcc {
                command.args(["-Wl,--no-warn-rwx-segments"]);
            } else {
                // One segment for code and constants: user mode maps whole pages.
                command.args(["-fno-builtin", "-fuse-ld=lld", "-Wl,--no-rosegment"]);
            }
            sources.extend([at("port.c"), at("start.s")]);
            if let Some(text) = glue::arithmetic(emulator) {
                tools::write(&at("arithmetic.c"), text)?;
                sources.push(at("arithmetic.c"));
            }
        }
    }
    let file = at("model.elf");
    command.args(&sources).arg("-o").arg(&file);
    if emulator.is_some() && compiler.gcc {
        command.arg(arithmetic(&compiler, target)?);
    }
    tools::run(&mut command).map_err(|e| {
        // Software floats and 64-bit products live in a library that comes with GCC only.
        let library = emulator.is_some() && !compiler.gcc && e.message.contains("undefined symbol: __");
        let package = target.core.toolchain.as_ref().map(|t| t.package()).unwrap_or_default();
        if library {
            e.help(format!("clang has no arithmetic library for this core: apt-get install {package}"))
        } else {
            e
        }
    })?;
    Ok(Image { file, folder, emulator, ports: models.iter().map(|m| ports(m.program)).collect() })
}
