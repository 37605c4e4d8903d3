//! What each form of each layer costs: the outputs, cycles and bytes.
//!
//! In: a float model, samples, a target. Out: a [`Survey`]. Law: what a layer's form takes is read off a compiled
//! program in which all layers have it, so that the kernel is the one that would run; what it costs the outputs is
//! measured with all other layers as they are.

use super::{Form, Offer, Offers, Plan, Survey};
use crate::artifact::{Artifact, compile_to_measure, sensitivity};
use crate::error::{Error, Fault, Result, Site};
use crate::graph;
use crate::observe::Observer;
use crate::options::{Options, Pattern, Prune, Quantize};
use crate::tensor::Samples;
use crate::{onnx, passes, prune, quantize};
use secateur_targets::Target;
use std::collections::BTreeMap;

/// Shares of zeros that a layer may have, but for patterns that say their own.
const LEVELS: [f64; 6] = [0.25, 0.375, 0.5, 0.625, 0.75, 0.875];

/// Samples on which damage is measured, at most.
const PROBES: usize = 128;

/// Measures a float model's layers in each of the patterns, and in four bits.
///
/// `few` are some of the samples, by which zeros are chosen for programs that only tell sizes and cycles.
///
/// Errors: as [`compile`](crate::artifact::compile); a model that brought its own quantization, or that no layer can
/// be changed of.
pub fn survey(
    model: &[u8],
    target: &Target,
    (samples, few): (&Samples, &Samples),
    options: &Options,
    patterns: &[Pattern],
    observer: &mut dyn Observer,
) -> Result<Survey> {
    if options.quantize != Quantize::Int8 {
        let why = "leaves nothing to choose: zeros and bits are chosen for int8 models";
        return Err(Error::option("quantize", why).help("leave it out, or say `--quantize int8`"));
    }
    let plain = Options { budgets: Default::default(), onnx: false, ..options.clone() };
    let compile = |plan: &Plan, observer: &mut dyn Observer| {
        compile_to_measure(model, target, Some(few), &plan.options(&plain), observer)
    };
    let dense = compile(&Plan::dense(), observer)?;
    let costs = |artifact: &Artifact| -> BTreeMap<String, (u64, usize)> {
        let of =
            |l: &crate::report::LayerReport| (l.name.clone(), (l.cycles.unwrap_or(l.live_macs), l.weights));
        artifact.report.layers.iter().map(of).collect()
    };
    let base = costs(&dense);
    let total = &dense.report.total;
    let mut layers: BTreeMap<String, Vec<Offer>> = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    let mut offer = |layer: &str, offer: Offer| {
        let Some(&(cycles, bytes)) = base.get(layer) else { return };
        let forms = layers.entry(layer.to_owned()).or_insert_with(|| {
            order.push(layer.to_owned());
            vec![Offer { form: Form::Dense, damage: 0.0, cycles, bytes }]
        });
        match forms.iter_mut().find(|known| known.form == offer.form) {
            // A recurrent layer's products are layers of their own.
            Some(known) => known.damage += offer.damage,
            None => forms.push(offer),
        }
    };
    for &pattern in patterns {
        let asked =
            Options { prune: Some(Prune { pattern: Some(pattern), ..Prune::default() }), ..plain.clone() };
        let mut quiet = |_: &[Vec<crate::tensor::Tensor>]| {};
        let found = sensitivity(model, samples, &asked, &LEVELS, PROBES, observer, &mut quiet)?;
        let kept = |task: &prune::Task| plain.keep.iter().flatten().any(|glob| task.layer.is_meant(glob));
        let levels: Vec<f64> = pattern.share().map_or(LEVELS.to_vec(), |share| vec![share]);
        for (number, &share) in levels.iter().enumerate() {
            let form = Form::Zeros { pattern, share };
            let free = found.tasks.iter().zip(&found.curves).filter(|(task, _)| !kept(task));
            let named = free.clone().map(|(task, _)| (task.layer.node_name.clone(), form));
            let mut forms: Vec<(String, Form)> = named.collect();
            forms.dedup();
            if forms.is_empty() {
                continue;
            }
            let costs = costs(&compile(&Plan { layers: forms, ..Plan::dense() }, observer)?);
            for (task, curve) in free {
                let (Some(&(cycles, bytes)), Some(point)) =
                    (costs.get(&task.layer.node_name), curve.get(number))
                else {
                    continue;
                };
                offer(&task.layer.node_name, Offer { form, damage: point.damage.cost, cycles, bytes });
            }
        }
    }
    four_bits(
        model,
        (samples, &plain),
        &mut |plan, observer| compile(plan, observer).map(|a| costs(&a)),
        &mut offer,
        observer,
    )?;
    if layers.is_empty() {
        return Err(Error::model(Site::Whole, "has no layer that zeros or fewer bits would make smaller or faster")
            .help("convolutions that are not depthwise, dense and recurrent layers with constant weights can be chosen for; `--keep` leaves some out"));
    }
    let layers =
        order.into_iter().map(|layer| Offers { forms: layers.remove(&layer).unwrap_or_default(), layer });
    Ok(Survey {
        layers: layers.collect(),
        cycles: total.cycles.unwrap_or(total.live_macs),
        flash: total.weights + total.known_code(),
    })
}

/// What a plan's layers take, by name: cycles, bytes.
type Costs<'a> = dyn FnMut(&Plan, &mut dyn Observer) -> Result<BTreeMap<String, (u64, usize)>> + 'a;

/// Offers four bits to each layer that can take them.
fn four_bits(
    model: &[u8],
    (samples, plain): (&Samples, &Options),
    costs: &mut Costs<'_>,
    offer: &mut dyn FnMut(&str, Offer),
    observer: &mut dyn Observer,
) -> Result<()> {
    let mut graph = onnx::import_with(model, plain)?;
    passes::run(&mut graph, &mut |_, _| {})?;
    graph::verify(&graph)?;
    if quantize::is_quantized(&graph) {
        return Ok(());
    }
    let inputs = crate::samples::carried(samples, &graph)?;
    let probes = prune::probes(inputs.len(), PROBES);
    let found = prune::four_bits(&graph, &inputs, &probes, observer)?;
    let all = |names: &[String]| names.iter().map(|name| (name.clone(), Form::FourBits)).collect::<Vec<_>>();
    let names: Vec<String> = found.iter().map(|(id, _)| graph[*id].name.clone()).collect();
    let taken = match costs(&Plan { layers: all(&names), ..Plan::dense() }, observer) {
        Err(e) if e.fault == Fault::Cancelled => return Err(e),
        together => together.ok(),
    };
    for (name, (_, damage)) in names.iter().zip(&found) {
        // Where some layer has no kernel for four bits, each is asked for itself.
        let own = match &taken {
            Some(taken) => Ok(taken.clone()),
            None => costs(&Plan { layers: all(std::slice::from_ref(name)), ..Plan::dense() }, observer),
        };
        match own {
            Err(e) if e.fault == Fault::Cancelled => return Err(e),
            Err(_) => {}
            Ok(own) => {
                if let Some(&(cycles, bytes)) = own.get(name) {
                    offer(name, Offer { form: Form::FourBits, damage: damage.cost, cycles, bytes });
                }
            }
        }
    }
    Ok(())
}
