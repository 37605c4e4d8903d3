//! A warning: what a user should know of a model or of options that are accepted all the same.
//!
//! Importer, passes and quantizer leave warnings on the graph ([`crate::graph::Graph::warn`]);
//! `artifact::compile` gathers them in the report, and whoever fills in the report later may add
//! more. Law: the library only collects; the fronts print, each warning once.

use crate::error::Site;
use serde::{Serialize, Serializer};
use std::fmt;

/// Where, what, and what can be done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    #[serde(rename = "place", serialize_with = "words")]
    pub site: Site,
    pub message: String,
    pub help: Option<String>,
}

fn words<S: Serializer>(site: &Site, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(site)
}

impl Warning {
    pub fn new(site: Site, message: impl Into<String>) -> Self {
        Warning { site, message: message.into(), help: None }
    }
    /// Adds what the user can do about it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
    /// Adds `self` to a list that does not hold it yet.
    pub fn push_to(self, list: &mut Vec<Warning>) {
        if !list.contains(&self) {
            list.push(self);
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.site != Site::Whole {
            write!(f, "{}: ", self.site)?;
        }
        f.write_str(&self.message)?;
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_names_its_place_and_stands_once() {
        let warning = || Warning::new(Site::Value("h".into()), "has two scales").help("tie them");
        assert_eq!(warning().to_string(), "tensor `h`: has two scales\n  help: tie them");
        let mut list = Vec::new();
        warning().push_to(&mut list);
        warning().push_to(&mut list);
        assert_eq!(list, [warning()]);
    }
}
