//! GRU, LSTM and RNN, in both directions, over the last axis of a value or over its first.

use super::generate::{Builder, Value};
use super::{Attr, Node};

/// Weights of a size at which gates neither close nor stand still.
fn weights(b: &mut Builder, shape: &[usize], fan: usize) -> String {
    let deviation = b.of(&[0.5, 1.0, 2.0]) / (fan.max(1) as f32).sqrt();
    b.floats(shape, deviation, 0.0)
}

/// A recurrent layer, its sequence or its last state.
pub(super) fn recurrent(b: &mut Builder) -> Option<Value> {
    if b.opset() < 14 {
        return None;
    }
    let x = b.pick(|v| v.shape.len() == 3 && v.shape.iter().all(|&n| n > 0))?;
    let (op, gates) = b.of(&[("GRU", 3), ("LSTM", 4), ("RNN", 1)]);
    // Channels of a signal over time, or as the operator has it.
    let turned = !b.one_in(4);
    let [n, c, t] = [x.shape[0], x.shape[1], x.shape[2]];
    let (steps, batch, width) = if turned { (t, n, c) } else { (n, c, t) };
    let hidden = b.between(1, 9);
    let direction = b.of(&["forward", "forward", "reverse", "bidirectional"]);
    let directions = if direction == "bidirectional" { 2 } else { 1 };
    let work = steps * batch * directions * gates * hidden * (width + hidden);
    if !b.room(steps * batch * directions * hidden, work) {
        return None;
    }
    let from = match turned {
        true => b.hidden("Transpose", &[&x.name], vec![("perm", Attr::Ints(vec![2, 0, 1]))]),
        false => x.name.clone(),
    };
    let rows = gates * hidden;
    let w = weights(b, &[directions, rows, width], width);
    let r = weights(b, &[directions, rows, hidden], hidden);
    let mut inputs = vec![from, w, r];
    if !b.one_in(4) {
        inputs.push(b.floats(&[directions, 2 * rows], 0.3, 0.0));
    }
    if b.one_in(4) {
        inputs.resize(5, String::new());
        inputs.push(b.floats(&[directions, batch, hidden], 0.2, 0.0));
        if op == "LSTM" {
            inputs.push(b.floats(&[directions, batch, hidden], 0.5, 0.0));
        }
    }
    if op == "LSTM" && b.one_in(3) {
        inputs.resize(7, String::new());
        inputs.push(b.floats(&[directions, 3 * hidden], 0.3, 0.0));
    }
    let mut attrs = vec![("hidden_size", Attr::Int(hidden as i64)), ("direction", Attr::Str(direction))];
    if op == "GRU" {
        attrs.push(("linear_before_reset", Attr::Int(b.below(2) as i64)));
    }
    if b.one_in(6) {
        attrs.push(("clip", Attr::Float(1.5)));
    }
    let outputs = [b.name("v"), b.name("v")];
    let node = Node { op, inputs, outputs: outputs.to_vec(), attrs };
    b.case.nodes.push(node);
    let [sequence, last] = outputs;
    Some(if b.one_in(2) {
        // [steps, directions, batch, hidden] to [batch, directions, hidden, steps].
        let perm = vec![("perm", Attr::Ints(vec![2, 1, 3, 0]))];
        let y = b.hidden("Transpose", &[&sequence], perm);
        let shape = [batch, directions * hidden, steps];
        let to = b.ints(&shape.map(|n| n as i64));
        b.node("Reshape", &[&y, &to], vec![], &shape)
    } else {
        let y = b.hidden("Transpose", &[&last], vec![("perm", Attr::Ints(vec![1, 0, 2]))]);
        let shape = [batch, directions * hidden];
        let to = b.ints(&shape.map(|n| n as i64));
        b.node("Reshape", &[&y, &to], vec![], &shape)
    })
}
