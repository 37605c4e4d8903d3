//! Tables for people.

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

/// Pattern and share of a pruned layer's zeros, and the error that they make in its output.
fn zeros(layer: &LayerReport) -> [String; 2] {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    match (layer.pattern, layer.sparsity, layer.prune_error) {
        (Some(pattern), Some(share), Some(error)) => {
            [format!("{pattern} {}", percent(share)), percent(error)]
        }
        _ => [String::new(), String::new()],
    }
}

/// The table of `compile`: layers, then totals.
pub(crate) fn report(report: &Report) -> String {
    let pruned = report.total.sparsity.is_some();
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
            cells.extend(zeros(l).into_iter().filter(|_| pruned));
            cells
        })
        .collect();
    let mut header = vec!["layer", "operator", "kernel", "output", "MACs", "weights B", "live RAM B"];
    header.extend(["zeros", "their error"].into_iter().filter(|_| pruned));
    let mut out = table(&header, rows, 4);
    let total = &report.total;
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
        line("zeros", format!("{:.1} % of the weights that may be pruned", share * 100.0));
    }
    line("weights", bytes(total.weights));
    line("code", total.code.map_or_else(unknown, bytes));
    line(
        "arena",
        format!(
            "{}; no placement of this plan takes less than {} B",
            bytes(total.arena),
            count(total.arena_plan_bound as u64)
        ),
    );
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
    line("stack, at most", total.stack.map_or_else(unknown, bytes));
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
