//! GRU, LSTM and RNN: one layer for each direction, in steps first.

use super::build::{Builder, Expanded, attr, int};
use crate::error::Result;
use crate::ops::Attr;
use crate::ops::check::refuse;

/// What a recurrent layer of ONNX is made of.
struct Kind {
    name: &'static str,
    gates: usize,
    /// Activations of one direction.
    functions: &'static [&'static str],
    /// Positions of initial cell and peepholes among the inputs.
    cell: bool,
}

const GRU: Kind = Kind { name: "GRU", gates: 3, functions: &["Sigmoid", "Tanh"], cell: false };
const LSTM: Kind = Kind { name: "LSTM", gates: 4, functions: &["Sigmoid", "Tanh", "Tanh"], cell: true };
const RNN: Kind = Kind { name: "RNN", gates: 1, functions: &["Tanh"], cell: false };

pub(super) fn gru(b: Builder<'_>) -> Result<Expanded> {
    layer(b, &GRU)
}

pub(super) fn lstm(b: Builder<'_>) -> Result<Expanded> {
    layer(b, &LSTM)
}

pub(super) fn rnn(b: Builder<'_>) -> Result<Expanded> {
    layer(b, &RNN)
}

fn floats(b: &Builder<'_>, name: &str) -> Result<Vec<f32>> {
    match b.cx.attrs.get(name) {
        None => Ok(Vec::new()),
        Some(Attr::Floats(v)) => Ok(v.clone()),
        Some(_) => Err(refuse(format!("attribute `{name}` is not a list of floats"))),
    }
}

/// The part of input `i` that belongs to a direction, which is its axis `axis`; empty where it is left out.
fn part(b: &mut Builder<'_>, i: usize, axis: usize, direction: usize, directions: usize) -> Result<String> {
    let Some(operand) = b.optional(i) else { return Ok(String::new()) };
    let mut shape = operand.shape.to_vec();
    if shape.get(axis) != Some(&directions) {
        return Err(refuse(format!("input {i} has shape {shape:?}, and there are {directions} directions")));
    }
    let mut x = b.input(i)?;
    if directions > 1 {
        x = b.slice(&x, axis, direction as i64, direction as i64 + 1, 1);
    }
    shape.remove(axis);
    Ok(b.reshape(&x, &shape))
}

