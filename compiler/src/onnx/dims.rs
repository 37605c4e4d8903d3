//! Symbolic dimensions of graph inputs -> numbers.
//!
//! In: declared input shapes and the user's `--dim NAME=N`. Out: a number for every dimension.
//! Law: a dimension is taken from the user first; the first axis of an input is a batch and
//! defaults to 1, and so does its name wherever else it occurs; any other is refused by name.

use super::proto::{Dim, Port};
use crate::error::{Error, Result, Site};
use std::collections::{BTreeMap, BTreeSet};

/// Numbers for the symbolic dimensions of a model.
pub(super) struct Dims {
    named: BTreeMap<String, usize>,
}

impl Dims {
    /// `inputs`: the inputs that the caller of `run` gives. Refuses a name in `given` that the
    /// model does not use.
    pub(super) fn new<'a>(
        inputs: impl Iterator<Item = &'a Port> + Clone,
        given: &BTreeMap<String, usize>,
    ) -> Result<Dims> {
        let mut known: BTreeSet<String> = BTreeSet::new();
        let mut named = given.clone();
        for port in inputs {
            let Ok(Some(ty)) = &port.ty else { continue };
            for (axis, dim) in ty.shape.iter().flatten().enumerate() {
                let Some(name) = name_of(port, axis, dim) else { continue };
                if axis == 0 {
                    named.entry(name.clone()).or_insert(1);
                }
                known.insert(name);
            }
        }
        if let Some(stray) = given.keys().find(|name| !known.contains(*name)) {
            let list: Vec<&str> = known.iter().map(String::as_str).collect();
            let help = if list.is_empty() {
                "every dimension of its inputs is fixed".to_string()
            } else {
                format!("its dimensions are {}", list.join(", "))
            };
            let why = format!("the model has no dimension `{stray}`");
            return Err(Error::entry("dim", stray, why).help(help));
        }
        if let Some((name, _)) = given.iter().find(|(_, n)| **n == 0) {
            return Err(Error::entry("dim", name, format!("dimension `{name}` must be at least 1")));
        }
        Ok(Dims { named })
    }

    /// The shape of an input; refuses an unknown rank, negative sizes and unnamed dimensions.
    pub(super) fn resolve(&self, port: &Port, shape: Option<&[Dim]>) -> Result<Vec<usize>> {
        let site = || Site::Value(port.name.clone());
        let Some(shape) = shape else {
            return Err(Error::model(site(), "the input has no declared shape")
                .help("export the model with input shapes"));
        };
        let mut dims = Vec::with_capacity(shape.len());
        for (axis, dim) in shape.iter().enumerate() {
            dims.push(match (dim, name_of(port, axis, dim)) {
                (Dim::Known(n), _) => *n,
                (_, Some(name)) => match self.named.get(&name) {
                    Some(&n) => i64::try_from(n).unwrap_or(i64::MAX),
                    None => {
                        let what = match dim {
                            Dim::Named(_) => format!("dimension `{name}` (axis {axis})"),
                            _ => format!("axis {axis}"),
                        };
                        return Err(Error::model(site(), format!("{what} has no fixed size"))
                            .help(format!("give it one: --dim '{name}=N'")));
                    }
                },
                (_, None) => 1,
            });
        }
        super::proto::shape(&dims).map_err(|e| e.at(site()))
    }
}

/// The name by which the user fixes a dimension: its own, or `input[axis]` where it has none.
fn name_of(port: &Port, axis: usize, dim: &Dim) -> Option<String> {
    match dim {
        Dim::Known(_) => None,
        Dim::Named(name) if name != "?" => Some(name.clone()),
        _ => Some(format!("{}[{axis}]", port.name)),
    }
}
