//! The one error of this crate: what went wrong, where, whose fault it is, and what to do.
//!
//! Law: the library never panics on input. Every refusal is an [`Error`] whose [`Site`] names
//! the place in the user's own words (node name, tensor name, option, file).

use std::collections::BTreeMap;
use std::fmt;

/// The result of everything in this crate that can refuse.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose fault an error is; it decides the wording of the last line and the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The ONNX file is malformed or uses what is not supported.
    Model,
    /// An option, flag or macro argument is wrong.
    Option,
    /// The calibration or test data do not fit the model.
    Data,
    /// A chip or core description is wrong or unknown.
    Target,
    /// A file, a compiler or an emulator outside of us failed.
    Environment,
    /// A defect of Secateur itself.
    Internal,
    /// The observer asked to stop.
    Cancelled,
}

/// How many nodes of one kind an error names before it only counts them.
const SHOWN: usize = 3;

/// Where the error stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Site {
    /// No narrower place than the whole input.
    Whole,
    /// A node of the graph, by its name and operator.
    Node { name: String, op: String },
    /// Several nodes of one operator.
    Nodes { names: Vec<String>, op: String },
    /// A value (tensor) of the graph.
    Value(String),
    /// A file, as the user named it.
    File(String),
    /// A place in a text file; line and column count from 1.
    Line { file: String, line: usize, column: usize },
    /// An option by its flag or argument name, without dashes.
    Option(String),
    /// What an option says of a name: a dimension, or a layer or pattern of layers.
    Entry { option: String, name: String },
    /// A kernel of the lowered program.
    Kernel(String),
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Site::Whole => Ok(()),
            Site::Node { name, op } => write!(f, "node `{name}` ({op})"),
            Site::Nodes { names, op } => {
                let shown: Vec<String> = names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect();
                write!(f, "{op} \u{d7}{}: nodes {}", names.len(), shown.join(", "))?;
                match names.len().saturating_sub(SHOWN) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Site::Value(name) => write!(f, "tensor `{name}`"),
            Site::File(name) => write!(f, "file `{name}`"),
            Site::Line { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Site::Option(name) | Site::Entry { option: name, .. } => write!(f, "option `{name}`"),
            Site::Kernel(name) => write!(f, "kernel `{name}`"),
        }
    }
}

/// One refusal: fault, place, message, optional help, and further refusals found at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub fault: Fault,
    pub site: Site,
    pub message: String,
    pub help: Option<String>,
    /// Other errors of the same sweep (all unsupported nodes are listed at once).
    pub others: Vec<Error>,
}

impl Error {
    pub fn new(fault: Fault, site: Site, message: impl Into<String>) -> Self {
        Error { fault, site, message: message.into(), help: None, others: Vec::new() }
    }
    pub fn model(site: Site, message: impl Into<String>) -> Self {
        Self::new(Fault::Model, site, message)
    }
    pub fn option(name: &str, message: impl Into<String>) -> Self {
        Self::new(Fault::Option, Site::Option(name.into()), message)
    }
    /// A refusal of what an option says of a name.
    pub fn entry(option: &str, name: &str, message: impl Into<String>) -> Self {
        Self::new(Fault::Option, Site::Entry { option: option.into(), name: name.into() }, message)
    }
    pub fn data(site: Site, message: impl Into<String>) -> Self {
        Self::new(Fault::Data, site, message)
    }
    pub fn internal(site: Site, message: impl Into<String>) -> Self {
        Self::new(Fault::Internal, site, message)
    }
    /// Adds what the user can do about it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
    /// Names the place, unless a narrower one is named already.
    pub fn at(mut self, site: Site) -> Self {
        if self.site == Site::Whole {
            self.site = site;
        }
        self
    }
    /// Joins the errors of one sweep into one; `None` if there are none. Nodes of one operator that
    /// are refused for one reason become one error.
    pub fn join(errors: Vec<Error>) -> Option<Error> {
        let mut grouped: Vec<Error> = Vec::with_capacity(errors.len());
        // Where the first error of an operator, reason and help stands.
        let mut places: BTreeMap<(String, String, Option<String>), usize> = BTreeMap::new();
        let each = |mut error: Error| {
            let others = std::mem::take(&mut error.others);
            std::iter::once(error).chain(others)
        };
        for error in errors.into_iter().flat_map(each) {
            let Site::Node { name, op } = &error.site else {
                grouped.push(error);
                continue;
            };
            let (name, key) = (name.clone(), (op.clone(), error.message.clone(), error.help.clone()));
            match places.get(&key).and_then(|&at| grouped.get_mut(at)) {
                None => {
                    places.insert(key, grouped.len());
                    grouped.push(error);
                }
                Some(first) => {
                    if let Site::Node { name: only, op } = &first.site {
                        first.site = Site::Nodes { names: vec![only.clone()], op: op.clone() };
                    }
                    if let Site::Nodes { names, .. } = &mut first.site {
                        names.push(name);
                    }
                }
            }
        }
        let mut grouped = grouped.into_iter();
        let mut first = grouped.next()?;
        first.others.extend(grouped);
        Some(first)
    }
    /// Adds a help line, if none of the errors has one.
    pub fn or_help(mut self, help: &str) -> Self {
        if self.helps().is_empty() {
            self.help = Some(help.into());
        }
        self
    }
    /// What can be done about this error and the others of its sweep, each said once.
    pub fn helps(&self) -> Vec<&str> {
        let mut helps: Vec<&str> = Vec::new();
        for error in std::iter::once(self).chain(&self.others) {
            match error.help.as_deref() {
                Some(help) if !helps.contains(&help) => helps.push(help),
                _ => {}
            }
        }
        helps
    }
    /// Place and message, without help and others.
    pub fn line(&self) -> String {
        if self.site == Site::Whole {
            self.message.clone()
        } else {
            format!("{}: {}", self.site, self.message)
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line())?;
        for other in &self.others {
            write!(f, "\n{}", other.line())?;
        }
        for help in self.helps() {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
