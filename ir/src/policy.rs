//! What is spent for what: all uses of [`Optimize`], and the thresholds by which cycles, flash and
//! memory are weighed against each other.
//!
//! In: what the user asked for. Out: answers to the questions that kernels and the schedule have.
//! Law: nobody else names `Optimize` but the options and the fronts, so that a change of policy is a
//! change of this file.

use crate::options::{KernelWish, Optimize, Options};
use secateur_targets::Target;

/// Growth of a layer's weights that `balanced` takes for any gain: a quarter, and half a kilobyte.
const GROWTH: (usize, usize) = (4, 512);
/// Cycles that each byte beyond that must save. Transformed weights in flash save 6 a byte,
/// weights of depthwise windows in pairs some 40.
const PRICE: f64 = 24.0;
/// What a form of the graph must come down to to be taken before an earlier one.
const GAIN: f64 = 0.99;

/// What a user wants, as the compiler asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy<'a> {
    optimize: Optimize,
    kernels: &'a [KernelWish],
}

/// What a kernel variant, a plan or a program costs, in one unit each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    /// Predicted cycles of one run; 0 where the core has no cost table.
    pub cycles: f64,
    /// Bytes of machine code of the native kernels, each once.
    pub code: usize,
    /// Bytes of coefficients and tables in flash.
    pub weights: usize,
}

impl<'a> Policy<'a> {
    /// The same wishes under `balanced`, which the other aims are held against.
    pub fn balanced(self) -> Policy<'a> {
        Policy { optimize: Optimize::Balanced, ..self }
    }
    /// The other aims under the same wishes, each with its word.
    pub fn others(self) -> impl Iterator<Item = (&'static str, Policy<'a>)> {
        let all = [("balanced", Optimize::Balanced), ("size", Optimize::Size), ("speed", Optimize::Speed)];
        all.into_iter()
            .filter(move |(_, aim)| *aim != self.optimize)
            .map(move |(word, optimize)| (word, Policy { optimize, ..self }))
    }
    /// The kernel variant that a layer must run, if there is a wish.
    pub fn kernel(self, layer: &str) -> Option<&'a str> {
        self.kernels.iter().rev().find(|wish| wish.wants(layer)).map(|wish| wish.variant.as_str())
    }
    /// Whether flash is spent wherever that saves cycles: weights stored larger, loops spelled out,
    /// code for one layer alone.
    pub fn spends_flash(self) -> bool {
        self.optimize == Optimize::Speed
    }
    /// Whether cycles are spent wherever that saves flash.
    pub fn saves_flash(self) -> bool {
        self.optimize == Optimize::Size
    }
    /// One of three, for `speed`, `balanced` and `size`.
    pub fn by_aim<T>(self, speed: T, balanced: T, size: T) -> T {
        match self.optimize {
            Optimize::Speed => speed,
            Optimize::Balanced => balanced,
            Optimize::Size => size,
        }
    }
    /// Bytes of native code beyond which no layer takes code of its own beside a shared function's.
    pub fn most_code(self) -> usize {
        if self.spends_flash() { 18 << 10 } else { 11 << 10 }
    }
    /// Keeps the variants whose flash is worth it.
    pub fn affordable<V>(self, all: &mut Vec<(V, Price)>) {
        if self.optimize != Optimize::Balanced {
            return;
        }
        let least = all.iter().map(|(_, price)| price.weights).min().unwrap_or(0);
        let free = least + least / GROWTH.0 + GROWTH.1;
        let modest = all.iter().filter(|(_, price)| price.weights <= free);
        let modest_cycles = modest.map(|(_, price)| price.cycles).fold(f64::INFINITY, f64::min);
        all.retain(|(_, price)| {
            let more = price.weights.saturating_sub(free) as f64;
            more * PRICE <= (modest_cycles - price.cycles).max(0.0)
        });
    }
    /// What is to be least: predicted cycles, or flash.
    pub fn rank(self, price: &Price) -> (u64, u64) {
        // Predicted cycles are whole up to rounding; their order is what counts.
        let cycles = price.cycles as u64;
        match self.optimize {
            Optimize::Size => (price.weights as u64 + price.code as u64, cycles),
            Optimize::Speed | Optimize::Balanced => (cycles, 0),
        }
    }
    /// Bytes that the arena may take where the values alone need `values()`, so that the fastest
    /// variants that fit are taken.
    ///
    /// Errors: those of `values`.
    pub fn most_arena<E>(
        self,
        target: &Target,
        values: impl FnOnce() -> Result<usize, E>,
    ) -> Result<usize, E> {
        Ok(match self.optimize {
            // A bare core has no memory of its own to run short of.
            Optimize::Speed if target.ram() == 0 => usize::MAX,
            Optimize::Speed => (target.ram() / 4 * 3) as usize,
            Optimize::Balanced | Optimize::Size => balanced(values()?),
        })
    }
    /// How a form of the graph compares with the first one, cycles, flash and arena as shares of
    /// what that takes. What is asked for counts for three, what is not still for one.
    pub fn share(self, cycles: f64, flash: f64, arena: f64) -> f64 {
        let (time, space) = self.by_aim((3.0, 1.0), (1.0, 1.0), (1.0, 3.0));
        time * cycles + space * flash + arena
    }
    /// Whether a form whose share is `new` is taken before an earlier one's.
    pub fn gains(self, new: f64, old: f64) -> bool {
        new < old * GAIN
    }
}

impl From<Optimize> for Policy<'static> {
    fn from(optimize: Optimize) -> Policy<'static> {
        Policy { optimize, kernels: &[] }
    }
}

impl<'a> From<&'a Options> for Policy<'a> {
    fn from(options: &'a Options) -> Policy<'a> {
        Policy { optimize: options.optimize, kernels: &options.kernels }
    }
}

/// Bytes of arena that `balanced` takes where the values alone need so many: workspace for 18 in a
/// hundred more, but between 2.5 and 4 KiB, where the kernels' speed levels off.
fn balanced(values: usize) -> usize {
    values + (values * 18 / 100).clamp(2560, 4096)
}

/// Bytes of arena that `size` may take where `balanced` takes so many: an eighth more, or 1 KiB.
/// Flash is not saved at any price.
pub fn most_for_size(balanced: usize) -> usize {
    balanced + (balanced / 8).max(1024)
}