fn layer(mut b: Builder<'_>, kind: &Kind) -> Result<Expanded> {
    let flow = b.cx.str_or("direction", "forward")?;
    let reverse: &[bool] = match flow {
        "forward" => &[false],
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        other => return Err(refuse(format!("`direction` is `{other}`"))),
    };
    let directions = reverse.len();
    let batch_first = match b.cx.int_or("layout", 0)? {
        0 => false,
        1 => true,
        other => return Err(refuse(format!("`layout` is {other}"))),
    };
    let mut x = b.input(0)?;
    let mut shape = b.shape(0)?;
    if shape.len() != 3 {
        return Err(refuse(format!("an input of shape {shape:?} is no sequence")));
    }
    if batch_first {
        x = b.transpose(&x, &[1, 0, 2]);
        shape.swap(0, 1);
    }
    let (steps, batch) = (shape[0], shape[1]);
    let state = b.shape(2)?;
    let &[_, rows, hidden] = state.as_slice() else {
        return Err(refuse(format!("weights of the state have shape {state:?}")));
    };
    let said = b.cx.int_or("hidden_size", hidden as i64)?;
    if said != hidden as i64 || rows != kind.gates * hidden {
        return Err(refuse(format!(
            "weights of the state have shape {state:?}, which does not fit {said} units of {} gates",
            kind.gates
        )));
    }
    let names: Vec<String> = match b.cx.attrs.get("activations") {
        None => kind
            .functions
            .iter()
            .cycle()
            .take(directions * kind.functions.len())
            .map(ToString::to_string)
            .collect(),
        Some(Attr::Strs(names)) if names.len() == directions * kind.functions.len() => names.clone(),
        Some(Attr::Strs(names)) => {
            let wanted = directions * kind.functions.len();
            return Err(refuse(format!("names {} activations, and takes {wanted}", names.len())));
        }
        Some(_) => return Err(refuse("attribute `activations` is not a list of names")),
    };
    let (mut alphas, mut betas) = (floats(&b, "activation_alpha")?, floats(&b, "activation_beta")?);
    let clip = b.cx.float_or("clip", 0.0)?;
    // Where one stands, the axis of directions among those of initial states.
    let state_axis = usize::from(batch_first);
    let mut parts: [Vec<String>; 3] = Default::default();
    for (direction, &reverse) in reverse.iter().enumerate() {
        let of = |b: &mut Builder<'_>, i: usize, axis: usize| part(b, i, axis, direction, directions);
        let (w, r, bias) = (of(&mut b, 1, 0)?, of(&mut b, 2, 0)?, of(&mut b, 3, 0)?);
        let lengths = if b.optional(4).is_some() { b.input(4)? } else { String::new() };
        let initial = of(&mut b, 5, state_axis)?;
        let (cell, peepholes) = match kind.cell {
            true => (of(&mut b, 6, state_axis)?, of(&mut b, 7, 0)?),
            false => Default::default(),
        };
        let own = &names[direction * kind.functions.len()..][..kind.functions.len()];
        let takes = |name: &String, which: &[&str]| which.contains(&name.to_ascii_lowercase().as_str());
        let two = ["affine", "scaledtanh", "hardsigmoid"];
        let one = ["leakyrelu", "thresholdedrelu", "elu"];
        let betas_taken = own.iter().filter(|n| takes(n, &two)).count();
        let alphas_taken = betas_taken + own.iter().filter(|n| takes(n, &one)).count();
        let take = |from: &mut Vec<f32>, n: usize| from.drain(..n.min(from.len())).collect::<Vec<f32>>();
        let mut attrs = vec![
            attr("cell", Attr::Str(kind.name.into())),
            int("hidden_size", hidden as i64),
            int("reverse", reverse.into()),
            int("linear_before_reset", b.cx.int_or("linear_before_reset", 0)?),
            int("input_forget", b.cx.int_or("input_forget", 0)?),
            attr("clip", Attr::Float(clip)),
            attr("activations", Attr::Strs(own.to_vec())),
        ];
        attrs.push(attr("activation_alpha", Attr::Floats(take(&mut alphas, alphas_taken))));
        attrs.push(attr("activation_beta", Attr::Floats(take(&mut betas, betas_taken))));
        let mut inputs = vec![&x, &w, &r, &bias, &lengths, &initial, &cell, &peepholes];
        while inputs.last().is_some_and(|name| name.is_empty()) {
            inputs.pop();
        }
        let inputs: Vec<&str> = inputs.into_iter().map(String::as_str).collect();
        let results = b.many("Recurrent", &inputs, attrs, if kind.cell { 3 } else { 2 });
        for (i, result) in results.into_iter().enumerate() {
            if b.wanted(i) {
                parts[i].push(result);
            }
        }
    }
    let mut results = Vec::new();
    for (i, parts) in parts.into_iter().enumerate() {
        if parts.is_empty() {
            results.push(String::new());
            continue;
        }
        let axis = match (i, batch_first) {
            (0, true) => 2,
            (0, false) | (_, true) => 1,
            (_, false) => 0,
        };
        let mut with_direction = if i == 0 { vec![steps, batch, hidden] } else { vec![batch, hidden] };
        if i == 0 && batch_first {
            with_direction.swap(0, 1);
        }
        with_direction.insert(axis, 1);
        let mut shaped = Vec::new();
        for mut y in parts {
            if i == 0 && batch_first {
                y = b.transpose(&y, &[1, 0, 2]);
            }
            shaped.push(b.reshape(&y, &with_direction));
        }
        results.push(match shaped.as_slice() {
            [one] => one.clone(),
            all => b.concat(&all.iter().map(String::as_str).collect::<Vec<_>>(), axis),
        });
    }
    b.finish(results)
}
