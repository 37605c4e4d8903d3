//! What the printers must know of an architecture to print native kernels for it: when a C
//! compiler builds for it, when a Rust compiler does, and the directives around a function.
//!
//! In: a core feature, as natives name it. Out: words of the preprocessor, of `cfg` and of the
//! assembler, in the syntax that GNU as and LLVM share.

/// How natives for one core feature are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wrapping {
    /// The preprocessor's condition, so that one file serves every processor.
    pub(super) c: &'static str,
    /// Rust's, as in `cfg(...)`.
    pub(super) rust: &'static str,
    /// Lines of a `.S` file before the label of each function.
    pub(super) head: &'static [&'static str],
    /// Lines around the instructions, in C and in Rust: they allow what the compiler's flags may
    /// not.
    pub(super) open: &'static [&'static str],
    pub(super) close: &'static [&'static str],
    /// Rust's condition under which a build for a bare processor can only be for another one.
    pub(super) rust_wrong: &'static str,
    /// The check of the running processor, in both languages without its prefix.
    pub(super) check: Option<&'static str>,
    /// What the processor lacks where that check fails.
    pub(super) lacks: &'static str,
    /// A line that only Rust's assembler needs and only it knows.
    pub(super) rust_open: &'static [&'static str],
}

const ARM: Wrapping = Wrapping {
    c: "defined(__arm__)",
    // Programs of Linux on Arm are no firmware: they are hosts.
    rust: "all(target_arch = \"arm\", not(target_os = \"linux\"))",
    head: &[".syntax unified", ".thumb", ".thumb_func"],
    open: &[],
    close: &[],
    rust_open: &[],
    rust_wrong: "not(target_arch = \"arm\")",
    check: None,
    lacks: "",
};

/// What Armv6-M lacks; only it has no atomic exchange.
const ARM_MAINLINE: &str = "not(all(target_arch = \"arm\", target_has_atomic = \"32\"))";

const RISCV: Wrapping = Wrapping {
    c: "defined(__riscv) && __riscv_xlen == 32 && defined(__riscv_mul)",
    rust: "target_arch = \"riscv32\"",
    head: &[],
    open: &[],
    close: &[],
    rust_open: &[],
    rust_wrong: "not(all(target_arch = \"riscv32\", target_feature = \"m\"))",
    check: None,
    lacks: "",
};

/// The wrapping of natives that need a feature.
pub(super) fn wrapping(feature: &str) -> Wrapping {
    match feature {
        "dsp" => Wrapping {
            c: "defined(__ARM_FEATURE_DSP)",
            rust_wrong: ARM_MAINLINE,
            check: Some("has_dsp"),
            lacks: "packed arithmetic (the DSP extension)",
            ..ARM
        },
        "thumb" => Wrapping { c: "defined(__thumb__)", ..ARM },
        // Rust's triples stop at Armv8-M; every core with Helium assembles as the first one.
        "mve" => Wrapping {
            c: "defined(__ARM_FEATURE_MVE)",
            rust_open: &[".cpu cortex-m55"],
            rust_wrong: ARM_MAINLINE,
            check: Some("has_helium"),
            lacks: "vectors (Helium)",
            ..ARM
        },
        "rv32" => RISCV,
        // Rust knows no Hexagon assembly: there the C is linked.
        "hvx" => Wrapping {
            c: "defined(__HVX__) && __HVX_LENGTH__ == 128",
            rust: "target_arch = \"hexagon\"",
            head: &[],
            open: &[],
            close: &[],
            rust_open: &[],
            rust_wrong: "not(target_arch = \"hexagon\")",
            check: None,
            lacks: "",
        },
        // A Rust compiler for the scalar core assembles vectors where it is told so.
        "rvv" => Wrapping {
            c: "defined(__riscv) && __riscv_xlen == 32 && defined(__riscv_vector)",
            open: &[".option push", ".option arch, +zicsr, +zve32x"],
            close: &[".option pop"],
            ..RISCV
        },
        _ => ARM,
    }
}
