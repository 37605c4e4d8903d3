//! The kernels of one core that were generated so far.
//!
//! In: what a kernel is to do. Out: the kernel, generated at the first question: registers are
//! assigned and instructions scheduled once for each distinct function, however many layers,
//! variants and plans ask for it. A library lives as long as one compilation.

use crate::error::{Error, Result, Site};
use crate::kernel::Kernel;
use secateur_targets::{Core, Target};
use std::any::type_name;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

/// Kernels by what they do. A generator and its parameters are the key, so parameters must show in
/// their `Debug` form all that the kernel depends on besides the target.
#[derive(Debug)]
pub struct Library<'a> {
    target: &'a Target,
    kernels: RefCell<BTreeMap<String, Option<Arc<Kernel>>>>,
    generated: Cell<usize>,
}

impl<'a> Library<'a> {
    /// An empty library for a target.
    pub fn new(target: &'a Target) -> Self {
        Library { target, kernels: RefCell::default(), generated: Cell::new(0) }
    }
    pub fn target(&self) -> &'a Target {
        self.target
    }
    pub fn core(&self) -> &'a Core {
        &self.target.core
    }
    /// How many kernels were generated.
    pub fn generated(&self) -> usize {
        self.generated.get()
    }
    /// The kernel of a description.
    ///
    /// Errors: those of the generator; nothing is kept then.
    pub fn once<T: Debug>(
        &self,
        what: &T,
        generate: impl FnOnce() -> Result<Arc<Kernel>>,
    ) -> Result<Arc<Kernel>> {
        let found = self.maybe(what, || generate().map(Some))?;
        found.ok_or_else(|| Error::internal(Site::Whole, format!("no kernel for {what:?}")))
    }
    /// The kernel of a description, where the core has one.
    ///
    /// Errors: those of the generator; nothing is kept then.
    pub fn maybe<T: Debug>(
        &self,
        what: &T,
        generate: impl FnOnce() -> Result<Option<Arc<Kernel>>>,
    ) -> Result<Option<Arc<Kernel>>> {
        let key = format!("{} {what:?}", type_name::<T>());
        if let Some(known) = self.kernels.borrow().get(&key) {
            return Ok(known.clone());
        }
        let kernel = generate()?;
        self.generated.set(self.generated.get() + usize::from(kernel.is_some()));
        self.kernels.borrow_mut().insert(key, kernel.clone());
        Ok(kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::KernelBuilder;

    #[test]
    fn a_kernel_is_generated_once() {
        let target = secateur_targets::find("host").unwrap();
        let library = Library::new(&target);
        let kernel = |n: &str| KernelBuilder::new(n).finish();
        let first = library.once(&3usize, || kernel("a")).unwrap();
        let again = library.once(&3usize, || panic!("generated again")).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        // Another parameter, or another type that looks alike, is another kernel.
        library.once(&4usize, || kernel("b")).unwrap();
        library.once(&3u8, || kernel("c")).unwrap();
        assert_eq!(library.generated(), 3);
    }
}
