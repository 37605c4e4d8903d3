//! Budgets -> what each layer gets: how many zeros, in which pattern, and how many bits.
//!
//! In: a float model, its samples, a target. [`survey`] measures what each form of each layer costs the outputs, and
//! takes cycles and bytes of each from compiled programs; [`plans`] finds the forms that together cost the outputs
//! least for what they take (dynamic programming, layer after layer). Out: [`Plan`]s, each [`Options`] that a front
//! compiles and evaluates end to end. Law: no chance and no clock; the same input gives the same plans.

mod search;
mod survey;

#[cfg(test)]
mod tests;

pub use search::{Limits, between, damage, plans};
pub use survey::survey;

use crate::kernels::offer::DENSE4;
use crate::options::{Glob, KernelWish, LayerWish, Options, Pattern, Prune, Quantize, Share};
use serde::{Deserialize, Serialize};

/// What a layer may become.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// As it is, in eight bits.
    Dense,
    /// All weights, in four bits.
    FourBits,
    /// A share of zeros in a pattern, in eight bits.
    Zeros {
        #[serde(with = "as_text")]
        pattern: Pattern,
        share: f64,
    },
}

/// Patterns in files are the words of the options.
mod as_text {
    use crate::options::Pattern;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(pattern: &Pattern, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(pattern)
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Pattern, D::Error> {
        let text = String::deserialize(from)?;
        Pattern::parse(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is no pattern")))
    }
}

/// A form of a layer, and what it costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    pub form: Form,
    /// What the model's outputs lose, in the unit of [`crate::prune::Damage::cost`], all other layers as they are.
    pub damage: f64,
    /// Predicted cycles of the layer; multiply-accumulates where the core has no cost table.
    pub cycles: u64,
    /// Bytes of its constants.
    pub bytes: usize,
}

/// The forms of a layer; the first is [`Form::Dense`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Offers {
    /// Name of the node.
    pub layer: String,
    pub forms: Vec<Offer>,
}

/// What is known of a model's layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Survey {
    pub layers: Vec<Offers>,
    /// Cycles, and bytes of weights and code, of the model with every layer as it is.
    pub cycles: u64,
    pub flash: usize,
}

/// One way to compile the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Layers that are not [`Form::Dense`].
    pub layers: Vec<(String, Form)>,
    /// Zeros that the pruner spreads over layers itself, instead of those of `layers`.
    pub whole: Option<Form>,
    /// Cycles and flash as the survey has them; `None`: of a plan for the whole.
    pub predicted: Option<(u64, usize)>,
}

impl Plan {
    /// Every layer as it is.
    pub fn dense() -> Plan {
        Plan { layers: Vec::new(), whole: None, predicted: None }
    }

    /// A form for all layers that may have it.
    pub fn whole(form: Form) -> Plan {
        Plan { whole: Some(form), ..Plan::dense() }
    }

    /// Whether some layer gets zeros.
    pub fn prunes(&self) -> bool {
        let zeros = |form: &Form| matches!(form, Form::Zeros { .. });
        self.whole.iter().any(zeros) || self.layers.iter().any(|(_, form)| zeros(form))
    }

    /// The options that compile it.
    pub fn options(&self, options: &Options) -> Options {
        let mut options = options.clone();
        if !self.prunes() {
            // Where there are no zeros, nothing can be said of them.
            options = options.without_pruning();
        }
        match self.whole {
            Some(Form::FourBits) => options.quantize = Quantize::W4a8,
            Some(Form::Zeros { pattern, share }) => {
                let sparsity = pattern.share().is_none().then_some(Share(share));
                let asked = options.prune.unwrap_or_default();
                options.prune = Some(Prune { pattern: Some(pattern), sparsity, ..asked });
            }
            Some(Form::Dense) | None => options.prune = None,
        }
        for (layer, form) in &self.layers {
            let layers = Glob(layer.clone());
            match *form {
                Form::Dense => {}
                Form::FourBits => {
                    options.int4.push(layers);
                    options.kernels.push(KernelWish { layers: layer.clone(), variant: DENSE4.to_owned() });
                }
                Form::Zeros { pattern, share } => {
                    options.sparsities.push(LayerWish { layers: layers.clone(), value: Share(share) });
                    options.patterns.push(LayerWish { layers, value: pattern });
                }
            }
        }
        options
    }

    /// In a few words.
    pub fn summary(&self) -> String {
        let zeros = |pattern: Pattern, share: f64| format!("{pattern} {:.0} %", share * 100.0);
        match self.whole {
            Some(Form::FourBits) => return "w4a8".to_owned(),
            Some(Form::Zeros { pattern, share }) => {
                return format!("--prune pattern={pattern},sparsity={share}");
            }
            Some(Form::Dense) | None => {}
        }
        if self.layers.is_empty() {
            return "dense int8".to_owned();
        }
        let mut words: Vec<(String, usize)> = Vec::new();
        for (_, form) in &self.layers {
            let word = match *form {
                Form::Dense => continue,
                Form::FourBits => "4 bits".to_owned(),
                Form::Zeros { pattern, share } => zeros(pattern, share),
            };
            match words.iter_mut().find(|(have, _)| *have == word) {
                Some((_, count)) => *count += 1,
                None => words.push((word, 1)),
            }
        }
        let word = |(word, count): &(String, usize)| {
            if *count == 1 { word.clone() } else { format!("{count}x {word}") }
        };
        words.iter().map(word).collect::<Vec<_>>().join(", ")
    }
}
