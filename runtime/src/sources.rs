//! The runtime's own files as text, for the compiler on the host.
//!
//! Out: the C headers to be written beside generated C, and the Rust sources from which emitted
//! Rust can be built without a registry. Law: nothing outside this package is included.

/// A file: name and text.
pub type Source = (&'static str, &'static str);

/// Integer helpers of generated C.
pub const SECATEUR_H: Source = ("secateur.h", include_str!("../include/secateur.h"));
/// Float functions of generated C.
pub const SECATEUR_MATH_H: Source = ("secateur_math.h", include_str!("../include/secateur_math.h"));
/// Checks of the processor in generated C.
pub const SECATEUR_CORE_H: Source = ("secateur_core.h", include_str!("../include/secateur_core.h"));

/// This package's `no_std` modules, `lib.rs` first, by path under `src/`.
pub const RUST: &[Source] = &[
    ("lib.rs", include_str!("lib.rs")),
    ("aligned.rs", include_str!("aligned.rs")),
    ("arena.rs", include_str!("arena.rs")),
    ("math.rs", include_str!("math.rs")),
    ("choose.rs", include_str!("choose.rs")),
    ("model.rs", include_str!("model.rs")),
    ("number.rs", include_str!("number.rs")),
    ("processor.rs", include_str!("processor.rs")),
    ("view.rs", include_str!("view.rs")),
    ("sources.rs", include_str!("sources.rs")),
];
