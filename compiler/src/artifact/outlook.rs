//! What can be said of a model before there are samples of its inputs: whether it is supported, and what it would take.
//!
//! Law: what decides is asked here and in [`compile_to_measure`] alike. Bytes and cycles hang on sizes, not on values:
//! those of made-up samples are near those of real ones.

use super::{Artifact, compile_to_measure, helped};
use crate::error::{Error, Fault, Result, Site};
use crate::graph::Graph;
use crate::observe::{Observer, Silent};
use crate::options::{Options, Quantize};
use crate::tensor::{Samples, Tensor};
use crate::{lower, onnx, passes, quantize, schedule};
use secateur_targets::Target;
use std::collections::BTreeSet;

/// Whether a model can be compiled with these options, without samples: the graph as imported, or
/// the refusal that [`compile`] gives too. What decides is asked here and there alike: import,
/// passes, quantization (of a float model with made-up samples) and lowering.
pub fn supported(model: &[u8], options: &Options) -> Result<Graph> {
    let mut imported = onnx::import_with(model, options)?;
    let decide = || {
        let target = secateur_targets::find("host")
            .map_err(|e| Error::new(Fault::Target, Site::Option("target".into()), e.to_string()))?;
        let mut graph = imported.clone();
        passes::run(&mut graph, &mut |_, _| {})?;
        if options.quantize != Quantize::None && !quantize::is_quantized(&graph) {
            quantize::warn_of_kept(&mut graph);
        }
        let mut warnings = graph.warnings().to_vec();
        let float = options.quantize != Quantize::None && !quantize::is_quantized(&graph);
        if float && quantize::worthwhile(&graph) {
            let samples = made_up(&graph);
            quantize::quantize(&mut graph, &samples, options, &BTreeSet::new(), &mut Silent)?;
        }
        let own = quantize::is_quantized(&graph) && !float;
        passes::run_quantized(&mut graph, &mut |_, _| {})?;
        if own {
            // No samples, made up or not, decided these.
            warnings = graph.warnings().to_vec();
        }
        let schedule = schedule::schedule(&graph, &target, options)?;
        lower::lower(&graph, &schedule).map(|_| warnings)
    };
    let warnings = decide().map_err(helped)?;
    warnings.into_iter().for_each(|warning| imported.warn(warning));
    Ok(imported)
}

/// What a model would take of a chip: as [`compile_to_measure`], and where it wants samples and there are none, with
/// made-up ones. Its code computes nothing of use then.
///
/// Errors: as there, but for missing samples.
pub fn outlook(
    model: &[u8],
    target: &Target,
    calibration: Option<&Samples>,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<Artifact> {
    let mut samples = None;
    if calibration.is_none() {
        let mut graph = onnx::import_with(model, options).map_err(helped)?;
        passes::run(&mut graph, &mut |_, _| {}).map_err(helped)?;
        let float = options.quantize != Quantize::None && !quantize::is_quantized(&graph);
        if (float && quantize::worthwhile(&graph)) || options.prunes() {
            samples = Some(made_up(&graph));
        }
    }
    compile_to_measure(model, target, calibration.or(samples.as_ref()), options, observer)
}

/// A sample for every input: floats over -1..=1, zeros for integers, which may be indices.
fn made_up(graph: &Graph) -> Samples {
    let mut samples = Samples::default();
    for &input in graph.inputs() {
        let value = &graph[input];
        let shape: Vec<usize> = std::iter::once(1).chain(value.shape.iter().copied()).collect();
        let tensor = if value.dtype.is_float() {
            // Steps of a size that no axis repeats.
            let ramp = (0..value.len()).map(|i| ((i * 37 + 11) % 201) as f32 / 100.0 - 1.0);
            Tensor::f32(&shape, ramp.collect())
        } else {
            Tensor::zeros(value.dtype, &shape)
        };
        samples.arrays.insert(value.name.clone(), tensor);
    }
    samples
}
