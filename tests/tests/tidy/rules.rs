//! House rules over one file each: what is wrong with it, as text; empty when it keeps the rule.

use crate::files::File;
use syn::visit::{self, Visit};

fn parse(file: &File) -> syn::File {
    syn::parse_file(&file.text).unwrap_or_else(|e| panic!("{}: {e}", file.path))
}

/// A file opens with what it is.
pub(crate) fn header(file: &File) -> Vec<String> {
    let fixture = file.path.starts_with("tests/ui/cases/");
    if fixture || file.text.starts_with("//!") { vec![] } else { vec![format!("{}: no `//!`", file.path)] }
}

/// Nothing of nightly Rust.
pub(crate) fn stable(file: &File) -> Vec<String> {
    let asks = |attribute: &syn::Attribute| {
        matches!(attribute.style, syn::AttrStyle::Inner(_))
            && (attribute.path().is_ident("feature")
                || (attribute.path().is_ident("cfg_attr")
                    && quote::ToTokens::to_token_stream(attribute).to_string().contains("feature (")))
    };
    let found = parse(file).attrs.iter().any(asks);
    if found { vec![format!("{}: a nightly feature", file.path)] } else { vec![] }
}

/// A crate root that forbids unsafe code, in an attribute of its own.
pub(crate) fn forbids_unsafe(file: &File) -> bool {
    parse(file).attrs.iter().any(|a| {
        matches!(a.style, syn::AttrStyle::Inner(_))
            && a.path().is_ident("forbid")
            && a.parse_args::<syn::Path>().is_ok_and(|p| p.is_ident("unsafe_code"))
    })
}

/// Words of one machine.
pub(crate) fn words(file: &File) -> Vec<String> {
    let needles = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/tm", "p/venv"),
        concat!("help", "er session"),
    ];
    let found = needles.into_iter().filter(|n| file.text.contains(n));
    found.map(|n| format!("{}: {n}", file.path)).collect()
}

/// Files that are older than the limit. The list may only shrink.
pub(crate) const LONG: &[(&str, usize)] = &[
    ("kernels/src/armv7em/gemm.rs", 580),
    ("compiler/src/lower/tests.rs", 630),
    ("tests/tests/emit.rs", 712),
    ("kernels/src/armv7em/gemm_rows.rs", 570),
    ("kernels/src/riscv/gemm_swar.rs", 514),
    ("kernels/src/armv6m/winograd.rs", 590),
    ("kernels/src/armv7em/winograd/four.rs", 570),
    ("kernels/src/armv7em/winograd/products.rs", 600),
    ("compiler/src/emit/rust.rs", 670),
    ("ir/src/kernel/build.rs", 550),
    ("ir/src/program/machine/compile.rs", 530),
    ("ir/src/program/machine/expr.rs", 540),
    ("ir/src/program/machine/tests.rs", 590),
    ("ir/src/program/prove.rs", 560),
    ("kernels/src/armv7em/dw_engine.rs", 637),
    ("kernels/src/decompose.rs", 536),
    ("tests/tests/blocks.rs", 700),
];

/// At most this many lines in a file.
pub(crate) const LINES: usize = 500;

/// A file is short enough to be read. Above the limit, look for the seam.
pub(crate) fn length(file: &File) -> Vec<String> {
    let lines = file.text.lines().count();
    let old = LONG.iter().find(|(path, _)| *path == file.path).map(|(_, most)| *most);
    if old.is_some() && lines <= LINES {
        return vec![format!("{}: {lines} lines; take it off the list of long files", file.path)];
    }
    let most = old.unwrap_or(LINES);
    if lines > most { vec![format!("{}: {lines} lines, at most {most}", file.path)] } else { vec![] }
}

/// Where the compiler's crates stand.
pub(crate) const LIBRARIES: &[&str] = &["compiler/src/", "ir/src/", "kernels/src/"];

/// Whether a file belongs to the half of the compiler that does no IO.
pub(crate) fn is_library(path: &str) -> bool {
    LIBRARIES.iter().any(|root| {
        let Some(inside) = path.strip_prefix(root) else { return false };
        !(["cli/", "files/", "build/"].iter().any(|front| inside.starts_with(front))
            || inside == "main.rs"
            || inside.ends_with("/tests.rs"))
    })
}

/// Modules of `std` that reach outside of the program, and order that differs between runs.
/// (clippy.toml has the methods and macros that no path shows.)
const OUTSIDE: &[&str] = &["fs", "env", "process", "net", "os", "thread", "time"];
/// The one file that may start threads; whoever has work for several asks it.
const THREADS: &str = "compiler/src/parallel.rs";
const UNORDERED: &[&str] = &["HashMap", "HashSet", "hash_map", "hash_set", "RandomState"];

#[derive(Default)]
struct Outside {
    found: Vec<String>,
}

impl Outside {
    fn path(&mut self, segments: &[String]) {
        if segments.len() > 1 && segments[0] == "std" && OUTSIDE.contains(&segments[1].as_str()) {
            self.found.push(segments.join("::"));
        }
        if let Some(word) = segments.iter().find(|s| UNORDERED.contains(&s.as_str())) {
            self.found.push(word.clone());
        }
    }
    fn tree(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(p) => self.tree(&p.tree, &with(&p.ident)),
            syn::UseTree::Name(n) => self.path(&with(&n.ident)),
            syn::UseTree::Rename(r) => {
                if before.is_empty() && r.ident == "std" {
                    self.found.push("std under another name".into());
                }
                self.path(&with(&r.ident));
            }
            syn::UseTree::Glob(_) => {
                if before == ["std"] {
                    self.found.push("std::*".into());
                }
                self.path(before);
            }
            syn::UseTree::Group(g) => g.items.iter().for_each(|t| self.tree(t, before)),
        }
    }
}

pub(crate) fn only_in_tests(attributes: &[syn::Attribute]) -> bool {
    let test = |a: &syn::Attribute| a.parse_args::<syn::Path>().is_ok_and(|p| p.is_ident("test"));
    attributes.iter().any(|a| a.path().is_ident("cfg") && test(a))
}

impl<'ast> Visit<'ast> for Outside {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !only_in_tests(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !only_in_tests(&item.attrs) {
            self.tree(&item.tree, &[]);
        }
    }
    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.path(&path.segments.iter().map(|s| s.ident.to_string()).collect::<Vec<_>>());
        visit::visit_path(self, path);
    }
}

/// The library half does no IO, reads no environment and iterates in no order of hashes.
pub(crate) fn no_io(file: &File) -> Vec<String> {
    if !is_library(&file.path) {
        return vec![];
    }
    let mut outside = Outside::default();
    outside.visit_file(&parse(file));
    let threads = |what: &String| file.path == THREADS && what.starts_with("std::thread::");
    outside
        .found
        .into_iter()
        .filter(|what| !threads(what))
        .map(|what| format!("{}: {what}", file.path))
        .collect()
}
