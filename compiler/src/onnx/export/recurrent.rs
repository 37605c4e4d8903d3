//! A recurrent layer as ONNX's GRU, LSTM or RNN of one direction.

use super::super::write::{float, floats, int, string, strings};
use super::Export;
use crate::error::Result;
use crate::ops::recurrent::{Activation, BIAS, CELL, Cell, PEEPHOLES, Part, R, STATE, W};
use crate::ops::{Operator, Recurrent};

/// ONNX's name of a function, and the numbers that it takes.
fn words(activation: Activation) -> (&'static str, Vec<f32>, Vec<f32>) {
    match activation {
        Activation::Relu => ("Relu", vec![], vec![]),
        Activation::Tanh => ("Tanh", vec![], vec![]),
        Activation::Sigmoid => ("Sigmoid", vec![], vec![]),
        Activation::Softsign => ("Softsign", vec![], vec![]),
        Activation::Softplus => ("Softplus", vec![], vec![]),
        Activation::Affine(a, b) => ("Affine", vec![a], vec![b]),
        Activation::LeakyRelu(a) => ("LeakyRelu", vec![a], vec![]),
        Activation::ThresholdedRelu(a) => ("ThresholdedRelu", vec![a], vec![]),
        Activation::ScaledTanh(a, b) => ("ScaledTanh", vec![a], vec![b]),
        Activation::HardSigmoid(a, b) => ("HardSigmoid", vec![a], vec![b]),
        Activation::Elu(a) => ("Elu", vec![a], vec![]),
    }
}

impl Export<'_> {
    /// The node; weights, states and results have an axis of one direction there.
    pub(super) fn recurrent(
        &mut self,
        layer: &Recurrent,
        name: &str,
        mut inputs: Vec<String>,
        outputs: &[String],
    ) -> Result<()> {
        let first = self.w.integers(&format!("{name}_direction"), &[0])?;
        let second = self.w.integers(&format!("{name}_sequence_direction"), &[1])?;
        for at in [W, R, BIAS, STATE, CELL, PEEPHOLES] {
            if let Some(input) = inputs.get_mut(at).filter(|name| !name.is_empty()) {
                let operands = [input.clone(), first.clone()];
                *input = self.w.step("Unsqueeze", &format!("{name}_operand_{at}"), &operands, Vec::new());
            }
        }
        let functions: Vec<_> = layer.activations.iter().map(|&a| words(a)).collect();
        let names: Vec<&str> = functions.iter().map(|f| f.0).collect();
        let mut attributes = vec![
            int("hidden_size", layer.hidden as i64),
            string("direction", if layer.reverse { "reverse" } else { "forward" }),
            strings("activations", &names),
        ];
        let alphas: Vec<f32> = functions.iter().flat_map(|f| f.1.clone()).collect();
        let betas: Vec<f32> = functions.iter().flat_map(|f| f.2.clone()).collect();
        attributes.extend((!alphas.is_empty()).then(|| floats("activation_alpha", &alphas)));
        attributes.extend((!betas.is_empty()).then(|| floats("activation_beta", &betas)));
        attributes.extend(layer.clip.map(|clip| float("clip", clip)));
        match layer.cell {
            Cell::Gru { reset_after } => attributes.push(int("linear_before_reset", reset_after.into())),
            Cell::Lstm { coupled } => attributes.push(int("input_forget", coupled.into())),
            Cell::Rnn => {}
        }
        let mut results = vec![String::new(); 3];
        let mut later = Vec::new();
        for (part, output) in layer.parts.iter().zip(outputs) {
            let (at, axis) = match part {
                Part::Sequence => (0, &second),
                Part::State => (1, &first),
                Part::Cell => (2, &first),
            };
            results[at] = self.w.fresh(&format!("{output}_directions"));
            later.push((results[at].clone(), axis.clone(), output.clone()));
        }
        while results.last().is_some_and(String::is_empty) {
            results.pop();
        }
        self.w.node(layer.name(), name, &inputs, &results, attributes);
        for (result, axis, output) in later {
            self.w.node("Squeeze", &output, &[result, axis], std::slice::from_ref(&output), Vec::new());
        }
        Ok(())
    }
}
