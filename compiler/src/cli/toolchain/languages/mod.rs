//! One file a language: which compiler, which flags, which files.

pub(super) mod c;
pub(super) mod rust;
