//! Errors in the words and the layout of the command line.

use crate::error::{Error, Fault};

/// Our error as miette shows it.
#[derive(Debug)]
pub(crate) struct Diagnostic(pub(crate) Error);

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let error = &self.0;
        f.write_str(&error.line())?;
        // One line each: a model with forty unsupported nodes is one message, not forty.
        for other in &error.others {
            write!(f, "\n{}", other.line())?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

impl miette::Diagnostic for Diagnostic {
    fn code<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        let fault = match self.0.fault {
            Fault::Model => "model",
            Fault::Option => "option",
            Fault::Data => "data",
            Fault::Target => "target",
            Fault::Environment => "environment",
            Fault::Internal => "internal",
            Fault::Cancelled => "cancelled",
        };
        Some(Box::new(format!("secateur::{fault}")))
    }
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        if self.0.fault == Fault::Internal {
            return Some(Box::new("this is a defect of Secateur; please report it with the model"));
        }
        let helps = self.0.helps();
        if helps.is_empty() { None } else { Some(Box::new(helps.join("\n"))) }
    }
}
