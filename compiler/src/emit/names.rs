//! Identifiers for emitted code, out of whatever the model's author wrote.
//!
//! In: ONNX names (any text), kernel and variable names. Out: identifiers that C99, C++ and
//! Rust accept, unique where asked. Law: the same names in, the same identifiers out.

use crate::program::Program;
use std::collections::{BTreeMap, BTreeSet};

/// Words that C, C++ or Rust keep for themselves, and the types and helpers that emitted code
/// uses by bare name.
const RESERVED: &[&str] = &[
    "abstract",
    "alignas",
    "alignof",
    "and",
    "as",
    "asm",
    "async",
    "auto",
    "await",
    "become",
    "bool",
    "box",
    "break",
    "case",
    "catch",
    "char",
    "class",
    "compl",
    "const",
    "constexpr",
    "continue",
    "crate",
    "default",
    "delete",
    "do",
    "double",
    "dyn",
    "else",
    "enum",
    "explicit",
    "export",
    "extern",
    "false",
    "final",
    "float",
    "fn",
    "for",
    "friend",
    "gen",
    "goto",
    "if",
    "impl",
    "in",
    "inline",
    "int",
    "let",
    "long",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "mutable",
    "namespace",
    "new",
    "not",
    "nullptr",
    "operator",
    "or",
    "override",
    "priv",
    "private",
    "protected",
    "pub",
    "public",
    "ref",
    "register",
    "requires",
    "restrict",
    "return",
    "self",
    "Self",
    "short",
    "signed",
    "sizeof",
    "static",
    "struct",
    "super",
    "switch",
    "template",
    "this",
    "throw",
    "trait",
    "true",
    "try",
    "type",
    "typedef",
    "typename",
    "typeof",
    "union",
    "unsafe",
    "unsigned",
    "unsized",
    "use",
    "using",
    "virtual",
    "void",
    "volatile",
    "wchar_t",
    "where",
    "while",
    "xor",
    "yield",
    "i8",
    "i16",
    "i32",
    "i64",
    "u8",
    "u16",
    "u32",
    "u64",
    "f32",
    "usize",
    "int8_t",
    "uint8_t",
    "int16_t",
    "uint16_t",
    "int32_t",
    "uint32_t",
    "int64_t",
    "uint64_t",
    "size_t",
    "arena",
    "math",
    "weights",
    "kernels",
    "div",
    "rem",
    "div64",
    "rem64",
    "memcpy",
    "memset",
    "unix",
    "linux",
];

/// Whether a name means something else in C, C++ or Rust, or in emitted code.
pub fn reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// `name` as an identifier: other characters become `_`, a leading digit gets `t` before it.
pub fn identifier(name: &str) -> String {
    let mut out: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    // Two underscores in a row are kept from users in C++, and a leading one means "unused".
    while out.contains("__") {
        out = out.replace("__", "_");
    }
    let mut out = out.trim_matches('_').to_string();
    if out.is_empty() {
        out.push('x');
    }
    if out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, 't');
    }
    if reserved(&out) {
        out.push('_');
    }
    out
}

/// Name of module, files and C prefix: a name that is an identifier already stays as it is.
pub fn base_name(name: &str) -> String {
    let head = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if head && !reserved(name) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        name.to_string()
    } else {
        identifier(name)
    }
}

/// Name of the emitted Rust type of a module: `watch_cnn1d` gives `WatchCnn1d`.
pub fn type_name(name: &str) -> String {
    let name = base_name(name);
    let out: String = name
        .split('_')
        .filter(|part| !part.is_empty())
        .map(|part| part[..1].to_ascii_uppercase() + &part[1..])
        .collect();
    if reserved(&out) { out + "_" } else { out }
}

/// Name of module and file that gives back a Rust type name: `WatchCnn1d` gives `watch_cnn1d`.
pub fn module_name(type_name: &str) -> String {
    let mut out = String::new();
    let mut last = '_';
    for c in type_name.chars() {
        if c.is_ascii_uppercase() && last != '_' && !last.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
        last = c;
    }
    identifier(&out)
}

/// Identifiers of a program's inputs and outputs. Both become arguments of one function, prefixes
/// of macros, and methods: an input `x` gives `x_mut`, an output `y` gives `y`.
pub fn ports(program: &Program) -> (Vec<String>, Vec<String>) {
    let mut ports = Namespace::default();
    for fixed in ["arena", "weights", "stack", "flash", "code", "no", "h", "run", "run_in_place", "init"] {
        ports.take(fixed);
    }
    let inputs = program.inputs.iter().map(|p| ports.take_with(&p.name, &["", "quantize_"], "_mut"));
    let inputs = inputs.collect();
    let outputs = program.outputs.iter().map(|p| ports.take_with(&p.name, &["", "dequantize_"], ""));
    (inputs, outputs.collect())
}

/// Hands out identifiers that differ, also when letter case is ignored (they become macros).
#[derive(Debug, Default)]
pub struct Namespace {
    taken: BTreeSet<String>,
    /// The number to try next, by what was asked for.
    next: BTreeMap<String, usize>,
}

impl Namespace {
    /// `name` as an identifier, with a number where it is taken.
    pub fn take(&mut self, name: &str) -> String {
        self.take_with(name, &[""], "")
    }
    /// The same for a name from which others are made: each of `prefixes` before it, `suffix`
    /// behind it. All of them become taken.
    pub fn take_with(&mut self, name: &str, prefixes: &[&str], suffix: &str) -> String {
        let base = identifier(name);
        let mut out = base.clone();
        // What was taken stays taken: begin where the last search for the like of this ended.
        let key = format!("{} {} {suffix}", base.to_ascii_lowercase(), prefixes.join(" "));
        let mut n = 2;
        if let Some(&next) = self.next.get(&key) {
            (out, n) = (format!("{base}_{next}"), next + 1);
        }
        loop {
            let lower = out.to_ascii_lowercase();
            let mut made: BTreeSet<String> = prefixes.iter().map(|p| format!("{p}{lower}")).collect();
            made.insert(format!("{lower}{suffix}"));
            if made.is_disjoint(&self.taken) {
                self.taken.extend(made);
                self.next.insert(key, n);
                return out;
            }
            out = format!("{base}_{n}");
            n += 1;
        }
    }
}
