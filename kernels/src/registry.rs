//! Which engine answers for which core.

use super::library::Library;
use super::offer::Engine;
use super::recurrent::Units;
use super::vector::Run;
use super::{armv6m, armv7em, hvx, mve, riscv};
use crate::error::Result;
use crate::kernel::Kernel;
use secateur_targets::Target;
use std::sync::Arc;

/// The engine of a target's core, if there is one.
pub fn engine(target: &Target) -> Option<&'static dyn Engine> {
    let engines: &[(&str, &'static dyn Engine)] = &[
        ("mve", &mve::engine::Helium),
        ("dsp", &armv7em::engine::Dsp),
        ("thumb", &armv6m::engine::Thumb),
        ("hvx", &hvx::engine::Hvx),
        ("rvv", &riscv::engine::Riscv { vectors: true }),
        ("rv32", &riscv::engine::Riscv { vectors: false }),
    ];
    engines.iter().find(|(feature, _)| target.has(feature)).map(|&(_, engine)| engine)
}

impl Units {
    /// The kernel, with a native form where the target's core has one that may be used.
    pub fn made(&self, library: &Library<'_>, portable: bool) -> Result<Arc<Kernel>> {
        library.once(&(*self, portable), || {
            let engine = engine(library.target()).filter(|_| !portable);
            let native = engine.map_or(Ok(None), |engine| engine.units(self, library.target()))?;
            self.kernel(native)
        })
    }
}

impl Run {
    /// The kernel, where the target's core has a native form of it.
    pub fn kernel(&self, library: &Library<'_>) -> Result<Option<Arc<Kernel>>> {
        let Some(engine) = engine(library.target()) else { return Ok(None) };
        library.maybe(self, || {
            let natives = engine.run(self, library.target())?;
            if natives.is_empty() {
                return Ok(None);
            }
            let mut k = self.body();
            natives.into_iter().for_each(|n| k.native(n));
            k.finish().map(Some)
        })
    }
}
