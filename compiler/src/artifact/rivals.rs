//! What other options would make of a model that its budgets refuse.
//!
//! In: an artifact, and what it was compiled from. Out: what the model takes by each other aim, and, where none of these
//! fits, with weights of four bits and with the fewest zeros that fit. Law: nothing is done for a model that is far
//! within its budgets, and what is named as fitting was compiled so, on a few of the samples.

use super::{Artifact, compile_unhelped};
use crate::error::{Fault, Result};
use crate::observe::Observer;
use crate::options::{Budgets, Layout, Options, Prune, Quantize, Share};
use crate::policy::Policy;
use crate::prune;
use crate::report::{self, Rival};
use crate::samples;
use crate::schedule::Library;
use crate::tensor::Samples;
use secateur_targets::Target;

/// Calibration samples that an estimate takes. Zeros and bits are worth the same bytes and cycles whatever their values
/// are; samples only say over which layers they are spread.
const SAMPLES: usize = 8;

/// Shares of zeros that are tried, as twentieths.
const STEPS: usize = 20;

/// Work that tells nobody how far it is, and stops where its caller does.
struct Quiet<'a>(&'a mut dyn Observer);

impl Observer for Quiet<'_> {
    fn cancelled(&mut self) -> bool {
        self.0.cancelled()
    }
}

/// What a model would take by other options; nothing where its budgets hold with room.
///
/// Errors: the observer's wish to stop.
pub(super) fn rivals(
    artifact: &Artifact,
    (model, target): (&[u8], &Target),
    calibration: Option<&Samples>,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<Vec<Rival>> {
    let budgets = &options.budgets;
    if !report::near(&artifact.report, budgets) {
        return Ok(Vec::new());
    }
    let mut rivals = report::rivals(&artifact.graph, &Library::new(target), Policy::from(options));
    let fits = |rival: &Rival| report::fits(&artifact.report, budgets, rival);
    if rivals.iter().any(fits) || options.quantize == Quantize::None {
        return Ok(rivals);
    }
    let Some(samples) = calibration.and_then(|samples| samples::first(samples, SAMPLES)) else {
        return Ok(rivals);
    };
    let mut quiet = Quiet(observer);
    let mut with = |options: Options| {
        let name = match options.quantize {
            Quantize::W4a8 if options.prune.is_none() => "--quantize w4a8".to_owned(),
            _ => format!("--prune {}", options.prune.map(|p| p.to_string()).unwrap_or_default()),
        };
        match compile_unhelped(model, target, Some(&samples), &options, &mut quiet) {
            Ok(found) => Ok(Some(Rival::estimate(name, &found.program, target))),
            Err(e) if e.fault == Fault::Cancelled => Err(e),
            // What cannot be compiled so is no advice.
            Err(_) => Ok(None),
        }
    };
    let plain = Options {
        emit: Vec::new(),
        onnx: false,
        layout: Layout::Files,
        dump_after: Vec::new(),
        budgets: Budgets::default(),
        ..options.clone()
    };
    // A model that brought its own quantization keeps it.
    if !crate::quantize::is_quantized(&artifact.imported) {
        if options.quantize == Quantize::Int8 && !options.prunes() {
            rivals.extend(with(Options { quantize: Quantize::W4a8, ..plain.clone() })?);
        }
        let given = options.prune.unwrap_or_default();
        let pattern = given.pattern.unwrap_or_else(|| prune::native(&target.core));
        if pattern.share().is_none() {
            let mut pruned = |twentieths: usize| {
                let sparsity = Some(Share(twentieths as f64 / STEPS as f64));
                with(Options { prune: Some(Prune { sparsity, ..given }), ..plain.clone() })
            };
            let now = given.sparsity.map_or(0.0, |s| s.0);
            rivals.extend(least((now * STEPS as f64) as usize, STEPS - 1, &fits, &mut pruned)?);
        }
    }
    Ok(rivals)
}

/// The least number above `low`, at most `high`, whose rival fits, or what the highest takes.
fn least(
    mut low: usize,
    mut high: usize,
    fits: &dyn Fn(&Rival) -> bool,
    of: &mut dyn FnMut(usize) -> Result<Option<Rival>>,
) -> Result<Option<Rival>> {
    if low >= high {
        return Ok(None);
    }
    let Some(mut best) = of(high)? else { return Ok(None) };
    if !fits(&best) {
        return Ok(Some(best));
    }
    while high - low > 1 {
        let middle = low.midpoint(high);
        match of(middle)? {
            Some(rival) if fits(&rival) => (high, best) = (middle, rival),
            _ => low = middle,
        }
    }
    Ok(Some(best))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rival(flash: usize) -> Rival {
        Rival { option: String::new(), estimate: true, flash, arena: 0, seconds: None, joules: None }
    }

    #[test]
    fn the_least_share_that_fits_is_found_or_the_greatest_told() {
        for wanted in 1..=19 {
            let mut tried = 0;
            let mut of = |n: usize| {
                tried += 1;
                Ok(Some(rival(100 - n)))
            };
            let found = least(0, 19, &|r| r.flash <= 100 - wanted, &mut of).unwrap().unwrap();
            assert_eq!(found.flash, 100 - wanted);
            assert!(tried <= 6, "{tried}");
        }
        let most = least(0, 19, &|_| false, &mut |n| Ok(Some(rival(100 - n)))).unwrap().unwrap();
        assert_eq!(most.flash, 81);
        assert_eq!(least(19, 19, &|_| true, &mut |n| Ok(Some(rival(n)))).unwrap(), None);
        assert_eq!(least(0, 19, &|_| true, &mut |_| Ok(None)).unwrap(), None);
    }
}
