//! What `bench` found, as JSON and as a table.
//!
//! Law: a figure that is not known is `null`, never 0; the JSON keys are a promise.

use super::counter::{self, Stretch};
use super::loops::{self, Loop};
use crate::cli::table::{self, count};
use crate::cli::toolchain::Elf;
use crate::options::{Language, Optimize};
use crate::report::{LayerReport, SCHEMA};
use secateur_targets::Target;
use serde_json::{Value, json};

/// Figures of a layer or of the whole model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figures {
    pub(super) counted: Option<Stretch>,
    pub(super) macs: u64,
    pub(super) live_macs: u64,
    pub(super) weights: usize,
    /// Of a layer: bytes that are live while it runs.
    pub(super) arena: usize,
    /// Of a layer: its native kernels, also where layers share them.
    pub(super) code: Option<usize>,
    pub(super) predicted: Option<f64>,
}

/// A layer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) op: String,
    pub(super) family: String,
    pub(super) output_shape: Vec<usize>,
    pub(super) figures: Figures,
}

impl Row {
    pub(super) fn new(layer: &LayerReport) -> Row {
        Row {
            name: layer.name.clone(),
            op: layer.op.clone(),
            family: layer.family.clone(),
            output_shape: layer.output_shape.clone(),
            figures: Figures {
                counted: None,
                macs: layer.macs,
                live_macs: layer.live_macs,
                weights: layer.weights,
                arena: layer.live,
                code: None,
                predicted: None,
            },
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bench {
    pub(super) model: String,
    pub(super) language: Language,
    pub(super) total: Figures,
    /// Bound of the stack (Rust: what was touched).
    pub(super) stack: Option<usize>,
    pub(super) touched: Option<usize>,
    /// Executions of instructions that the counter does not know.
    pub(super) unknown: u64,
    /// Lines of 16 bytes that an uncached flash reads for code and constants.
    pub(super) flash_lines: Option<u64>,
    pub(super) layers: Vec<Row>,
    /// Innermost loops, if they were asked for, and why LLVM says nothing of them.
    pub(super) loops: Vec<Loop>,
    pub(super) silence: Option<String>,
    pub(super) target: Target,
    pub(super) optimize: Optimize,
}

/// Runs of one model, one a language.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Report {
    pub(super) runs: Vec<Bench>,
    /// Whether the sample was random.
    pub(super) random: bool,
    pub(super) notes: Vec<String>,
}

impl Report {
    /// The first run's figures at the top; those of a second one, of Rust, below `rust`.
    pub(super) fn json(&self) -> Value {
        let Some(first) = self.runs.first() else { return Value::Null };
        let mut notes = first.notes();
        let mut value = json!({
            "schema": SCHEMA,
            "model": first.model,
            "target": first.target.name,
            "core": first.target.core.name,
            "language": first.language,
            "optimize": first.optimize,
            "sample": if self.random { "random" } else { "given" },
            "clock_hz": first.target.clock.as_ref().map(|c| c.hz),
        });
        first.json_into(&mut value);
        for run in &self.runs[1..] {
            let mut second = json!({});
            run.json_into(&mut second);
            value["rust"] = second;
            notes.extend(run.notes());
        }
        notes.extend(self.notes.iter().cloned());
        notes.dedup();
        value["notes"] = json!(notes);
        value
    }

    pub(super) fn table(&self) -> String {
        let mut out = String::new();
        for run in &self.runs {
            if self.runs.len() > 1 {
                out += &format!("{:?}\n", run.language);
            }
            out += &run.table();
        }
        let mut notes: Vec<String> = self.runs.iter().flat_map(Bench::notes).collect();
        notes.dedup();
        notes.iter().chain(&self.notes).for_each(|n| out += &format!("note: {n}\n"));
        out
    }
}

/// Machine code of the one model of a harness in Rust: its module's functions, and the function
/// that they may be inlined into.
pub(super) fn rust_code(elf: &Elf) -> usize {
    let mine = |name: &str| {
        (name.contains("model_0") && !name.contains("7weights"))
            || name.contains("6call_0")
            || name.contains("secateur_runtime")
    };
    elf.symbols.iter().filter(|s| s.defined && mine(&s.name)).map(|s| s.bytes).sum()
}

fn loop_json(l: &Loop) -> Value {
    json!({
        "function": l.function,
        "address": l.start,
        "turns": l.turns,
        "instructions": l.instructions,
        "cycles": l.cycles,
        "cycles_per_turn": rounded(l.turn, 2),
        "llvm_mca_cycles_per_turn": l.mca,
        "off_llvm_mca": l.off().map(|off| rounded(off, 4)),
        "text": l.text,
    })
}

fn per(cycles: u64, macs: u64) -> Option<f64> {
    (macs > 0).then(|| (cycles as f64 / macs as f64 * 10_000.0).round() / 10_000.0)
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

impl Figures {
    fn json(&self) -> Value {
        let c = self.counted;
        json!({
            "instructions": c.map(|c| c.instructions),
            "cycles": c.map(|c| c.cycles),
            "cycles_without_vector_latency": c.map(|c| c.overlapped),
            "predicted_cycles": self.predicted.map(f64::round),
            "macs": self.macs,
            "live_macs": self.live_macs,
            "cycles_per_mac": c.and_then(|c| per(c.cycles, self.macs)),
            "cycles_per_live_mac": c.and_then(|c| per(c.cycles, self.live_macs)),
            "load_bytes": c.map(|c| c.load_bytes),
            "store_bytes": c.map(|c| c.store_bytes),
            "code": self.code,
            "weights": self.weights,
            "arena": self.arena,
        })
    }
}

impl Bench {
    fn counted(&self) -> Stretch {
        self.total.counted.unwrap_or_default()
    }

    fn timed(&self) -> bool {
        counter::issue_model(&self.target.core.name).is_some()
    }

    /// At the chip's clock: every read hits a cache or needs no wait; every line is waited for.
    fn milliseconds(&self) -> Option<(f64, Option<f64>)> {
        let clock = self.target.clock.as_ref().filter(|_| self.timed())?;
        let at = |cycles: u64| cycles as f64 / clock.hz as f64 * 1e3;
        let waits = counter::wait_states(&self.target).zip(self.flash_lines);
        let waited = waits.map(|(w, lines)| at(self.counted().cycles + u64::from(w) * lines));
        Some((at(self.counted().cycles), waited))
    }

    /// Current is proportional to the clock, so the clock cancels out.
    fn microjoules(&self) -> Option<f64> {
        let power = self.target.power.as_ref().filter(|_| self.timed())?;
        let (ua, volts) = (f64::from(power.active_ua_per_mhz?), f64::from(power.volts?));
        Some(self.counted().cycles as f64 / 1e6 * ua * volts)
    }

    /// What the figures leave out.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.timed() {
            notes.push(format!(
                "core `{}` has no issue model: cycles are executed instructions (Hexagon: packets)",
                self.target.core.name
            ));
        }
        if self.target.clock.is_some() && self.timed() {
            notes.extend(match counter::wait_states(&self.target) {
                Some(0) => None,
                Some(n) => Some(format!(
                    "the longer time waits {n} cycles for each 16 bytes of flash, without any cache or prefetch"
                )),
                None => Some(
                    "the chip's file states no wait states of its flash: the time is that of memory without any"
                        .into(),
                ),
            });
        }
        notes.extend(self.silence.clone());
        if self.unknown > 0 {
            notes.push(format!(
                "{} executed instructions are not known to the counter; each counts as one cycle",
                self.unknown
            ));
        }
        notes
    }

    fn json_into(&self, value: &mut Value) {
        let mut total = self.total.json();
        total["stack"] = json!(self.stack);
        total["stack_touched"] = json!(self.touched);
        let time = self.milliseconds();
        total["milliseconds"] = json!(time.map(|t| rounded(t.0, 4)));
        total["milliseconds_uncached"] = json!(time.and_then(|t| t.1).map(|v| rounded(v, 4)));
        total["microjoules"] = json!(self.microjoules().map(|v| rounded(v, 2)));
        let layers: Vec<Value> = self
            .layers
            .iter()
            .map(|l| {
                let mut value = json!({
                    "name": l.name, "op": l.op, "family": l.family, "output_shape": l.output_shape,
                });
                if let (Value::Object(to), Value::Object(from)) = (&mut value, l.figures.json()) {
                    to.extend(from);
                }
                value
            })
            .collect();
        value["total"] = total;
        value["layers"] = json!(layers);
        if !self.loops.is_empty() {
            value["loops"] = self.loops.iter().map(loop_json).collect();
            value["llvm_mca"] = json!(loops::verdict(&self.loops));
        }
    }

    fn table(&self) -> String {
        let mut out = String::new();
        if self.layers.iter().any(|l| l.figures.counted.is_some()) {
            out += &self.layer_table();
        }
        let c = self.counted();
        let mut line = |name: &str, value: String| out.push_str(&format!("{name:<22}{value}\n"));
        let macs = |m: u64| per(c.cycles, m).map_or(String::new(), |v| format!("{v:.3}"));
        let unknown = || "unknown".to_string();
        line("instructions", count(c.instructions));
        if self.timed() {
            let loose = if c.overlapped == c.cycles {
                String::new()
            } else {
                format!(" ({} without the latency of vector results)", count(c.overlapped))
            };
            line("cycles, modelled", format!("{}{loose}", count(c.cycles)));
        }
        if let Some(p) = self.total.predicted {
            // Executed instructions are no cycles to hold a prediction against.
            let off = match self.timed() && c.cycles > 0 {
                true => format!(" ({:+.0} %)", (p / c.cycles as f64 - 1.0) * 100.0),
                false => String::new(),
            };
            line("cycles, predicted", format!("{}{off}", count(p.round() as u64)));
        }
        let word = if self.timed() { "cycles a MAC" } else { "instructions a MAC" };
        let live = if self.total.live_macs == self.total.macs {
            String::new()
        } else {
            format!(", {} a live one", macs(self.total.live_macs))
        };
        line(word, format!("{}{live}", macs(self.total.macs)));
        line("MACs", count(self.total.macs));
        line("loaded, stored", format!("{} B, {} B", count(c.load_bytes), count(c.store_bytes)));
        line("code", self.total.code.map_or_else(unknown, table::bytes));
        line("weights", table::bytes(self.total.weights));
        line("arena", table::bytes(self.total.arena));
        let touched = self.touched.map_or(String::new(), |t| format!(", touched {t} B"));
        line("stack, at most", format!("{}{touched}", self.stack.map_or_else(unknown, table::bytes)));
        if let (Some((ms, waited)), Some(clock)) = (self.milliseconds(), &self.target.clock) {
            let to = waited.map_or(String::new(), |w| format!(" to {w:.3}"));
            line("time", format!("{ms:.3}{to} ms at {} MHz", clock.hz / 1_000_000));
        }
        if let Some(uj) = self.microjoules() {
            line("energy", format!("{uj:.1} µJ"));
        }
        if !self.loops.is_empty() {
            out += &self.loop_table();
        }
        out
    }

    fn loop_table(&self) -> String {
        let rows = self
            .loops
            .iter()
            .map(|l| {
                vec![
                    l.function.clone(),
                    format!("{:#x}", l.start),
                    count(l.turns),
                    l.instructions.to_string(),
                    count(l.cycles),
                    format!("{:.1}", l.turn),
                    l.mca.map_or("-".into(), |c| format!("{c:.1}")),
                    l.off().map_or("-".into(), |off| format!("{:+.0} %", off * 100.0)),
                ]
            })
            .collect();
        let head = ["loop in", "at", "turns", "instructions", "cycles", "a turn", "llvm-mca", "off"];
        let said = loops::verdict(&self.loops).map_or(String::new(), |said| said + "\n");
        table::table(&head, rows, 1) + &said
    }

    fn layer_table(&self) -> String {
        let rows = self
            .layers
            .iter()
            .filter_map(|l| {
                let c = l.figures.counted?;
                let number =
                    |v: Option<f64>, digits: usize| v.map_or("-".into(), |v| format!("{v:.digits$}"));
                Some(vec![
                    table::name(&l.name),
                    l.op.clone(),
                    l.family.clone(),
                    table::shape(&l.output_shape),
                    count(l.figures.macs),
                    count(c.cycles),
                    l.figures.predicted.map_or("-".into(), |p| count(p.round() as u64)),
                    number(per(c.cycles, l.figures.macs), 3),
                    count(c.instructions),
                    count(c.load_bytes),
                    count(c.store_bytes),
                    l.figures.code.map_or("-".into(), |c| count(c as u64)),
                ])
            })
            .collect();
        let head = [
            "layer",
            "operator",
            "kernel",
            "output",
            "MACs",
            "cycles",
            "predicted",
            "a MAC",
            "instructions",
            "loaded B",
            "stored B",
            "native B",
        ];
        table::table(&head, rows, 4)
    }
}
