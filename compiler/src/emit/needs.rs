//! In which builds a function is needed: a portable body is printed for every processor, but
//! where a native kernel replaces it, what it alone calls must go as well.
//!
//! In: the items and instructions of a module. Out: a [`Need`] for each. Law: nothing that is
//! printed is unused in any build, and nothing that a build uses is left out.

use super::architecture::{Wrapping, wrapping};
use super::module::Module;
use crate::kernel::{Expr, Instr, Kernel, Stmt, visit};
use std::collections::BTreeSet;

/// Builds, as alternatives: each is a set of features whose native kernels such a build does not
/// use. The empty set stands for all builds; no set for none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Need(BTreeSet<BTreeSet<String>>);

impl Need {
    pub(super) fn always() -> Need {
        Need(BTreeSet::from([BTreeSet::new()]))
    }

    /// Those of these builds that do not use a feature's native kernels.
    pub(super) fn without(&self, feature: &str) -> Need {
        let with = |set: &BTreeSet<String>| {
            let mut set = set.clone();
            set.insert(feature.to_string());
            set
        };
        Need(self.0.iter().map(with).collect())
    }

    /// Whether some of these builds use a feature's native kernels.
    pub(super) fn meets(&self, feature: &str) -> bool {
        self.0.iter().any(|set| !set.contains(feature))
    }

    pub(super) fn add(&mut self, other: &Need) {
        self.0.extend(other.0.iter().cloned());
        // A set that contains another one adds no build.
        let all = self.0.clone();
        self.0.retain(|set| !all.iter().any(|other| other != set && other.is_subset(set)));
    }

    /// The conditions in a language, without repetition; `None` where there is nothing to ask.
    fn conditions(&self, text: fn(&Wrapping) -> &'static str) -> Option<BTreeSet<BTreeSet<&'static str>>> {
        if self.0.contains(&BTreeSet::new()) {
            return None;
        }
        let set = |set: &BTreeSet<String>| set.iter().map(|f| text(&wrapping(f))).collect();
        Some(self.0.iter().map(set).collect())
    }

    /// For the preprocessor; `None` in all builds. Portable builds use no native kernel.
    pub(super) fn c(&self) -> Option<String> {
        let alternatives = self.conditions(|w| w.c)?;
        let all =
            |set: &BTreeSet<&str>| set.iter().map(|c| format!("!({c})")).collect::<Vec<_>>().join(" && ");
        let texts: Vec<String> = alternatives.iter().map(|set| format!("({})", all(set))).collect();
        if texts.is_empty() {
            return Some("0".to_string());
        }
        Some(format!("defined(SECATEUR_PORTABLE) || {}", texts.join(" || ")))
    }

    /// For `cfg`; `None` in all builds.
    pub(super) fn rust(&self) -> Option<String> {
        let alternatives = self.conditions(|w| w.rust)?;
        let all = |set: &BTreeSet<&str>| {
            let texts: Vec<String> = set.iter().map(|c| format!("not({c})")).collect();
            if let [one] = texts.as_slice() { one.clone() } else { format!("all({})", texts.join(", ")) }
        };
        let texts: Vec<String> = alternatives.iter().map(all).collect();
        Some(if let [one] = texts.as_slice() { one.clone() } else { format!("any({})", texts.join(", ")) })
    }
}

/// The needs of a module's items and instructions, in their order.
#[derive(Debug, Default)]
pub(super) struct Needs {
    pub(super) items: Vec<Need>,
    pub(super) instrs: Vec<Need>,
}

impl Needs {
    pub(super) fn of(module: &Module<'_>) -> Needs {
        let mut needs = Needs {
            items: vec![Need::default(); module.items.len()],
            instrs: vec![Need::default(); module.instrs.len()],
        };
        for step in &module.run.steps {
            if let Some(i) = module.index(&step.kernel) {
                needs.items[i] = Need::always();
            }
        }
        // Callees stand before their callers.
        for (i, item) in module.items.iter().enumerate().rev() {
            let body = needs.body(module, i);
            let mut called: Vec<&Kernel> = Vec::new();
            visit(&item.kernel.body, &mut |s| {
                if let Stmt::Call { kernel, .. } = s {
                    called.push(kernel);
                }
                s.exprs(&mut |e| needs.instructions(module, e, &body));
            });
            for kernel in called {
                if let Some(callee) = module.index(kernel) {
                    needs.items[callee].add(&body);
                }
            }
        }
        needs
    }

    /// Where the portable body of an item is needed.
    pub(super) fn body(&self, module: &Module<'_>, item: usize) -> Need {
        match module.items[item].native {
            Some(native) => self.items[item].without(&native.feature),
            None => self.items[item].clone(),
        }
    }

    /// Whether the native text of an item is used: for itself, or for those that share it.
    pub(super) fn native(&self, module: &Module<'_>, item: usize) -> bool {
        let uses = |i: usize| {
            module.items[i].native.is_some_and(|native| self.items[i].meets(&native.feature))
                && (i == item || module.items[i].shares == Some(item))
        };
        (0..module.items.len()).any(uses)
    }

    fn instructions(&mut self, module: &Module<'_>, e: &Expr, need: &Need) {
        let mut called: Vec<&Instr> = Vec::new();
        e.visit(&mut |e| {
            if let Expr::Call(instr, _) = e {
                called.push(instr);
            }
        });
        for instr in called {
            if let Some(i) = module.instrs.iter().position(|(known, _)| *known == instr) {
                self.instrs[i].add(need);
                self.instructions(module, &instr.body, need);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Need;

    #[test]
    fn a_need_for_all_builds_asks_nothing() {
        let mut need = Need::always().without("dsp");
        assert_eq!(
            need.c().as_deref(),
            Some("defined(SECATEUR_PORTABLE) || (!(defined(__ARM_FEATURE_DSP)))")
        );
        need.add(&Need::always());
        assert_eq!((need.c(), need.rust()), (None, None));
    }

    #[test]
    fn alternatives_and_sets_are_said_in_both_languages() {
        let both = Need::always().without("hvx").without("rv32");
        let mut need = both.clone();
        need.add(&Need::always().without("dsp").without("dsp"));
        assert!(need.meets("hvx") && need.meets("rv32") && need.meets("dsp"));
        assert!(!both.meets("hvx") && !both.meets("rv32"));
        let c = need.c().unwrap_or_default();
        assert_eq!((c.matches(" || ").count(), c.matches("!(").count()), (2, 3), "{c}");
        let rust = need.rust().unwrap_or_default();
        assert!(rust.starts_with("any(") && rust.contains("all(not("), "{rust}");
        // Where the same words stand for two features, they are said once.
        let two = Need::always().without("dsp").without("thumb");
        assert_eq!(two.rust(), Need::always().without("dsp").rust());
    }
}
