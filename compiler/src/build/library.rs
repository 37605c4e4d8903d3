//! Emitted C -> a library that Cargo links, by the crate `cc`.
//!
//! In: the emitted files, the chip, the variables that Cargo sets. Out: a static library in `OUT_DIR`. Law: for bare metal
//! the flags are the chip's own, and nothing of what `cc` would guess; how floats are passed is that of Cargo's target.

use super::variable;
use crate::artifact::Artifact;
use crate::emit::Build;
use crate::error::{Error, Fault, Result, Site};
use crate::files;
use secateur_targets::Target;
use std::path::Path;

pub(super) fn build(artifact: &Artifact, target: &Target, folder: &Path) -> Result<()> {
    let name = &artifact.program.name;
    std::fs::create_dir_all(folder).map_err(|e| files::io_error(folder, "cannot be made", &e))?;
    for file in &artifact.files {
        files::write(&folder.join(&file.path), file.text.as_bytes())?;
    }
    let bare = variable("CARGO_CFG_TARGET_OS")? == "none";
    let mut cc = cc::Build::new();
    cc.include(folder).define("NDEBUG", None).warnings(false);
    if bare && !target.is_host() {
        let (triple, found) = (variable("TARGET")?, variable("CARGO_CFG_TARGET_ARCH")?);
        let wanted = target.core.toolchain.as_ref().map_or("", |tools| tools.rust_triple.as_str());
        suits(target, wanted, &triple, &found)?;
        let build = Build::of(target);
        if !named(&triple) {
            cc.compiler(&build.compiler).archiver(build.archiver());
        }
        cc.no_default_flags(true).flags(flags(&build.flags, &triple));
        cc.flags(["-O2", "-std=c99", "-ffp-contract=off", "-ffunction-sections", "-fdata-sections"]);
    } else {
        cc.flag_if_supported("-std=c99").flag_if_supported("-ffp-contract=off");
    }
    // Elsewhere than on the chip's core the assembly is empty.
    let ending = |path: &str| path.ends_with(".c") || (bare && path.ends_with(".S"));
    cc.files(artifact.files.iter().filter(|f| ending(&f.path)).map(|f| folder.join(&f.path)));
    cc.try_compile(&format!("secateur_{name}")).map_err(|e| {
        let why = format!("the emitted C could not be compiled: {e}");
        let package = target.core.toolchain.as_ref().map_or("gcc", |tools| tools.package());
        Error::new(Fault::Environment, Site::Whole, why).help(format!(
            "on Debian: apt-get install {package}; `CC_{}` names another compiler",
            underscored()
        ))
    })
}

fn underscored() -> String {
    std::env::var("TARGET").unwrap_or_default().replace('-', "_")
}

/// Whether the user names a compiler for the target, by one of the variables that `cc` reads.
fn named(triple: &str) -> bool {
    let names = [format!("CC_{triple}"), format!("CC_{}", triple.replace('-', "_")), "TARGET_CC".to_owned()];
    names.iter().any(|name| std::env::var_os(name).is_some_and(|v| !v.is_empty()))
}

/// Refuses a chip whose processor is none of the crate's target.
fn suits(target: &Target, wanted: &str, triple: &str, found: &str) -> Result<()> {
    let arch = |triple: &str| match triple {
        t if t.starts_with("thumb") || t.starts_with("arm") => "arm",
        t if t.starts_with("riscv32") => "riscv32",
        _ => "",
    };
    // The host as a chip is portable C, for anyone.
    if target.is_host() || arch(wanted) == found {
        return Ok(());
    }
    let why =
        format!("the core of {} is {}, and this crate is built for {triple}", target.name, target.core.name);
    let error = Error::new(Fault::Target, Site::Option("target".into()), why);
    Err(match wanted {
        "" => error,
        wanted => error.help(format!("build for {wanted}, or name the chip that this is for")),
    })
}

/// The chip's flags, with floats passed as code of the triple passes them.
fn flags(chip: &[String], triple: &str) -> Vec<String> {
    let soft = triple.ends_with("eabi");
    let own = |flag: &String| match flag.as_str() {
        "-mfloat-abi=hard" if soft => "-mfloat-abi=softfp".to_owned(),
        _ => flag.clone(),
    };
    // What a whole program takes of a C library is not this library's to say, but its headers are.
    chip.iter().map(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_passed_as_the_triple_says() {
        let chip = secateur_targets::find("nrf52840").unwrap();
        let gcc = chip.core.toolchain.unwrap().gcc;
        assert_eq!(flags(&gcc, "thumbv7em-none-eabihf"), gcc);
        let soft = flags(&gcc, "thumbv7em-none-eabi");
        assert!(soft.contains(&"-mfloat-abi=softfp".to_owned()) && soft.len() == gcc.len(), "{soft:?}");
    }

    #[test]
    fn another_architecture_is_refused() {
        let chip = |name| secateur_targets::find(name).unwrap();
        let said = |name, triple, arch| {
            let target: Target = chip(name);
            let wanted = target.core.toolchain.as_ref().unwrap().rust_triple.clone();
            suits(&target, &wanted, triple, arch).err().map(|e| e.to_string())
        };
        assert_eq!(said("nrf52840", "thumbv7em-none-eabi", "arm"), None);
        assert_eq!(said("esp32-c3", "riscv32imac-unknown-none-elf", "riscv32"), None);
        let wrong = said("nrf52840", "riscv32imc-unknown-none-elf", "riscv32").unwrap();
        assert!(wrong.contains("cortex-m4") && wrong.contains("riscv32imc"), "{wrong}");
        assert!(said("snapdragon-wear", "thumbv7em-none-eabi", "arm").is_some());
    }
}
