//! The linker section of the weights, where the user names one.
//!
//! In: its name. Out: what stands before each constant in C and in Rust. Law: where no linker script of a chip is, as on
//! the systems of hosts that have another form of names, constants stay where they are; a compiler that cannot place them is an
//! error of the build.

use crate::error::{Error, Result};
use crate::options::Options;

/// The most characters of a name.
const LONGEST: usize = 63;

/// Refuses a name that linker scripts and assemblers do not read as one.
pub fn check_section(options: &Options) -> Result<()> {
    let Some(name) = &options.section else { return Ok(()) };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '$' | '-');
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '.' | '_'));
    if begins && name.chars().all(plain) && name.len() <= LONGEST {
        return Ok(());
    }
    let why = format!(
        "`{}` is no name of a section: letters, digits, `.`, `_`, `$` and `-`, at most {LONGEST}",
        super::printable(name)
    );
    Err(Error::option("section", why).help("as the linker script calls it: `.model_weights`"))
}

/// Lines of a C source that define how constants are placed.
pub(super) fn c_lines() -> &'static str {
    "\n/* Puts constants into the section that the model was compiled for. For a compiler that is not among these,\n \
     * define it before this file. */\n#if defined(SECATEUR_SECTION)\n#elif defined(__APPLE__) || defined(_WIN32)\n\
     #define SECATEUR_SECTION(name) /* no linker script of a chip is read here */\n\
     #elif defined(__GNUC__) || defined(__clang__) || defined(__CC_ARM)\n\
     #define SECATEUR_SECTION(name) __attribute__((__section__(name)))\n\
     #elif defined(__ICCARM__) || defined(__ICCRISCV__)\n\
     #define SECATEUR_SECTION(name) SECATEUR_PRAGMA(location = name)\n#else\n\
     #error \"this compiler is not known to place constants: define SECATEUR_SECTION(name)\"\n#endif\n"
}

/// What stands before a constant in C.
pub(super) fn c_attribute(section: Option<&str>) -> String {
    section.map_or_else(String::new, |name| format!("SECATEUR_SECTION(\"{name}\") "))
}

/// The line before a constant in Rust.
pub(super) fn rust_attribute(section: Option<&str>) -> String {
    section.map_or_else(String::new, |name| {
        format!(
            "    #[cfg_attr(not(any(target_vendor = \"apple\", windows)), unsafe(link_section = \"{name}\"))]\n"
        )
    })
}
