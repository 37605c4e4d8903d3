//! Where float and integer results part: per layer, the error of the lowered program against the
//! float meaning of the imported graph. The first question after a drop in accuracy.
//!
//! In: an artifact and samples. Out: a row a layer, in the order of execution. Law: every row
//! compares with the float network run from the float input, so errors add up along the rows:
//! the layer to look at is the first whose row is much worse than the one before.

use crate::artifact::Artifact;
use crate::error::{Error, Fault, Result, Site};
use crate::graph::Steps;
use crate::kernel::Access;
use crate::kernel::ParamKind;
use crate::observe::Observer;
use crate::program::machine::Machine;
use crate::program::{Arg, BufferId, Program, Step, to_port};
use crate::tensor::{DType, Tensor};
use serde::Serialize;
use std::collections::BTreeMap;

/// How far one layer's result is from its float meaning, over all samples.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerError {
    /// Node name.
    pub layer: String,
    pub op: String,
    /// Tensor name.
    pub value: String,
    /// Signal-to-noise ratio in decibels: 10 log10(sum of float² / sum of difference²);
    /// `None` when there is no difference at all.
    pub snr_db: Option<f64>,
    /// Cosine similarity of all values; 1 when both are zero.
    pub cosine: f64,
    /// Largest difference of one value, in real units.
    pub max_abs: f64,
    /// The channel with the lowest signal-to-noise ratio, and that ratio; `None` when no channel
    /// with a signal differs. Channels are axis 1 from three axes on, else the last axis.
    pub worst_channel: Option<WorstChannel>,
}

/// See [`LayerError::worst_channel`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorstChannel {
    pub index: usize,
    pub snr_db: f64,
}

/// Sums over samples for one value.
#[derive(Debug, Clone, Default)]
struct Sums {
    signal: f64,
    other: f64,
    product: f64,
    max_abs: f64,
    /// Signal and noise by channel.
    channels: Vec<(f64, f64)>,
}

/// Compares every layer whose result the float graph has under the same name. Samples of a model with states are
/// steps of one sequence; the floats keep states of their own.
pub fn compare(
    artifact: &Artifact,
    samples: &[Vec<Tensor>],
    observer: &mut dyn Observer,
) -> Result<Vec<LayerError>> {
    let program = &artifact.program;
    let graph = &artifact.imported;
    let results = results(program);
    let mut machine = Machine::new(program)?;
    let mut steps = Steps::new(graph);
    let mut sums: Vec<Sums> = vec![Sums::default(); results.len()];
    let mut compared = vec![false; results.len()];
    for (done, sample) in samples.iter().enumerate() {
        observer.progress("compare", done, samples.len());
        if observer.cancelled() {
            return Err(Error::new(Fault::Cancelled, Site::Whole, "stopped on request"));
        }
        let mut float: BTreeMap<&str, Tensor> = BTreeMap::new();
        steps.run_with(sample, &mut |id, tensor| {
            float.insert(&graph[id].name, tensor.clone());
        })?;
        let stored: Vec<Tensor> = sample.iter().zip(&program.inputs).map(|(t, p)| to_port(t, p)).collect();
        machine.run_tapped(&stored, &mut |machine, step| {
            for (row, result) in results.iter().enumerate().filter(|(_, r)| r.step == step) {
                let held = program.buffers[result.buffer.0 as usize].holds.as_ref();
                let (Some(held), Some(integer)) = (held, machine.real(result.buffer)) else { continue };
                let Some(reference) = float.get(held.value.as_str()) else { continue };
                let reference = real(reference, held.affine);
                if reference.len() == integer.len() {
                    let mut integer = integer.to_f64_vec();
                    // What was scaled between layers stands for what it was.
                    if let Some(scaled) = artifact.scaled.get(&held.value) {
                        integer.iter_mut().enumerate().for_each(|(i, v)| *v *= scaled.divisor(i));
                    }
                    compared[row] = true;
                    sums[row].add(&reference, &integer, &held.shape);
                }
            }
            Ok(())
        })?;
    }
    let rows = results.iter().zip(&sums).zip(&compared).filter(|(_, compared)| **compared);
    Ok(rows.map(|((result, sums), _)| sums.row(program, result)).collect())
}

/// A value written by a step, and not written again by a later one of the same layer.
#[derive(Debug, Clone, Copy)]
struct Written {
    step: usize,
    layer: usize,
    buffer: BufferId,
}

