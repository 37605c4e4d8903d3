//! Identifiers for emitted code, out of whatever the model's author wrote.
//!
//! In: ONNX names (any text), kernel and variable names, the name of the module. Out: identifiers
//! in snake case that C99, C++ and Rust accept, unique where asked, and no longer than C99 tells
//! apart. Law: the same names in, the same identifiers out. What a model brings never stands bare
//! in C: the module's name, or `in_` and `out_`, stand before it, so that no macro of a header
//! can be in its way.

use crate::error::{Error, Result};
use crate::program::{Program, State};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Words of Rust in all of its editions: no method, function or module has such a name.
const RUST: &str = "abstract as async await become box break const continue crate default do dyn \
    else enum extern false final fn for gen if impl in let loop macro match mod move mut override priv \
    pub ref return self static struct super trait true try type typeof unsafe unsized use \
    virtual where while yield";

/// Types that Rust knows without a path, and modules of which would hide them.
const RUST_TYPES: &str = "bool char f16 f32 f64 f128 i8 i16 i32 i64 i128 isize str u8 u16 u32 u64 u128 usize";

/// Crates that every Rust program may name, and files that Cargo gives a meaning.
const RUST_CRATES: &str = "alloc build core lib main proc_macro secateur secateur_runtime std test";

/// Words of C and C++, and what they define in their older dialects: for names inside functions.
const C: &str = "alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl \
    complex const constexpr continue default delete do double else enum explicit export extern false \
    float for friend goto i386 if imaginary inline int linux long mutable namespace new noexcept not \
    not_eq nullptr operator or or_eq private protected public register requires restrict return short \
    signed sizeof static struct switch template this throw true try typedef typeid typename typeof \
    union unix unsigned using virtual void volatile wchar_t while xor xor_eq \
    int8_t uint8_t int16_t uint16_t int32_t uint32_t int64_t uint64_t size_t memcpy memset";

/// What stands in emitted modules by its bare name.
const MODULE: &str = "arena math weights kernels div rem div64 rem64";

/// Headers of C libraries that a folder on the include path would hide: those of the C standard,
/// of POSIX and of the libraries for bare metal; and our own.
const HEADERS: &str = "aio aliases alloca ar argp argz arpa assert byteswap complex cpio crypt ctype devctl \
    dirent dlfcn elf endian envlock envz err errno error execinfo fastmath fcntl features fenv float fmtmsg \
    fnmatch fpu_control fstab fts ftw getopt glob grp iconv ieee754 ieeefp ifaddrs inttypes iso646 langinfo \
    libgen libintl limits link locale malloc math mcheck memory mntent monetary mqueue ndbm netdb newlib \
    nl_types obstack paths picolibc picotls poll printf pthread pty pwd reent regdef regex regexp resolv \
    sched search secateur_math semaphore semihost setjmp sgtty shadow signal spawn stab stdalign stdarg \
    stdatomic stdbit stdbool stdckdint stddef stdfix stdint stdio stdio_ext stdlib stdnoreturn string \
    strings stropts sysexits syslimits syslog tar termio termios tgmath threads time trace uchar ucontext \
    ulimit unctrl unistd unwind utime utmp utmpx values varargs wait wchar wctype wordexp xlocale";

/// Names that Windows keeps for devices, whatever their ending.
const DEVICES: &str = "aux con nul prn com1 com2 com3 com4 com5 com6 com7 com8 com9 lpt1 lpt2 lpt3 lpt4 lpt5 \
    lpt6 lpt7 lpt8 lpt9";

/// Bytes by which C99 promises to tell identifiers apart: those that the linker sees, and others.
const EXTERNAL: usize = 31;
const INTERNAL: usize = 63;

/// Bytes that a number behind a name takes at most, `_` included.
const NUMBER: usize = 6;

/// The longest name of a module: what stands behind it for the linker is told apart.
pub const LONGEST: usize = EXTERNAL - 1 - NUMBER;

fn among(name: &str, words: &str) -> bool {
    words.split_whitespace().any(|w| w == name)
}

/// Why a module cannot have this name; `None` if it can.
pub fn refusal(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let reason = if !starts || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        "is no name for C and Rust: letters, digits and `_`, beginning with a letter".to_string()
    } else if name.contains("__") || name.ends_with('_') {
        "would give names with two `_` in a row, which C++ keeps for itself".to_string()
    } else if name.len() > LONGEST {
        format!(
            "is longer than {LONGEST} bytes: C99 tells names apart by {EXTERNAL}, with what stands behind it"
        )
    } else if among(&lower, RUST) {
        "is a word of Rust".to_string()
    } else if among(&lower, RUST_TYPES) {
        "is a type of Rust".to_string()
    } else if among(&lower, RUST_CRATES) {
        "is a crate of every Rust program, or a file with a meaning to Cargo".to_string()
    } else if among(&lower, HEADERS) {
        format!("would hide the header `{lower}.h` of a C library")
    } else if among(&lower, DEVICES) {
        "is a device on Windows, where no file can be called so".to_string()
    } else if lower.ends_with("_kernels") {
        "ends like the assembly file of another model".to_string()
    } else {
        return None;
    };
    Some(reason)
}

