//! Compiles the model, and hands the linker the memories of the chip (here those of the emulated board).

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    secateur_compiler::build::Model::new("models/digits.onnx")
        .target("nrf52840")
        .calibrate("models/calib.npy")
        .option("quantize", "int8")
        .emit_rust()
        .compile();
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(Path::new(&out).join("memory.x"), include_str!("memory_m4.x"))?;
    println!("cargo::rustc-link-search={out}");
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
    println!("cargo::rerun-if-changed=memory_m4.x");
    Ok(())
}
