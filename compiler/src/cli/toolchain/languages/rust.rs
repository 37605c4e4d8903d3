//! Emitted Rust: plain `rustc` on the runtime's sources, the emitted module and the harness, so
//! that neither a registry nor a manifest is needed.
//!
//! For a chip, a toolchain that has the target installed is taken first (`rustup target add`);
//! else one that brings its sources (Debian's `rust-web-src`, rustup's `rust-src`), whose `core`
//! is built once and kept in the cache.

use super::super::image::{Image, ports};
use super::super::{Model, Optimize, glue, tools};
use crate::emit::File;
use crate::emit::names;
use crate::error::{Error, Result, Site};
use secateur_runtime::sources;
use secateur_targets::{Target, Toolchain};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Rust compiler ready for one target.
#[derive(Debug, Clone)]
struct Compiler {
    program: PathBuf,
    /// Target, core, sysroot, linker.
    flags: Vec<String>,
}

fn say(program: &Path, arguments: &[&str]) -> Option<String> {
    let output = tools::output(Command::new(program).args(arguments)).ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Every `rustc` that may serve: `RUSTC`, those on the path, Debian's.
fn candidates() -> Vec<PathBuf> {
    let named = std::env::var("RUSTC").ok().filter(|r| !r.is_empty());
    let names = named.iter().map(String::as_str).chain(["rustc", "/usr/bin/rustc"]);
    let mut found: Vec<PathBuf> = names.filter_map(|n| tools::find(&[n])).collect();
    found.dedup();
    found
}

fn compiler(target: &Target) -> Result<Compiler> {
    let found = candidates();
    if target.is_host() {
        let program = found
            .into_iter()
            .next()
            .ok_or_else(|| tools::missing("A Rust compiler", &["rustc"], "rustc-web"))?;
        // rustc links by the C compiler.
        tools::find(&["cc"]).ok_or_else(|| tools::missing("A linker", &["cc"], "gcc"))?;
        return Ok(Compiler { program, flags: Vec::new() });
    }
    let Some(toolchain) = &target.core.toolchain else {
        return Err(Error::option("target", format!("core `{}` has no toolchain", target.core.name)));
    };
    let triple = &toolchain.rust_triple;
    if triple.is_empty() {
        return Err(Error::option(
            "target",
            format!("rustc has no stable target for core `{}`", target.core.name),
        )
        .help("emit C, and link it from Rust"));
    }
    let mut flags = vec![format!("--target={triple}")];
    flags.extend(toolchain.rust_flags.iter().cloned());
    for program in &found {
        let installed = say(program, &["--print", "target-libdir", "--target", triple])
            .and_then(|folder| std::fs::read_dir(folder).ok())
            .is_some_and(|mut files| {
                files.any(|f| f.is_ok_and(|f| f.file_name().to_string_lossy().starts_with("libcore-")))
            });
        if installed {
            return Ok(Compiler { program: program.clone(), flags });
        }
    }
    for program in &found {
        let Some(sysroot) = say(program, &["--print", "sysroot"]) else { continue };
        let library = Path::new(&sysroot).join("lib/rustlib/src/rust/library");
        if !library.join("core/src/lib.rs").is_file() {
            continue;
        }
        let version = say(program, &["--version"]).unwrap_or_default();
        let built = build_core(program, &version, &library, triple)?;
        flags.push(format!("--sysroot={}", built.display()));
        let (linker, flavor) = linker(toolchain)?;
        flags.extend([format!("-Clinker={}", linker.display()), format!("-Clinker-flavor={flavor}")]);
        return Ok(Compiler { program: program.clone(), flags });
    }
    Err(tools::environment(format!("no Rust compiler on this machine can build for {triple}")).help(format!(
        "`rustup target add {triple}`, or on Debian: apt-get install rustc-web cargo-web rust-web-src"
    )))
}

/// What Cargo's environment says, so that `cargo build --target` builds for a chip with what this machine has: which
/// `rustc`, and, where that has no `core` for the chip, the one that was built and a linker.
pub(crate) fn cargo_environment(target: &Target) -> Result<Vec<(String, String)>> {
    let compiler = compiler(target)?;
    let mut set = vec![("RUSTC".to_owned(), compiler.program.display().to_string())];
    let Some(toolchain) = target.core.toolchain.as_ref().filter(|_| !target.is_host()) else {
        return Ok(set);
    };
    let triple = toolchain.rust_triple.to_ascii_uppercase().replace(['-', '.'], "_");
    let given = |flag: &&String| !flag.starts_with("--target=") && !toolchain.rust_flags.contains(flag);
    let flags: Vec<String> = compiler.flags.iter().filter(given).cloned().collect();
    if !flags.is_empty() {
        set.push((format!("CARGO_TARGET_{triple}_RUSTFLAGS"), flags.join(" ")));
    }
    Ok(set)
}

fn linker(toolchain: &Toolchain) -> Result<(PathBuf, &'static str)> {
    let ld = toolchain.command("ld");
    if let Some(ld) = tools::find(&[ld.as_str()]) {
        return Ok((ld, "ld"));
    }
    let llds = ["ld.lld", "ld.lld-21", "ld.lld-20", "ld.lld-19", "ld.lld-18", "ld.lld-17", "ld.lld-16"];
    match tools::find(&llds) {
        Some(lld) => Ok((lld, "ld.lld")),
        None => Err(tools::missing("A linker for the target", &[ld.as_str(), "ld.lld"], toolchain.package())),
    }
}

/// Builds `core` for a triple from the toolchain's own sources, and gives its sysroot.
fn build_core(program: &Path, version: &str, library: &Path, triple: &str) -> Result<PathBuf> {
    let release = version.split_whitespace().nth(1).unwrap_or("unknown");
    tools::cached(&format!("core-{release}-{triple}"), |folder| {
        let beside = program.with_file_name("cargo");
        let cargo = if beside.is_file() { Some(beside) } else { tools::find(&["cargo"]) };
        let cargo = cargo.ok_or_else(|| tools::missing("Cargo", &["cargo"], "cargo-web"))?;
        tools::write(
            &folder.join("crate/Cargo.toml"),
            "[package]\nname = \"empty\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\
             [profile.release]\npanic = \"abort\"\n[workspace]\n",
        )?;
        tools::write(&folder.join("crate/src/lib.rs"), "#![no_std]\n")?;
        let mut command = Command::new(cargo);
        command
            .args(["build", "--release", "-Zbuild-std=core", "--target", triple])
            .current_dir(folder.join("crate"))
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTC", program)
            .env("CARGO_TARGET_DIR", folder.join("target"));
        for leaked in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "CARGO_BUILD_TARGET"] {
            command.env_remove(leaked);
        }
        // What `core` needs beside itself comes with the sources.
        let vendor = library.join("vendor");
        if vendor.is_dir() {
            command.args(["--offline", "--config", "source.crates-io.replace-with=\"vendored\"", "--config"]);
            command.arg(format!("source.vendored.directory=\"{}\"", vendor.display()));
        }
        tools::run(&mut command)?;
        let deps = folder.join("target").join(triple).join("release/deps");
        let lib = folder.join("lib/rustlib").join(triple).join("lib");
        let failed = |e: std::io::Error| tools::environment(format!("the built `core` cannot be kept: {e}"));
        std::fs::create_dir_all(&lib).map_err(failed)?;
        for entry in std::fs::read_dir(deps).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".rlib") && !name.contains("empty") {
                std::fs::rename(entry.path(), lib.join(name)).map_err(failed)?;
            }
        }
        std::fs::remove_dir_all(folder.join("target")).map_err(failed)?;
        std::fs::remove_dir_all(folder.join("crate")).map_err(failed)
    })
}

