//! Tables for people.

use crate::options::{Pattern, joules, seconds};
use crate::report::{LayerReport, Report};
use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};

const RULED: TableStyle = TableStyle::new()
    .header_separator(LineStyle::none().fill('─').junction('─'))
    .bottom_border(LineStyle::none().fill('─').junction('─'));

/// A borderless table with right-aligned columns from `numbers_from` on.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>, numbers_from: usize) -> String {
    let mut table = Table::new();
    table.load_style(RULED);
    table.set_header(header.iter().copied());
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(numbers_from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.lines().map(|l| l.trim_end().to_string() + "\n").collect()
}

/// `12,345`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Bytes, with KiB beside them from 1024 on.
pub(crate) fn bytes(n: usize) -> String {
    if n < 1024 { format!("{n} B") } else { format!("{} B ({:.1} KiB)", count(n as u64), n as f64 / 1024.0) }
}

/// A name of at most 40 characters: converters join whole paths into one.
pub(crate) fn name(name: &str) -> String {
    const SIDE: usize = 19;
    let chars: Vec<char> = name.chars().collect();
    if chars.len() <= 2 * SIDE + 2 {
        return name.to_string();
    }
    let part = |c: &[char]| c.iter().collect::<String>();
    format!("{}..{}", part(&chars[..SIDE]), part(&chars[chars.len() - SIDE..]))
}

