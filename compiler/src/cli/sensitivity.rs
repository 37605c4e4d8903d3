//! `secateur sensitivity`: what zeros in one layer cost the whole model, layer by layer and level by level.

use super::args::ModelArgs;
use super::labels::{self, Expected};
use super::metric::{self, Labels, Metric, Reference};
use super::progress::Terminal;
use super::{data, output, print_json, table, warn};
use crate::artifact::{Sensitivity, sensitivity};
use crate::error::{Error, Result};
use crate::report::SCHEMA;
use crate::tensor::Tensor;
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// One class number or one-hot row a calibration sample: the drop of top1 stands beside the error.
    #[arg(long, value_name = "Y.npy|Y.csv")]
    labels: Option<PathBuf>,
    /// Measure on N of the samples, evenly spread; all of them choose zeros.
    #[arg(long, value_name = "N", default_value_t = 256)]
    limit: usize,
    /// Draw the errors over the share of zeros.
    #[arg(long, value_name = "FILE.svg")]
    svg: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Shares of zeros that are tried.
const LEVELS: [f64; 4] = [0.25, 0.5, 0.75, 0.9];

/// One layer's row.
struct Row {
    layer: String,
    pattern: String,
    weights: usize,
    levels: Vec<Level>,
}

/// What a layer costs at one level.
struct Level {
    sparsity: f64,
    error: f64,
    drop: Option<f64>,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let job = args.model.job()?;
    let samples = job.calibration.as_ref().ok_or_else(|| {
        Error::option("calibrate", "is missing: samples tell what zeros cost")
            .help("give some with `--calibrate X.npy`")
    })?;
    if args.limit == 0 {
        return Err(Error::option("limit", "leaves no sample to measure on").help("give a number from 1"));
    }
    let labels = args.labels.as_deref().map(data::read_labels).transpose()?;
    // Words count in the order of the alphabet.
    let labels = labels.map(|given| labels::numbers(given, &[])).transpose()?.map(|(numbers, _)| numbers);
    let mut observer = Terminal::new();
    let mut outputs: Vec<Vec<Vec<f64>>> = Vec::new();
    let mut listen = |have: &[Vec<Tensor>]| {
        if labels.is_some() {
            outputs.push(firsts(have));
        }
    };
    let found =
        sensitivity(&job.model, samples, &job.options, &LEVELS, args.limit, &mut observer, &mut listen)
            .map_err(|e| job.refused(e))?;
    drop(observer);
    let drops = labels.map(|labels| drops(&found, &labels, &outputs)).transpose()?;
    let rows = rows(&found, drops.as_ref().map(|(_, drops)| drops.as_slice()));
    let warnings: Vec<_> = found.graph.warnings().iter().chain(&job.said).cloned().collect();
    warn(&warnings);
    if let Some(path) = &args.svg {
        output::write(path, svg(&job.options.name, &rows).as_bytes())?;
    }
    if args.json {
        return print_json(&json!({
            "schema": SCHEMA,
            "name": job.options.name,
            "samples": found.probes.len(),
            "float": drops.map(|(float, _)| float),
            "layers": rows.iter().map(json_row).collect::<Vec<_>>(),
            "warnings": warnings,
        }));
    }
    output::print(&text(&rows, found.probes.len()))
}

/// The first output of each sample.
fn firsts(outputs: &[Vec<Tensor>]) -> Vec<Vec<f64>> {
    outputs.iter().map(|o| o.first().map(Tensor::to_f64_vec).unwrap_or_default()).collect()
}

/// Top1 of the float model, and what each layer and level loses of it.
fn drops(found: &Sensitivity, labels: &Tensor, outputs: &[Vec<Vec<f64>>]) -> Result<(f64, Vec<f64>)> {
    let graph = &found.graph;
    let output = &graph[graph.results()[0]];
    let expected = Expected {
        samples: found.samples,
        used: found.samples,
        outputs: output.len(),
        float: output.dtype.is_float(),
    };
    let Labels::Classes(all) = Labels::new(Metric::Top1, Some(labels), &expected)? else {
        return Err(Error::option("labels", "name no classes"));
    };
    let labels = Labels::Classes(found.probes.iter().map(|&i| all[i]).collect());
    let float = firsts(&found.outputs);
    let reference = Reference { labels: &labels, inputs: &[], float: &float };
    let top1 = |outputs: &[Vec<f64>]| metric::measure(Metric::Top1, outputs, &reference);
    let float = top1(&float)?;
    let drops = outputs.iter().map(|o| Ok(float - top1(o)?)).collect::<Result<_>>()?;
    Ok((float, drops))
}

fn rows(found: &Sensitivity, drops: Option<&[f64]>) -> Vec<Row> {
    let mut number = 0;
    let mut level = |weights: usize, point: &crate::prune::Point| {
        let drop = drops.and_then(|d| d.get(number).copied());
        number += 1;
        Level { sparsity: point.removed as f64 / weights.max(1) as f64, error: point.damage.error, drop }
    };
    let row = |(task, curve): (&crate::prune::Task, &Vec<crate::prune::Point>)| {
        let weights = task.layer.weights();
        Row {
            layer: task.layer.name.clone(),
            pattern: task.pattern.to_string(),
            weights,
            levels: curve.iter().map(|point| level(weights, point)).collect(),
        }
    };
    found.tasks.iter().zip(&found.curves).map(row).collect()
}

