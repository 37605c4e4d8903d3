//! Program -> text: `c` and `rust`.
//!
//! In: a [`Program`], proven. Out: files. Law: a printer makes no choice that changes a result;
//! the same program and options give the same text.

mod architecture;
pub mod c;
mod c_checks;
mod c_data;
mod c_expr;
mod c_header;
mod called;
mod counts;
mod file;
mod layout;
mod module;
pub mod names;
mod needs;
mod range;
pub mod rust;
mod rust_border;
mod rust_expr;
mod rust_foreign;
mod rust_model;
mod section;
mod size;

pub use called::{Outline, outline};
pub use file::File;
pub use layout::{Build, around, check_layout};
pub(crate) use module::{origin, printable};
pub use rust_foreign::wrapper_text;
pub use section::check_section;
pub use size::CodeParts;

use crate::counts::Counts;
use crate::options::{Layout, Options};
use secateur_targets::Target;

/// What the printers need to know besides the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmitOptions {
    /// Digest of model, options, target and calibration, for the banner.
    pub digest: String,
    /// Features of the target's core: which native kernels and spellings may be used.
    pub features: Vec<String>,
    /// Name of the target and of its core, and flags by which C compilers know it, for messages
    /// where the code is built for another one.
    pub target: String,
    pub core: String,
    pub flags: String,
    /// How C is compiled for the target, for layouts that build it.
    pub build: Build,
    /// What stands around the code.
    pub layout: Layout,
    /// Calls of the empty function `secateur_layer` before each layer, for a counter that tells
    /// layers apart. Who builds such code brings the function.
    pub marks: bool,
    /// Inputs whose integers are made of a sensor's counts.
    pub counts: Vec<Counts>,
    /// Linker section of the weights.
    pub section: Option<String>,
    /// Bytes of machine code, where a build of this program was measured.
    pub code: Option<usize>,
    /// Bytes of machine code on the target, as predicted from the text.
    pub predicted_code: Option<usize>,
    /// Bytes of stack that `run` needs, where known.
    pub stack: Option<usize>,
    /// Why one of them is missing, where a measurement was tried.
    pub not_measured: Option<String>,
}

impl Default for EmitOptions {
    fn default() -> Self {
        EmitOptions {
            digest: String::new(),
            features: Vec::new(),
            target: String::new(),
            core: String::new(),
            flags: String::new(),
            build: Build::default(),
            layout: Layout::Files,
            counts: Vec::new(),
            marks: false,
            section: None,
            code: None,
            predicted_code: None,
            stack: None,
            not_measured: None,
        }
    }
}

impl EmitOptions {
    /// What target and options say of a text.
    pub fn of(target: &Target, options: &Options) -> EmitOptions {
        let build = Build::of(target);
        EmitOptions {
            features: target.core.features.clone(),
            target: target.name.clone(),
            core: target.core.name.clone(),
            flags: build.core_flags(),
            build,
            layout: options.layout,
            section: options.section.clone(),
            ..EmitOptions::default()
        }
    }
    /// Whether the core knows Thumb-1 alone, which chooses between two values by a branch and has no
    /// product of 64 bits.
    fn thumb_1(&self) -> bool {
        let has = |name: &str| self.features.iter().any(|f| f == name);
        has("thumb") && !has("mla")
    }
}