/// A name that a module can have, close to the one given: a word of Rust or a header of C gets
/// `_model` behind it; of a longer name the head stays, with a digest that tells it from others.
pub fn adapted(name: &str) -> String {
    let mut out = spelled(name);
    if out.len() <= LONGEST && refusal(&out).is_some() {
        out += "_model";
    }
    if out.len() > LONGEST {
        let digest = Sha256::digest(name.as_bytes());
        let tail = format!("_{:02x}{:02x}", digest[0], digest[1]);
        out.truncate(LONGEST - tail.len());
        out = out.trim_end_matches('_').to_string() + &tail;
    }
    out
}

/// The name in letters, digits and `_`, beginning with a letter; what it means is not looked at.
pub fn spelled(name: &str) -> String {
    let out = plain(name);
    match out.chars().next() {
        Some(c) if c.is_ascii_alphabetic() => out,
        Some(_) => format!("model_{out}"),
        None => "model".to_string(),
    }
}

/// Other characters than letters and digits become `_`, never two in a row nor at an end.
fn plain(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('_') {
            out.push('_');
        }
    }
    out.truncate(out.trim_end_matches('_').len());
    out
}

/// Snake case: `StatefulPartitionedCall:0` gives `stateful_partitioned_call_0`.
fn snake(name: &str) -> String {
    let chars: Vec<char> = plain(name).chars().collect();
    let mut out = String::with_capacity(chars.len());
    for (i, &c) in chars.iter().enumerate() {
        let before = i.checked_sub(1).map(|b| chars[b]);
        let word = chars.get(i + 1).is_some_and(char::is_ascii_lowercase);
        let starts = before.is_some_and(|b| {
            b.is_ascii_lowercase() || (word && (b.is_ascii_uppercase() || b.is_ascii_digit()))
        });
        if c.is_ascii_uppercase() && starts {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// `name` as an identifier in snake case; a leading digit gets `t` before it.
pub fn identifier(name: &str) -> String {
    let mut out = snake(name);
    if out.is_empty() {
        out.push('x');
    }
    if out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, 't');
    }
    out
}

/// Name of files and C prefix: a name that can be one stays as it is.
pub fn base_name(name: &str) -> String {
    if refusal(name).is_none() { name.to_string() } else { adapted(name) }
}

/// Name of the emitted Rust module and crate: `KWS` gives `kws`.
pub fn rust_module(name: &str) -> String {
    base_name(&snake(&base_name(name)))
}

/// Name of the emitted Rust type of a module: `watch_cnn1d` gives `WatchCnn1d`.
pub fn type_name(name: &str) -> String {
    let name = base_name(name);
    let parts = name.split('_').filter(|part| !part.is_empty());
    parts.map(|part| part[..1].to_ascii_uppercase() + &part[1..]).collect()
}

/// Name of module and file for a Rust type's name: `WatchCnn1d` gives `watch_cnn1d`.
pub fn module_name(type_name: &str) -> String {
    adapted(&snake(type_name))
}

/// Identifiers of a program's inputs and outputs. They become parts of macros and functions in C,
/// constants and methods in Rust: an input `x` gives `x_mut`, an output `y` gives `y`.
pub fn ports(program: &Program) -> (Vec<String>, Vec<String>) {
    let Names { inputs, outputs, .. } = names(program);
    (inputs, outputs)
}

/// Identifiers of what a program's user may name.
#[derive(Debug)]
pub struct Names {
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    /// A state `h` gives `state_h`.
    pub states: Vec<String>,
}

/// As [`ports`], those of states too.
pub fn names(program: &Program) -> Names {
    let longest = "_quantize__i16".len().max("__ZERO_POINT".len());
    let mut ports = Namespace::within(INTERNAL - longest - base_name(&program.name).len());
    let wished = |name: &str| program.renamed.get(name).map_or(name, String::as_str).to_owned();
    let inputs = program.inputs.iter().map(|p| ports.take_with(&wished(&p.name), &["", "quantize_"], "_mut"));
    let inputs = inputs.collect();
    // An output is a method by its own name: not one that each model has, and no word of Rust.
    for fixed in RUST.split_whitespace().chain(["new", "run", "run_in_place", "reset"]) {
        ports.keep(fixed);
    }
    let outputs = program.outputs.iter().map(|p| ports.take_with(&wished(&p.name), &["", "dequantize_"], ""));
    let outputs = outputs.collect();
    let states = program
        .states
        .iter()
        .map(|s| ports.take_with(&format!("state_{}", wished(state_name(program, s))), &[""], "_mut"));
    let states = states.collect();
    Names { inputs, outputs, states }
}

/// Gives ports and states the identifiers that the user wishes for them, by their names in the model.
///
/// Errors: a name that no port and no state has; a wish that is no identifier, is kept for something else, or is that of
/// another port.
pub fn rename(program: &mut Program, wishes: &BTreeMap<String, String>) -> Result<()> {
    program.renamed.clone_from(wishes);
    let found = names(program);
    let ports = program.inputs.iter().chain(&program.outputs).map(|port| port.name.as_str());
    let all = ports.chain(program.states.iter().map(|state| state_name(program, state)));
    let idents = found.inputs.iter().chain(&found.outputs).chain(&found.states);
    let all: Vec<(&str, &String)> = all.zip(idents).collect();
    for (port, wish) in wishes {
        let refused = |why: String| Error::entry("rename", port, why);
        if !all.iter().any(|(name, _)| name == port) {
            let names: Vec<String> = all.iter().map(|(name, _)| format!("`{name}`")).collect();
            return Err(refused(format!("no input, output or state is called `{port}`"))
                .help(format!("there are {}", names.join(", "))));
        }
        if identifier(wish) != *wish {
            return Err(refused(format!(
                "`{wish}` is no name for C and Rust: small letters, digits and single `_`, beginning with a letter"
            ))
            .help(format!("a name that can be is `{}`", identifier(wish))));
        }
        let got = |(name, ident): &&(&str, &String)| {
            name == port && ident.as_str() != wish && **ident != format!("state_{wish}")
        };
        if all.iter().any(|each| got(&each)) {
            return Err(refused(format!(
                "`{wish}` is a word of Rust, that of another port or method, or too long"
            ))
            .help("give another name"));
        }
    }
    Ok(())
}

fn state_name<'a>(program: &'a Program, state: &State) -> &'a str {
    program.buffers.get(state.buffer.0 as usize).map_or("", |b| &b.name)
}

