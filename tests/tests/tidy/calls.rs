//! Which tools from outside Rust code, shell scripts and Python scripts call.
//!
//! In: a file's text. Out: the commands that stand in it as words. Law: a command that is put
//! together at run time is looked up in the same list when it is called (`tools::command`).

use crate::files::File;
use std::collections::BTreeSet;
use syn::visit::{self, Visit};

fn looks_like_a_command(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or(word);
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-._".contains(c))
}

/// Literals in an expression, and what the names in it were given in this file.
#[derive(Default)]
struct Words {
    literals: Vec<String>,
    names: Vec<String>,
}

impl<'ast> Visit<'ast> for Words {
    fn visit_lit_str(&mut self, literal: &'ast syn::LitStr) {
        self.literals.push(literal.value());
    }
    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        let missing = matches!(&*call.func, syn::Expr::Path(f) if f.path.segments.last().is_some_and(|s| s.ident == "missing"));
        // Beside the commands stand what they are for and their package.
        match call.args.iter().nth(1).filter(|_| missing) {
            Some(commands) => self.visit_expr(commands),
            None => visit::visit_expr_call(self, call),
        }
    }
    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        // `toolchain.command("ld")` puts the core's prefix before it.
        if call.method != "command" {
            visit::visit_expr_method_call(self, call);
        }
    }
    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.names.extend(path.get_ident().map(ToString::to_string));
    }
}

/// `let name = words`, `const NAME: _ = words`, `for name in words`, by name.
#[derive(Default)]
struct Given(Vec<(String, Vec<String>)>);

impl Given {
    fn add(&mut self, name: String, from: &syn::Expr) {
        let mut words = Words::default();
        words.visit_expr(from);
        self.0.push((name, words.literals));
    }
}

fn ident(pattern: &syn::Pat) -> Option<String> {
    match pattern {
        syn::Pat::Ident(p) => Some(p.ident.to_string()),
        syn::Pat::Type(p) => ident(&p.pat),
        syn::Pat::Reference(p) => ident(&p.pat),
        _ => None,
    }
}

impl<'ast> Visit<'ast> for Given {
    fn visit_local(&mut self, local: &'ast syn::Local) {
        if let (Some(name), Some(init)) = (ident(&local.pat), &local.init) {
            self.add(name, &init.expr);
        }
        visit::visit_local(self, local);
    }
    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.add(item.ident.to_string(), &item.expr);
        visit::visit_item_const(self, item);
    }
    fn visit_expr_for_loop(&mut self, item: &'ast syn::ExprForLoop) {
        if let Some(name) = ident(&item.pat) {
            self.add(name, &item.expr);
        }
        visit::visit_expr_for_loop(self, item);
    }
}

/// The arguments by which programs are named: of `Command::new`, `tools::command`, `find`, and the
/// list in `missing`.
#[derive(Default)]
struct Calls(Words);

impl<'ast> Visit<'ast> for Calls {
    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let syn::Expr::Path(function) = &*call.func {
            let names: Vec<String> =
                function.path.segments.iter().map(|s| s.ident.to_string()).rev().take(2).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let argument = match names[..] {
                ["new", "Command"] | ["command" | "find" | "look_up" | "require", "tools"] => 0,
                ["missing", "tools"] => 1,
                _ => usize::MAX,
            };
            if let Some(argument) = call.args.iter().nth(argument) {
                self.0.visit_expr(argument);
            }
        }
        visit::visit_expr_call(self, call);
    }
}

/// The commands that a Rust file names.
pub(crate) fn in_rust(file: &File) -> BTreeSet<String> {
    let parsed = syn::parse_file(&file.text).unwrap_or_else(|e| panic!("{}: {e}", file.path));
    let (mut calls, mut given) = (Calls::default(), Given::default());
    calls.visit_file(&parsed);
    given.visit_file(&parsed);
    let Words { mut literals, names } = calls.0;
    let named = given.0.into_iter().filter(|(name, _)| names.contains(name));
    literals.extend(named.flat_map(|(_, words)| words));
    literals.into_iter().filter(|word| looks_like_a_command(word)).collect()
}

