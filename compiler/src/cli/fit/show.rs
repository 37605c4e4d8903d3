//! The plans that were tried, for people and for tools: a table, a drawing, JSON, and the file of options.

use super::super::table as grid;
use super::choose::front;
use super::output;
use super::trial::{Bench, Outcome, Trial};
use crate::error::{Error, Result, Site};
use crate::fit::{Plan, Survey};
use crate::options::seconds;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// `fit.json` and `fit.svg`.
pub(super) fn write(
    folder: &Path,
    name: &str,
    bench: &Bench<'_>,
    survey: &Survey,
    trials: &[Trial],
    chosen: Option<usize>,
) -> Result<()> {
    let mut value = json(name, bench, trials, chosen);
    value["survey"] = json!(survey);
    let text =
        serde_json::to_string_pretty(&value).map_err(|e| Error::internal(Site::Whole, e.to_string()))?;
    output::write(&folder.join("fit.json"), text.as_bytes())?;
    output::write(&folder.join("fit.svg"), svg(name, bench, trials, chosen).as_bytes())
}

/// Every trial; those on the front are marked.
pub(super) fn json(name: &str, bench: &Bench<'_>, trials: &[Trial], chosen: Option<usize>) -> Value {
    let front = front(trials);
    let one = |(number, trial): (usize, &Trial)| {
        let mut value = json!({
            "plan": trial.plan.summary(),
            "layers": trial.plan.layers,
            "whole": trial.plan.whole,
            "front": front.contains(&number),
            "chosen": chosen == Some(number),
        });
        match &trial.result {
            Ok(outcome) => {
                value["outcome"] = json!(outcome);
                value["flash"] = json!(outcome.flash());
                value["ram"] = json!(outcome.ram());
            }
            Err(why) => value["failed"] = json!(why),
        }
        value
    };
    json!({
        "name": name,
        "target": bench.job.target.name,
        "metric": bench.metric.name(),
        "float": bench.of_float,
        "samples": bench.samples(),
        "trials": trials.iter().enumerate().map(one).collect::<Vec<_>>(),
    })
}

/// The front, the fastest first.
pub(super) fn table(bench: &Bench<'_>, trials: &[Trial], chosen: Option<usize>) -> String {
    let row = |&number: &usize| {
        let trial = &trials[number];
        let outcome = trial.result.as_ref().ok()?;
        let unknown = || "unknown".to_owned();
        let mark = if chosen == Some(number) { "> " } else { "  " };
        Some(vec![
            format!("{mark}{}", trial.plan.summary()),
            grid::count(outcome.flash() as u64),
            grid::count(outcome.ram() as u64),
            outcome.cycles.map_or_else(unknown, grid::count),
            outcome.seconds.map_or_else(unknown, seconds),
            bench.metric.show_drop(outcome.drop),
            format!("{:.2} %", outcome.agree * 100.0),
            format!("{:.1} %", outcome.error * 100.0),
        ])
    };
    let mut shown = front(trials);
    shown.extend(chosen.filter(|number| !shown.contains(number)));
    let rows = shown.iter().filter_map(row).collect();
    let header = ["  plan", "flash, B", "RAM, B", "cycles", "time", "drop", "same answer", "error"];
    let mut text = grid::table(&header, rows, 1);
    text += &format!(
        "{} of {} on {} held-back samples in floats; {} plans tried, shown are those that no other beats; `>` marks what was chosen\n",
        bench.metric.name(),
        bench.metric.show(bench.of_float),
        bench.samples(),
        trials.len()
    );
    text
}