/// Hands out identifiers that differ.
#[derive(Debug)]
pub struct Namespace {
    taken: BTreeSet<String>,
    /// The next number to try behind a name.
    next: BTreeMap<String, usize>,
    longest: usize,
}

impl Default for Namespace {
    fn default() -> Self {
        Namespace::within(INTERNAL)
    }
}

impl Namespace {
    /// Identifiers of so many bytes at most.
    pub fn within(longest: usize) -> Self {
        Namespace { taken: BTreeSet::new(), next: BTreeMap::new(), longest }
    }
    /// For what stands inside functions of C and Rust.
    pub fn locals() -> Self {
        let mut names = Namespace::default();
        for words in [RUST, RUST_TYPES, C, MODULE] {
            words.split_whitespace().for_each(|w| names.keep(w));
        }
        names
    }
    /// For the functions and constants of a module: what begins with its name in C.
    pub fn functions(module: &str) -> Self {
        let mut names = Namespace::within(INTERNAL - 1 - module.len());
        for word in RUST.split_whitespace() {
            names.keep(word);
        }
        names
    }
    /// Gives a name to nobody.
    pub fn keep(&mut self, name: &str) {
        self.taken.insert(name.to_string());
    }
    /// `name` as an identifier, with a number where it is taken.
    pub fn take(&mut self, name: &str) -> String {
        self.take_with(name, &[""], "")
    }
    /// The same, shorter by so many bytes: what a linker sees of the module `module`.
    pub fn take_external(&mut self, name: &str, module: &str) -> String {
        self.number(name, &[""], "", EXTERNAL - 1 - module.len())
    }
    /// The same for a name from which others are made: each of `prefixes` before it, `suffix`
    /// behind it. All of them become taken.
    pub fn take_with(&mut self, name: &str, prefixes: &[&str], suffix: &str) -> String {
        self.number(name, prefixes, suffix, self.longest)
    }

    fn number(&mut self, name: &str, prefixes: &[&str], suffix: &str, longest: usize) -> String {
        let base = identifier(name);
        // Numbers are counted by the head that they stand behind: the same for all longer names.
        let head = &base[..base.len().min(longest.saturating_sub(NUMBER))];
        let head = head.trim_end_matches('_').to_string();
        let mut out = base.clone();
        let mut fits = base.len() <= longest;
        loop {
            let mut made: BTreeSet<String> = prefixes.iter().map(|p| format!("{p}{out}")).collect();
            made.insert(format!("{out}{suffix}"));
            if fits && made.is_disjoint(&self.taken) {
                self.taken.extend(made);
                return out;
            }
            let short = base.len() + NUMBER <= longest;
            let stem = if short { &base } else { &head };
            let n = self.next.entry(stem.clone()).or_insert(2);
            out = if stem.is_empty() { format!("k{n}") } else { format!("{stem}_{n}") };
            *n += 1;
            fits = true;
        }
    }
}
