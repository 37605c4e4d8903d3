//! Program -> text: `c` and `rust`.

/// What the printers need to know besides the program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EmitOptions {
    /// Digest of model, options, target and calibration, for the banner.
    pub digest: String,
    /// Features of the target's core: which native kernels and spellings may be used.
    pub features: Vec<String>,
    /// Rust as a crate (`Cargo.toml`, `src/lib.rs`) instead of one module.
    pub as_crate: bool,
}
