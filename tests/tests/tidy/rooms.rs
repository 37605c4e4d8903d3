//! Law 1 of ARCHITECTURE.md: rooms of the compiler stand in an order, and name only what stands
//! before them.
//!
//! In: a file's path and text. Out: the names in it that point to a later room. Tests may look
//! anywhere. Law: a room that is not in the list is an error, so that a new one gets its place.

use crate::files::File;
use crate::rules::only_in_tests;
use syn::visit::{self, Visit};

/// From the ground up.
const ROOMS: &[&str] = &[
    "error",
    "warning",
    "tensor",
    "npy",
    "options",
    "policy",
    "observe",
    "parallel",
    "arith",
    "kernel",
    "program",
    "counts",
    "emit",
    "asm",
    "kernels",
    "ops",
    "graph",
    "samples",
    "onnx",
    "least_squares",
    "quantize",
    "operators",
    "passes",
    "prune",
    "select",
    "schedule",
    "lower",
    "weigh",
    "report",
    "artifact",
    "compare",
    "fit",
    "files",
    "build",
    "cli",
];

/// Names of the crate root that are macros, or come from other crates.
const OUTSIDE: &[&str] = &["with_data", "targets"];

/// The module of a file of the compiler's crates, from its room on: `kernels/src/mve/gemm.rs` is
/// `["kernels", "mve", "gemm"]`, `ir/src/arith/requant.rs` is `["arith", "requant"]`.
fn module(path: &str) -> Option<Vec<String>> {
    let path = path.strip_suffix(".rs")?;
    let own = path.strip_prefix("kernels/src/").filter(|inside| *inside != "lib");
    let inside = match own {
        Some(inside) if !inside.starts_with("asm/") => &format!("kernels/{inside}"),
        Some(inside) => inside,
        None => path.strip_prefix("compiler/src/").or_else(|| path.strip_prefix("ir/src/"))?,
    };
    let mut parts: Vec<String> = inside.split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|p| p == "mod") {
        parts.pop();
    }
    (!["lib", "main"].contains(&inside)).then_some(parts)
}

/// The rooms that a file names, by `crate::room` or by `super`.
struct Named {
    /// The module at work.
    at: Vec<String>,
    rooms: Vec<String>,
}

impl Named {
    fn path(&mut self, segments: &[String]) {
        let ups = segments.iter().take_while(|s| *s == "super").count();
        let room = match segments.first().map(String::as_str) {
            // The crate of kernels is a room itself: what is no room there is a module of its own.
            Some("crate") if self.at[0] == "kernels" => {
                let own = |s: &String| !ROOMS.contains(&s.as_str()) && s.starts_with(char::is_lowercase);
                segments.get(1).filter(|s| !own(s))
            }
            Some("crate") => segments.get(1),
            Some("super") if ups >= self.at.len() => segments.get(ups),
            _ => None,
        };
        self.rooms.extend(room.cloned());
    }
    fn tree(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(p) => self.tree(&p.tree, &with(&p.ident)),
            syn::UseTree::Name(n) => self.path(&with(&n.ident)),
            syn::UseTree::Rename(r) => self.path(&with(&r.ident)),
            syn::UseTree::Glob(_) => self.path(&[before, &["*".to_owned()]].concat()),
            syn::UseTree::Group(g) => g.items.iter().for_each(|t| self.tree(t, before)),
        }
    }
    /// What stands in a macro's arguments is no syntax tree.
    fn tokens(&mut self, tokens: &str) {
        let words: Vec<&str> = tokens.split_whitespace().collect();
        for three in words.windows(3).filter(|w| w[0] == "crate" && w[1] == "::") {
            self.path(&["crate".to_owned(), three[2].to_owned()]);
        }
    }
}

impl<'ast> Visit<'ast> for Named {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !only_in_tests(&item.attrs) {
            self.at.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.at.pop();
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
    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.tokens(&item.tokens.to_string());
        visit::visit_macro(self, item);
    }
}

/// The name `Optimize` in code that is no test.
#[derive(Default)]
struct Aims(bool);

impl<'ast> Visit<'ast> for Aims {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !only_in_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }
    fn visit_ident(&mut self, ident: &'ast syn::Ident) {
        self.0 |= ident == "Optimize";
    }
}

/// What is spent for what is decided by the policy: nobody else asks what the user wants.
pub(crate) fn aims(file: &File) -> Vec<String> {
    let Some(at) = module(&file.path) else { return vec![] };
    let tests = file.path.ends_with("/tests.rs") || file.path.contains("/tests/");
    if tests || ["options", "policy", "cli"].contains(&at[0].as_str()) {
        return vec![];
    }
    let mut found = Aims::default();
    found.visit_file(&syn::parse_file(&file.text).unwrap_or_else(|e| panic!("{}: {e}", file.path)));
    if found.0 { vec![format!("{}: names `Optimize`; ask the policy", file.path)] } else { vec![] }
}

/// A room names no later one.
pub(crate) fn order(file: &File) -> Vec<String> {
    let Some(at) = module(&file.path) else { return vec![] };
    if file.path.ends_with("/tests.rs") || file.path.contains("/tests/") {
        return vec![];
    }
    let Some(here) = ROOMS.iter().position(|r| *r == at[0]) else {
        return vec![format!("{}: room `{}` has no place in the order", file.path, at[0])];
    };
    let mut named = Named { at, rooms: Vec::new() };
    named.visit_file(&syn::parse_file(&file.text).unwrap_or_else(|e| panic!("{}: {e}", file.path)));
    // A file is compiled for tests only where its room says so.
    if file.path == "kernels/src/trial.rs" || file.path.ends_with("/testing.rs") {
        return vec![];
    }
    // What is no room is an item that the crate root exports again.
    let up = named.rooms.iter().filter(|r| match ROOMS.iter().position(|room| room == r) {
        Some(there) => there > here,
        None => here < ROOMS.len() - 1 && !OUTSIDE.contains(&r.as_str()),
    });
    up.map(|r| format!("{}: names `{r}`, which stands above `{}`", file.path, ROOMS[here])).collect()
}
