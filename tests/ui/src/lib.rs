//! Nothing: the package is its test, `tests/ui.rs`, over `cases/*.rs`.