fn rustc(compiler: &Compiler, target: &Target, optimize: Optimize) -> Command {
    let mut command = Command::new(&compiler.program);
    command.args(["--edition=2024", "-Cpanic=abort", "-Ccodegen-units=1", "--cap-lints=allow"]);
    match optimize {
        // On Arm cores nearly all cycles are spent in instruction blocks: level 2 gains 1 % of them
        // at most on what stands around, and makes it a tenth larger. Elsewhere loops around
        // blocks weigh more.
        Optimize::Speed if target.has("thumb") => command.arg("-Copt-level=z"),
        Optimize::Speed if !target.is_host() => command.arg("-Copt-level=2"),
        Optimize::Speed => command.arg("-Copt-level=3"),
        Optimize::Size => command.arg("-Copt-level=s"),
        Optimize::Debug => command.args(["-Copt-level=1", "-Cdebug-assertions=on"]),
    };
    command.args(&compiler.flags);
    command
}

pub(crate) fn build(models: &[Model], target: &Target, optimize: Optimize) -> Result<Image> {
    let compiler = compiler(target)?;
    let folder = tools::folder()?;
    let at = |name: &str| folder.path().join(name);
    for (name, text) in sources::RUST {
        tools::write(&at("runtime").join(name), text)?;
    }
    let runtime = at("libsecateur_runtime.rlib");
    tools::run(
        rustc(&compiler, target, optimize)
            .args(["--crate-name=secateur_runtime", "--crate-type=rlib", "-o"])
            .arg(&runtime)
            .arg(at("runtime/lib.rs")),
    )?;
    for model in models {
        let name = format!("{}.rs", names::rust_module(&model.program.name));
        let is_it = |f: &&File| f.path == name || f.path == "src/lib.rs";
        let file = model.files.iter().find(is_it).ok_or_else(|| {
            Error::internal(Site::Whole, format!("`{}` was not emitted as Rust", model.program.name))
        })?;
        tools::write(&at(glue::EMITTED).join(&name), &file.text)?;
    }
    tools::write(&at("models.rs"), glue::models_rs(models))?;
    tools::write(&at("serve.rs"), include_str!("../../harness/serve.rs"))?;
    let emulator = target.core.emulator.clone();
    let main = match &emulator {
        None => include_str!("../../harness/host_main.rs"),
        Some(emulator) => {
            tools::write(&at("start.s"), glue::start_file(emulator))?;
            tools::write(&at("link.ld"), glue::linker_script(emulator))?;
            include_str!("../../harness/firmware_main.rs")
        }
    };
    tools::write(&at("main.rs"), main)?;
    let file = at("model.elf");
    let mut command = rustc(&compiler, target, optimize);
    command.arg("--crate-name=harness").arg("--extern").arg(format!("secateur={}", runtime.display()));
    if emulator.is_some() {
        command.arg(format!("-Clink-arg=-T{}", at("link.ld").display()));
    }
    tools::run(command.arg("-o").arg(&file).arg(at("main.rs")))?;
    Ok(Image { file, folder, emulator, ports: models.iter().map(|m| ports(m.program)).collect() })
}
