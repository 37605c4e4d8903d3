//! Program -> text: `c` and `rust`.
