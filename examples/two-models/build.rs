//! Tells the crate which chip it is for, and the linker that chip's memories (here those of the emulated boards).

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let target = std::env::var("TARGET")?;
    let (chip, memory) = match target.as_str() {
        "thumbv8m.main-none-eabihf" => ("m33", include_str!("memory_m33.x")),
        _ => ("m4", include_str!("memory_m4.x")),
    };
    println!("cargo::rustc-check-cfg=cfg(chip, values(\"m4\", \"m33\"))");
    println!("cargo::rustc-cfg=chip=\"{chip}\"");
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(Path::new(&out).join("memory.x"), memory)?;
    println!("cargo::rustc-link-search={out}");
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
    println!("cargo::rerun-if-changed=memory_m4.x");
    println!("cargo::rerun-if-changed=memory_m33.x");
    Ok(())
}
