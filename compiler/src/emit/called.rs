//! What a program's text consists of, told before it is built: which functions of the assembly each layer calls, by
//! the names that the emitters give them, and what stands around them.
//!
//! Law: the names of all layers together are the functions of the assembly, no more and no fewer;
//! a layer that calls none runs portable loops or nothing.

use super::EmitOptions;
use super::module::Module;
use super::size::CodeParts;
use crate::error::Result;
use crate::kernel::{Kernel, Stmt, visit};
use crate::program::Program;

/// What there is in a program's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// Functions of the assembly by layer, in the order of the first calls; names stand without the model's.
    pub called: Vec<Vec<String>>,
    /// What is not native.
    pub parts: CodeParts,
}

/// The outline of a program's text.
pub fn outline(program: &Program, options: &EmitOptions) -> Result<Outline> {
    let module = Module::new(program, options)?;
    let mut called = vec![Vec::new(); program.layers.len()];
    for step in &module.run.steps {
        if let Some(names) = called.get_mut(step.layer) {
            natives(&module, &step.kernel, names)?;
        }
    }
    Ok(Outline { called, parts: CodeParts::of(&module) })
}

fn natives(module: &Module<'_>, kernel: &Kernel, names: &mut Vec<String>) -> Result<()> {
    let item = module.item(kernel)?;
    if item.native.is_some() {
        let name = item.shares.map_or(&item.name, |other| &module.items[other].name);
        if !names.contains(name) {
            names.push(name.clone());
        }
        return Ok(());
    }
    let mut done = Ok(());
    visit(&kernel.body, &mut |s| {
        if let (Stmt::Call { kernel, .. }, Ok(())) = (s, &done) {
            done = natives(module, kernel, names);
        }
    });
    done
}