pub(crate) fn shape(dims: &[usize]) -> String {
    if dims.is_empty() {
        return "scalar".into();
    }
    dims.iter().map(ToString::to_string).collect::<Vec<_>>().join("×")
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Columns of a pruned model: pattern and share of a layer's zeros, the error that they make in its
/// output, bytes that its weights would take if zeros were stored, cycles, and those of the best dense kernel.
fn zeros(layer: &LayerReport, timed: bool) -> Vec<String> {
    let text = |value: Option<String>| value.unwrap_or_default();
    let number = |value: Option<u64>| text(value.map(count));
    let mut cells = vec![
        text(layer.pattern.zip(layer.sparsity).map(|(p, share)| format!("{p} {}", percent(share)))),
        text(layer.prune_error.map(percent)),
        number(layer.dense_weights.map(|w| w as u64)),
    ];
    if timed {
        cells.extend([number(layer.cycles), number(layer.dense_cycles)]);
    }
    cells
}

/// What follows the totals of a pruned model.
fn savings(report: &Report) -> Vec<(&'static str, String)> {
    let total = &report.total;
    let beside = |own: u64, dense: u64| {
        let share = dense.abs_diff(own) as f64 / dense.max(1) as f64;
        let word = if own <= dense { "less" } else { "more" };
        format!("{} {word} than {} with dense kernels", percent(share), count(dense))
    };
    let mut lines = Vec::new();
    if let Some(dense) = total.dense_weights {
        lines.push(("  beside dense", beside(total.weights as u64, dense as u64)));
    }
    if let (Some(own), Some(dense)) = (total.cycles, total.dense_cycles) {
        lines.push(("cycles, predicted", format!("{}; {}", count(own), beside(own, dense))));
    }
    let stays = |l: &LayerReport| {
        let (below, share) = (l.pays_below?, 1.0 - l.sparsity?);
        let name = name(&l.name);
        let all =
            format!("{name}, {} non-zero; blocks would pay below about {}", percent(share), percent(below));
        Some(("stays dense", all))
    };
    lines.extend(report.layers.iter().filter_map(stays));
    lines
}

/// The table of `compile`: layers, then totals.
pub(crate) fn report(report: &Report) -> String {
    let total = &report.total;
    let pruned = total.sparsity.is_some();
    // Channels leave; zeros stay where they are.
    let left = report.layers.iter().any(|l| l.pattern == Some(Pattern::Channels));
    let gone = if left { "removed" } else { "zeros" };
    let rows = report
        .layers
        .iter()
        .map(|l| {
            let mut cells = vec![
                name(&l.name),
                l.op.clone(),
                l.family.clone(),
                shape(&l.output_shape),
                count(l.macs),
                count(l.weights as u64),
                count(l.live as u64),
            ];
            if pruned {
                cells.extend(zeros(l, total.cycles.is_some()));
            }
            cells
        })
        .collect();
    let mut header = vec!["layer", "operator", "kernel", "output", "MACs", "weights B", "live RAM B"];
    if pruned {
        header.extend([gone, "their error", "dense B"]);
        header.extend(total.cycles.iter().flat_map(|_| ["cycles", "dense cycles"]));
    }
    let mut out = table(&header, rows, 4);
    let unknown = || match &total.not_measured {
        None => "not measured".to_string(),
        Some(missing) => format!("not measured: {missing}"),
    };
    let mut line = |name: &str, value: String| out.push_str(&format!("{name:<22}{value}\n"));
    let live = if total.live_macs == total.macs {
        String::new()
    } else {
        format!(", {} with a non-zero weight", count(total.live_macs))
    };
    line("MACs", format!("{}{live}", count(total.macs)));
    if let Some(share) = total.sparsity {
        let (zeros, work) = (percent(share), percent(total.sparse_macs));
        line(gone, format!("{zeros} of the weights that may be pruned, {work} of all MACs"));
    }
    line("weights", bytes(total.weights));
    for (what, value) in savings(report).into_iter().filter(|_| pruned) {
        line(what, value);
    }
    let predicted =
        || total.predicted_code.map_or_else(unknown, |code| format!("{}, predicted", bytes(code)));
    line("code", total.code.map_or_else(predicted, bytes));
    if let Some(flash) = report.memory.flash {
        let code = total.known_code();
        let of = format!(
            "{} of the flash of {}",
            percent((total.weights + code) as f64 / flash as f64),
            report.target
        );
        line("  both together", of);
    }
    line(
        "arena",
        format!(
            "{}; no placement of this plan takes less than {} B",
            bytes(total.arena),
            count(total.arena_plan_bound as u64)
        ),
    );
    let kept = report.states.iter().map(|s| {
        format!("{} from {} ({} {})", name(&s.port.name), name(&s.next), s.port.elem, shape(&s.port.shape))
    });
    if !report.states.is_empty() {
        let all: Vec<String> = kept.collect();
        line("  kept between runs", format!("{}: {}", bytes(total.states), all.join(", ")));
    }
    if let Some(balanced) = total.arena_balanced {
        let (less, more) = (balanced.saturating_sub(total.arena), total.arena.saturating_sub(balanced));
        line(
            "  beside balanced",
            match less {
                0 => format!("{} more", bytes(more)),
                less => format!("{} less", bytes(less)),
            },
        );
    }
    line(
        "inputs and outputs",
        format!("in the arena; in arrays of the caller's own, {} more", bytes(total.io)),
    );
    let ports = report.inputs.iter().chain(&report.outputs).chain(report.states.iter().map(|s| &s.port));
    let held: Vec<String> =
        ports.filter_map(|p| Some(format!("{}: {}", name(&p.name), p.held.as_ref()?))).collect();
    if !held.is_empty() {
        line("  other integers", held.join("; "));
    }
    let dependent: Vec<String> = report
        .layers
        .iter()
        .filter_map(|l| Some(format!("{} ({})", name(&l.name), l.data_dependent?)))
        .collect();
    if let [first @ .., _] = dependent.as_slice() {
        let shown = if first.len() > 2 { &dependent[..2] } else { &dependent[..] };
        let more = dependent.len() - shown.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        line("time depends on data", format!("in {}{more}", shown.join(", ")));
    }
    match (total.stack, total.native_stack) {
        (None, native @ 1..) => line("stack, at least", format!("{} ({})", bytes(native), unknown())),
        (stack, _) => line("stack, at most", stack.map_or_else(unknown, bytes)),
    }
    if let Some(ram) = report.memory.ram {
        let stack = total.stack.unwrap_or(total.native_stack);
        let of =
            format!("{} of the RAM of {}", percent((total.arena + stack) as f64 / ram as f64), report.target);
        line("  with the arena", of);
    }
    if let (Some(cycles), Some(time)) = (total.cycles, total.seconds) {
        let energy = total.joules.map_or_else(String::new, |j| format!(", {}", joules(j)));
        line("a run, predicted", format!("{}{energy} ({} cycles)", seconds(time), count(cycles)));
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn counts_group_by_thousands() {
        assert_eq!(super::count(0), "0");
        assert_eq!(super::count(999), "999");
        assert_eq!(super::count(1_234_567), "1,234,567");
    }
}