fn results(program: &Program) -> Vec<Written> {
    let steps: Vec<&Step> = program.entries.iter().take(1).flat_map(|e| &e.steps).collect();
    let mut found: Vec<Written> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        for (arg, param) in step.args.iter().zip(&step.kernel.params) {
            let writes = matches!(param.kind, ParamKind::Buffer { access, .. } if access != Access::Read);
            let &Arg::Buffer { buffer, .. } = arg else { continue };
            if !writes || program.buffers[buffer.0 as usize].holds.is_none() {
                continue;
            }
            found.retain(|w| w.buffer != buffer || w.layer != step.layer);
            found.push(Written { step: number, layer: step.layer, buffer });
        }
    }
    found
}

/// A float tensor as it is; an integer one (the imported graph of a QDQ model has them) by the
/// scale and zero point of the value that holds it, unsigned ones shifted by half of their range as on import.
fn real(tensor: &Tensor, affine: Option<(f32, i32)>) -> Vec<f64> {
    let values = tensor.to_f64_vec();
    let shift = match tensor.dtype() {
        DType::U8 => 128.0,
        DType::U16 => 32768.0,
        DType::I8 | DType::I16 => 0.0,
        _ => return values,
    };
    let Some((scale, zero)) = affine else { return values };
    values.iter().map(|v| (v - shift - f64::from(zero)) * f64::from(scale)).collect()
}

impl Sums {
    fn add(&mut self, float: &[f64], integer: &[f64], shape: &[usize]) {
        let axis = if shape.len() >= 3 { 1 } else { shape.len().saturating_sub(1) };
        let count = shape.get(axis).copied().unwrap_or(1).max(1);
        let inner: usize = shape.iter().skip(axis + 1).product();
        self.channels.resize(count, (0.0, 0.0));
        for (i, (&f, &q)) in float.iter().zip(integer).enumerate() {
            let noise = (f - q) * (f - q);
            self.signal += f * f;
            self.other += q * q;
            self.product += f * q;
            self.max_abs = self.max_abs.max((f - q).abs());
            let channel = &mut self.channels[(i / inner.max(1)) % count];
            channel.0 += f * f;
            channel.1 += noise;
        }
    }

    fn row(&self, program: &Program, result: &Written) -> LayerError {
        let noise: f64 = self.channels.iter().map(|c| c.1).sum();
        let norm = (self.signal * self.other).sqrt();
        let cosine =
            if norm > 0.0 { self.product / norm } else { f64::from(u8::from(self.signal == self.other)) };
        let mut worst: Option<WorstChannel> = None;
        for (index, &(signal, noise)) in self.channels.iter().enumerate() {
            if let Some(snr_db) = decibels(signal, noise).filter(|_| signal > 0.0)
                && worst.as_ref().is_none_or(|w| snr_db < w.snr_db)
            {
                worst = Some(WorstChannel { index, snr_db });
            }
        }
        let layer = &program.layers[result.layer];
        let held = program.buffers[result.buffer.0 as usize].holds.as_ref();
        LayerError {
            layer: layer.name.clone(),
            op: layer.op.clone(),
            value: held.map(|h| h.value.clone()).unwrap_or_default(),
            snr_db: decibels(self.signal, noise),
            cosine,
            max_abs: self.max_abs,
            worst_channel: worst,
        }
    }
}

/// `None` without noise.
fn decibels(signal: f64, noise: f64) -> Option<f64> {
    (noise > 0.0).then(|| 10.0 * libm::log10(signal / noise))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_give_hand_worked_ratios() {
        let mut sums = Sums::default();
        // Two channels of two values: the first exact, the second off by a tenth of its size.
        sums.add(&[1.0, 2.0, 10.0, -10.0], &[1.0, 2.0, 11.0, -11.0], &[1, 2, 2]);
        assert_eq!(sums.channels, [(5.0, 0.0), (200.0, 2.0)]);
        assert!((decibels(200.0, 2.0).unwrap() - 20.0).abs() < 1e-12);
        assert_eq!(decibels(1.0, 0.0), None);
        assert_eq!(sums.max_abs, 1.0);
    }

    #[test]
    fn integers_of_an_imported_graph_become_real() {
        let unsigned = Tensor::new(vec![2], crate::tensor::Data::U8(vec![0, 255])).unwrap();
        assert_eq!(real(&unsigned, Some((0.5, -128))), [0.0, 127.5]);
        let signed = Tensor::new(vec![1], crate::tensor::Data::I8(vec![-3])).unwrap();
        assert_eq!(real(&signed, Some((2.0, 1))), [-8.0]);
    }
}