/// What holds, without what nobody said; files as they are seen from the folder.
pub(super) fn shortened(text: &str, plan: &Plan, folder: &Path, model: &Path) -> String {
    let kept = text.lines().skip(1).filter(|l| !l.ends_with(": not given") && !l.ends_with("  # default"));
    let bare = kept.map(|line| line.rsplit_once("  # ").map_or(line, |(value, _)| value));
    let base = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let mut out = format!(
        "# What `secateur fit` found for {}: {}.\n",
        model.file_name().map_or_else(|| model.to_string_lossy(), |name| name.to_string_lossy()),
        plan.summary()
    );
    for line in bare {
        match line.split_once('"') {
            Some((before, rest)) if before.trim_end().ends_with('=') && rest.starts_with('/') => {
                let path = Path::new(rest.trim_end_matches('"'));
                let shown = relative(path, &base).to_string_lossy().replace('\\', "/");
                out += &format!("{before}\"{shown}\"\n");
            }
            _ => out += &format!("{line}\n"),
        }
    }
    out
}

/// A path as it is written in a file of a folder; both whole.
fn relative(path: &Path, folder: &Path) -> PathBuf {
    let (to, from): (Vec<_>, Vec<_>) = (path.components().collect(), folder.components().collect());
    let common = to.iter().zip(&from).take_while(|(a, b)| a == b).count();
    let up = from[common..].iter().map(|_| Path::new(".."));
    up.chain(to[common..].iter().map(|part| Path::new(part.as_os_str()))).collect()
}

/// Width and height of each of the two drawings, and the margin around each.
const SIZE: (f64, f64) = (420.0, 320.0);
const MARGIN: f64 = 56.0;

/// What is lost over cycles and over flash.
fn svg(name: &str, bench: &Bench<'_>, trials: &[Trial], chosen: Option<usize>) -> String {
    let front = front(trials);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{MARGIN}\" y=\"20\" font-size=\"14\">{} for {}: drop of {} over what it takes, {} samples</text>\n",
        2.0 * SIZE.0,
        SIZE.1,
        escaped(name),
        escaped(&bench.job.target.name),
        bench.metric.name(),
        bench.samples(),
    );
    let done = || trials.iter().enumerate().filter_map(|(n, t)| Some((n, t.result.as_ref().ok()?)));
    let least = done().map(|(_, o)| o.drop * 100.0).fold(0.0, f64::min);
    let most = done().map(|(_, o)| o.drop * 100.0).fold(least + 1.0, f64::max);
    let panels: [(&str, &dyn Fn(&Outcome) -> f64); 2] =
        [("cycles", &|o| o.cycles.unwrap_or(0) as f64), ("flash, B", &|o| o.flash() as f64)];
    for (panel, (label, of)) in panels.iter().enumerate() {
        let left = panel as f64 * SIZE.0 + MARGIN;
        let (width, height) = (SIZE.0 - 2.0 * MARGIN, SIZE.1 - 2.0 * MARGIN);
        let greatest = done().map(|(_, o)| of(o)).fold(1.0, f64::max);
        let at = |o: &Outcome| {
            let x = left + of(o) / greatest * width;
            (x, SIZE.1 - MARGIN - (o.drop * 100.0 - least) / (most - least) * height)
        };
        for step in 0..=4u8 {
            let part = f64::from(step) / 4.0;
            let (x, y) = (left + part * width, SIZE.1 - MARGIN - part * height);
            out += &format!(
                "<path d=\"M{left:.1} {y:.1}h{width:.1}\" stroke=\"#ddd\"/>\n\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{:.1}</text>\n\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
                left - 6.0,
                y + 4.0,
                least + part * (most - least),
                SIZE.1 - MARGIN + 16.0,
                grid::count((part * greatest) as u64)
            );
        }
        out += &format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>\n",
            left + width / 2.0,
            SIZE.1 - MARGIN + 34.0
        );
        for (number, outcome) in done() {
            let (x, y) = at(outcome);
            let (color, radius) = match (chosen == Some(number), front.contains(&number)) {
                (true, _) => ("#c00", 5.0),
                (false, true) => ("#06c", 3.5),
                (false, false) => ("#bbb", 2.5),
            };
            out += &format!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{color}\"><title>{}</title></circle>\n",
                escaped(&trials[number].plan.summary())
            );
        }
    }
    out + "</svg>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