/// Words of the shell, and commands of packages that every Debian has (`Essential: yes`, and what
/// apt and util-linux bring).
const SHELL: &str = "if then else elif fi for do done while until case esac in function select time \
    cd echo printf read local export set unset shift exit return trap exec eval source command test \
    true false wait kill type compgen declare readonly mapfile getopts shopt break continue ulimit umask \
    cat chmod chown cp cut date df dirname basename env expr find grep head id install ln ls md5sum \
    mkdir mktemp mv nproc pwd readlink realpath rm rmdir sed sha256sum sleep sort stat tail tar tee \
    timeout touch tr uname uniq wc xargs awk gzip diff cmp chroot mount umount mountpoint unshare \
    flock apt-get dpkg dpkg-query";

/// A script's text without comments, quoted words, here-documents and the patterns of `case`.
fn bare(text: &str) -> String {
    let mut lines = Vec::new();
    let mut until: Option<String> = None;
    for line in text.lines() {
        if let Some(end) = &until {
            if line.trim() == end {
                until = None;
            }
            continue;
        }
        if let Some((_, word)) = line.split_once("<<").filter(|(_, w)| !w.starts_with('<')) {
            let word = word.trim_start_matches('-').trim().trim_matches(['\'', '"']);
            until = Some(word.split_whitespace().next().unwrap_or_default().trim_matches('\'').into());
        }
        lines.push(line);
    }
    let mut out = String::new();
    let (mut single, mut double, mut comment, mut before) = (false, false, false, '\n');
    let mut depth = Vec::new(); // Quotes that a `$(` interrupted.
    let text = lines.join("\n");
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\n' if comment => {
                comment = false;
                out.push('\n');
            }
            _ if comment => {}
            '\'' if !double => {
                single = !single;
                out.push('Q');
            }
            _ if single => {}
            '\\' => {
                if rest.next() != Some('\n') {
                    out.push('Q');
                }
            }
            '"' => {
                double = !double;
                out.push('Q');
            }
            '$' if rest.peek() == Some(&'(') => {
                rest.next();
                depth.push(double);
                double = false;
                out.push_str("Q\n");
            }
            ')' if !double && !depth.is_empty() => {
                double = depth.pop().unwrap_or_default();
                // What follows belongs to the word that the command stood in.
                out.push_str("\nQ ");
            }
            _ if double => {}
            '#' if before.is_whitespace() => comment = true,
            _ => out.push(c),
        }
        before = c;
    }
    out
}

/// The commands that a shell script names where a command stands.
pub(crate) fn in_shell(text: &str) -> BTreeSet<String> {
    let known: BTreeSet<&str> = SHELL.split_whitespace().collect();
    // What is put into a list is no command.
    let text = bare(text).replace("=(", "=\necho ");
    let before = text.match_indices("()").map(|(at, _)| &text[..at]);
    let functions: BTreeSet<&str> =
        before.filter_map(|t| t.rsplit(|c: char| c.is_whitespace() || ";&|".contains(c)).next()).collect();
    let mut found = BTreeSet::new();
    let mut commands = Vec::new();
    for line in text.lines() {
        commands.extend(line.split([';', '|', '&', '(', ')', '{', '}', '!', '`']));
    }
    for command in commands {
        // Words that another command follows, and assignments before one.
        let prefix =
            ["if", "then", "else", "elif", "while", "until", "do", "time", "exec", "command", "env", "sudo"];
        let mut words = command.split_whitespace().skip_while(|w| prefix.contains(w) || w.contains('='));
        let Some(word) = words.next() else { continue };
        let listed = known.contains(word) || functions.contains(word);
        if !listed && looks_like_a_command(word) && !word.contains('/') && !word.contains('.') {
            found.insert(word.to_owned());
        }
    }
    found
}

/// The commands that a Python script starts: the first word of lists given to `subprocess`.
pub(crate) fn in_python(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for call in [
        "subprocess.run(",
        "subprocess.check_output(",
        "subprocess.check_call(",
        "subprocess.Popen(",
        "shutil.which(",
    ] {
        for (at, _) in text.match_indices(call) {
            let rest = text[at + call.len()..].trim_start_matches(['[', '\n', ' ']);
            let word = rest.strip_prefix(['"', '\'']).and_then(|r| r.split(['"', '\'']).next());
            found.extend(word.filter(|w| looks_like_a_command(w)).map(str::to_owned));
        }
    }
    found
}
