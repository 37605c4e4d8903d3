//! Graph passes: an ordered, named list. One pass, one file, one line in [`PASSES`].

use crate::error::Result;
use crate::graph::{Graph, Patch};

/// A pass: rewrites the graph through the patch and says how many places it changed.
pub type Pass = fn(&mut Patch<'_>) -> Result<usize>;

/// All passes in the order in which they run; the list reads aloud.
pub const PASSES: &[(&str, Pass)] = &[];

/// Runs [`PASSES`], verifying the graph after each; `after(name, graph)` sees each result.
pub fn run(graph: &mut Graph, after: &mut dyn FnMut(&str, &Graph)) -> Result<()> {
    for (name, pass) in PASSES {
        pass(&mut Patch::new(graph))?;
        crate::graph::verify(graph)?;
        after(name, graph);
    }
    Ok(())
}