fn json_row(row: &Row) -> Value {
    let level = |l: &Level| json!({ "sparsity": l.sparsity, "error": l.error, "drop": l.drop });
    json!({
        "name": row.layer,
        "pattern": row.pattern,
        "weights": row.weights,
        "levels": row.levels.iter().map(level).collect::<Vec<_>>(),
    })
}

fn text(rows: &[Row], samples: usize) -> String {
    let cell = |l: &Level| {
        let drop = l.drop.map_or_else(String::new, |d| format!(" ({:+.1})", d * 100.0));
        format!("{:.1} %{drop}", l.error * 100.0)
    };
    let with_drop = rows.iter().flat_map(|r| &r.levels).any(|l| l.drop.is_some());
    let mut header = vec!["layer".to_owned(), "pattern".to_owned(), "weights".to_owned()];
    header.extend(LEVELS.iter().map(|l| format!("{:.0} % zeros", l * 100.0)));
    let line = |row: &Row| {
        let mut cells = vec![table::name(&row.layer), row.pattern.clone(), table::count(row.weights as u64)];
        cells.extend(row.levels.iter().map(cell));
        // A pattern that says its share has one level.
        if let [only] = row.levels.as_slice() {
            cells[3] = format!("{} at {:.0} %", cell(only), only.sparsity * 100.0);
        }
        cells.resize(header.len(), String::new());
        cells
    };
    let lines = rows.iter().map(line).collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut out = table::table(&header, lines, 2);
    out += &format!("error of the model's outputs on {samples} samples, one layer pruned at a time");
    out += if with_drop { " (points of top1 lost)\n" } else { "\n" };
    out
}

/// Width and height of the drawing, its margins, and the room for names at the right.
const SIZE: (f64, f64) = (760.0, 420.0);
const MARGIN: f64 = 48.0;
const NAMES: f64 = 220.0;

/// A line a layer: error over the share of zeros.
fn svg(title: &str, rows: &[Row]) -> String {
    let most = rows.iter().flat_map(|r| &r.levels).map(|l| l.error).fold(0.0, f64::max).clamp(0.01, 2.0);
    let (width, height) = (SIZE.0 - 2.0 * MARGIN - NAMES, SIZE.1 - 2.0 * MARGIN);
    let at = |sparsity: f64, error: f64| {
        (MARGIN + sparsity * width, SIZE.1 - MARGIN - (error / most).min(1.0) * height)
    };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{MARGIN}\" y=\"24\" font-size=\"14\">{}: error of the outputs, one layer pruned at a time</text>\n",
        SIZE.0,
        SIZE.1,
        escaped(title)
    );
    for step in 0..=4u8 {
        let part = f64::from(step) / 4.0;
        let ((x, floor), (left, y)) = (at(part, 0.0), at(0.0, part * most));
        out += &format!(
            "<path d=\"M{left:.1} {y:.1}H{:.1}\" stroke=\"#ddd\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{:.0} %</text>\n\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.0} %</text>\n",
            MARGIN + width,
            left - 6.0,
            y + 4.0,
            part * most * 100.0,
            floor + 16.0,
            part * 100.0
        );
    }
    for (number, row) in rows.iter().enumerate() {
        let colour = format!("hsl({}, 65%, 42%)", number * 360 / rows.len().max(1));
        let points = std::iter::once(at(0.0, 0.0)).chain(row.levels.iter().map(|l| at(l.sparsity, l.error)));
        let points: Vec<String> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let y = MARGIN + 14.0 * number as f64;
        out += &format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n\
             <text x=\"{:.1}\" y=\"{y:.1}\" fill=\"{colour}\">{}</text>\n",
            points.join(" "),
            SIZE.0 - NAMES - MARGIN + 24.0,
            escaped(&table::name(&row.layer))
        );
    }
    out + "</svg>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace(|c: char| c.is_control(), " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drawing_escapes_names_and_stays_inside() {
        let level = |sparsity: f64, error: f64| Level { sparsity, error, drop: None };
        let row = Row {
            layer: "a<b>&".into(),
            pattern: "1x4".into(),
            weights: 10,
            levels: vec![level(0.5, 0.1), level(0.9, 7.0)],
        };
        let drawn = svg("m", &[row]);
        assert!(drawn.contains("a&lt;b&gt;&amp;") && drawn.ends_with("</svg>\n"));
        let line = drawn.split("points=\"").nth(1).and_then(|p| p.split('"').next()).unwrap();
        for point in line.split(' ') {
            let (x, y) = point.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!((0.0..=SIZE.0).contains(&x) && (0.0..=SIZE.1).contains(&y), "{point}");
        }
    }

    #[test]
    fn a_pattern_with_one_level_says_which() {
        let row = Row {
            layer: "conv".into(),
            pattern: "2:4".into(),
            weights: 1000,
            levels: vec![Level { sparsity: 0.5, error: 0.125, drop: Some(0.02) }],
        };
        assert!(text(&[row], 8).contains("12.5 % (+2.0) at 50 %"));
    }
}
