//! Ports that look like a state handed from one run to the next, and do not fit each other.
//!
//! In: a settled graph. Out: a warning for each input and output that seem to be one state and are
//! stored with different scales, so that bytes copied from one to the other mean something else. Law: what the
//! user tied is no port any more, and needs no warning.

use crate::error::Site;
use crate::graph::{Graph, Quant, ValueId};
use crate::warning::Warning;
use std::collections::BTreeSet;

/// Warns of every pair whose stored integers differ in meaning.
pub fn warn_of_states(graph: &mut Graph) {
    for (input, output) in states(graph) {
        let (Some(a), Some(b)) = (&graph[input].quant, &graph[output].quant) else { continue };
        if a == b {
            continue;
        }
        let (from, to) = (&graph[output].name, &graph[input].name);
        let shown = |q: &Quant| format!("scale {:.4e}, zero point {}", q.scale[0], q.zero_point[0]);
        let text = format!(
            "looks like the state that output `{from}` hands to input `{to}`, but `{from}` is stored with {} and `{to}` with {}: copied bytes would change their values",
            shown(b),
            shown(a)
        );
        let warning = Warning::new(Site::Value(to.clone()), text).help(format!(
            "`--state {to}={from}` keeps it in the emitted code, with one scale; else dequantize `{from}` and quantize \
             the result for `{to}` with the functions of the emitted code"
        ));
        graph.warn(warning);
    }
}

/// Inputs and outputs that seem to be one state: of one shape and type, the output computed from
/// the input, their names related; or no names needed, where each has no other partner.
fn states(graph: &Graph) -> Vec<(ValueId, ValueId)> {
    let outputs: Vec<ValueId> = graph.results().to_vec();
    let fits = |i: ValueId, o: ValueId| {
        i != o && graph[i].shape == graph[o].shape && graph[i].dtype == graph[o].dtype && !graph[i].is_empty()
    };
    let reached: Vec<(ValueId, BTreeSet<ValueId>)> =
        graph.inputs().iter().map(|&i| (i, reached(graph, i))).collect();
    let flows = |i: ValueId, o: ValueId| reached.iter().any(|(from, all)| *from == i && all.contains(&o));
    let mut pairs: Vec<(ValueId, ValueId)> = Vec::new();
    for rule in [stem, |name: &str| stem(name).trim_end_matches(|c: char| c.is_ascii_digit()).to_string()] {
        for &i in graph.inputs() {
            let free = |pairs: &[(ValueId, ValueId)], i: ValueId, o: ValueId| {
                pairs.iter().all(|(a, b)| *a != i && *b != o)
            };
            let mut related = outputs.iter().copied().filter(|&o| {
                fits(i, o) && free(&pairs, i, o) && rule(&graph[i].name) == rule(&graph[o].name)
            });
            if let (Some(o), None) = (related.next(), related.next()) {
                pairs.push((i, o));
            }
        }
    }
    // A network of one input and one output is no recurrent cell.
    if graph.inputs().len() > 1 && outputs.len() > 1 {
        for &i in graph.inputs() {
            let partners: Vec<ValueId> =
                outputs.iter().copied().filter(|&o| fits(i, o) && flows(i, o)).collect();
            let [o] = partners[..] else { continue };
            let alone =
                graph.inputs().iter().filter(|&&other| fits(other, o) && flows(other, o)).count() == 1;
            if alone && pairs.iter().all(|(a, b)| *a != i && *b != o) {
                pairs.push((i, o));
            }
        }
    }
    pairs
}

/// Everything that is computed from a value.
fn reached(graph: &Graph, from: ValueId) -> BTreeSet<ValueId> {
    let mut all = BTreeSet::from([from]);
    for id in graph.topological() {
        if graph[id].inputs.iter().flatten().any(|v| all.contains(v)) {
            all.extend(&graph[id].outputs);
        }
    }
    all
}

/// A port's name without what tells the old state from the new one: `h`, `h_in`, `new_h`, `h_out`,
/// `hn` and `hNext` are all `h`. Empty where nothing is left.
fn stem(name: &str) -> String {
    const SIDES: [&str; 17] = [
        "in", "out", "input", "output", "next", "new", "prev", "previous", "old", "last", "cur", "current",
        "init", "initial", "final", "n", "t",
    ];
    let mut words: Vec<String> = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        if !c.is_alphanumeric() {
            words.push(String::new());
        } else {
            if c.is_uppercase() && before.is_lowercase() {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut() {
                word.extend(c.to_lowercase());
            }
        }
        before = c;
    }
    words.retain(|w| !w.is_empty());
    let sides = words.iter().filter(|w| SIDES.contains(&w.as_str())).count();
    if sides < words.len() {
        words.retain(|w| !SIDES.contains(&w.as_str()));
    }
    let joined = words.concat();
    match joined.strip_suffix(['n', '0']) {
        // `hn` and `c0` of the exporters.
        Some(short) if short.len() == 1 => short.to_string(),
        _ => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_state_have_one_stem() {
        for name in ["h", "h_in", "h_out", "new_h", "h_next", "hNext", "hn", "h0", "prev.h", "H"] {
            assert_eq!(stem(name), "h", "{name}");
        }
        assert_eq!(stem("state1_out"), stem("state1"));
        assert_ne!(stem("state1_out"), stem("state2"));
        assert_ne!(stem("input"), stem("output"));
    }
}
