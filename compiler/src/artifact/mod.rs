//! `compile`: the one entry that every front calls, and what it returns.

mod outlook;
mod rivals;

pub use outlook::{outlook, supported};

use crate::counts;
use crate::emit::{self, EmitOptions, File};
use crate::error::{Error, Fault, Result, Site};
use crate::graph::{self, Graph};
use crate::observe::Observer;
use crate::options::{Arena, Budgets, Language, Layout, Options, Quantize};
use crate::policy::Policy;
use crate::program::{self, Program};
use crate::quantize::Scaled;
use crate::report::{self, NotMeasured, Report, Rival};
use crate::schedule::{self, Library, Schedule};
use crate::tensor::{Samples, Tensor};
use crate::warning::Warning;
use crate::weigh::{self, Plan};
use crate::{lower, onnx, passes, prune, quantize};
use secateur_targets::Target;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Everything that a compilation gives.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// The model as imported: its float meaning.
    pub imported: Graph,
    /// Values of `graph` that are those of `imported` divided by a number for each channel, by name.
    pub scaled: BTreeMap<String, Scaled>,
    /// The graph after passes and quantization.
    pub graph: Graph,
    pub schedule: Schedule,
    pub program: Program,
    pub files: Vec<File>,
    /// ONNX files of the model, by name, if options ask for them: `NAME.onnx` in floats, as it is after passes
    /// and pruning, and `NAME_qdq.onnx` with what is stored as integers.
    pub models: Vec<(String, Vec<u8>)>,
    /// Text forms asked for by `Options::dump_after`: stage name, text.
    pub dumps: Vec<(String, String)>,
    pub report: Report,
    /// SHA-256 of model, options, target and calibration, as hexadecimal text.
    pub digest: String,
    /// What `files` holds, and how it was printed.
    languages: Vec<Language>,
    settings: EmitOptions,
    /// Warnings of the report that stand for bytes which do not fit.
    overflow: Vec<Warning>,
    /// What may be taken at most, and what other options take where it may be too little.
    budgets: (Budgets, Vec<Rival>),
}

/// Names that `--dump-after` takes besides those of passes.
pub const STAGES: &[&str] = &["import", "prune", "equalize", "quantize", "schedule", "lower"];

/// Compiles a model for a target.
///
/// `model` holds the bytes of an ONNX file, `calibration` unlabelled samples: needed to quantize
/// a float model, and used for those values of a quantized one that have no scale of their own.
pub fn compile(
    model: &[u8],
    target: &Target,
    calibration: Option<&Samples>,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<Artifact> {
    let mut artifact = compile_to_measure(model, target, calibration, options, observer)?;
    artifact.hold(options.allow_overflow)?;
    Ok(artifact)
}

/// The same for who builds and measures the code: whether memories and budgets hold is asked then, by
/// [`Artifact::hold`].
///
/// Errors: those of [`compile`] but for what does not fit.
pub fn compile_to_measure(
    model: &[u8],
    target: &Target,
    calibration: Option<&Samples>,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<Artifact> {
    compile_unhelped(model, target, calibration, options, observer).map_err(helped)
}

fn compile_unhelped(
    model: &[u8],
    target: &Target,
    calibration: Option<&Samples>,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<Artifact> {
    check(options)?;
    let mut dumps = Vec::new();
    let wanted = |stage: &str| options.dump_after.iter().any(|d| d == stage);
    let step = |observer: &mut dyn Observer, name: &str| {
        observer.progress(name, 0, 0);
        if observer.cancelled() {
            return Err(Error::new(Fault::Cancelled, Site::Whole, "stopped on request"));
        }
        Ok(())
    };

    step(observer, "import")?;
    let imported = onnx::import_with(model, options)?;
    graph::verify(&imported)?;
    if wanted("import") {
        dumps.push(("import".to_string(), graph::print(&imported)));
    }

    step(observer, "passes")?;
    let mut graph = imported.clone();
    passes::run(&mut graph, &mut |name, graph| {
        if wanted(name) {
            dumps.push((name.to_string(), graph::print(graph)));
        }
    })?;

    if options.quantize != Quantize::None && !quantize::is_quantized(&graph) {
        quantize::warn_of_kept(&mut graph);
    }

    step(observer, "prune")?;
    let pruned = prune::prune(&mut graph, calibration, (options, prune::native(&target.core)), observer)?;
    if wanted("prune") {
        dumps.push(("prune".to_string(), graph::print(&graph)));
    }

    let mut models = Vec::new();
    let mut export = |graph: &Graph, ending: &str| -> Result<()> {
        let path = format!("{}{ending}.onnx", options.name);
        models.push((path.clone(), onnx::export(graph, &emit::origin(&path, &options.name))?));
        Ok(())
    };
    let quantized = quantize::is_quantized(&graph);
    if options.onnx && !quantized {
        export(&graph, "")?;
    }
    if quantized && let Some(samples) = calibration {
        step(observer, "calibrate")?;
        if !quantize::complete(&mut graph, samples, observer)? {
            unused(&mut graph, "every value of the model has a scale of its own");
        }
    } else if options.quantize == Quantize::None && calibration.is_some() && pruned.layers.is_empty() {
        unused(&mut graph, "the model stays in floats");
    }
    let unread = calibration.map(|samples| crate::samples::warnings(samples, &graph));
    unread.into_iter().flatten().for_each(|warning| graph.warn(warning));
    let integers = options.quantize != Quantize::None && !quantized && quantize::worthwhile(&graph);
    if options.quantize != Quantize::None && !quantized && !integers {
        stays_real(&mut graph, calibration.is_some());
    }
    let named =
        [("int4", &options.int4), ("int16", &options.int16)].map(|(name, all)| (name, !all.is_empty()));
    for (name, given) in named.into_iter().chain([("range", !options.ranges.is_empty())]) {
        if given && !integers {
            let text = "has no use: only a float model that is calibrated to int8 has values to choose for";
            graph.warn(Warning::new(Site::Option(name.into()), text).help(format!("leave `--{name}` out")));
        }
    }
    let mut scaled = BTreeMap::new();
    if integers {
        step(observer, "calibrate")?;
        let samples = calibration.ok_or_else(|| {
            Error::option("calibrate", "a float model needs calibration samples to become int8")
                .help("give samples with `--calibrate X.npy`, or keep floats with `--quantize none`")
        })?;
        scaled = quantize::equalize(&mut graph, samples, options, observer)?;
        if wanted("equalize") {
            dumps.push(("equalize".to_string(), graph::print(&graph)));
        }
        let pruned = pruned.layers.iter().map(|l| l.layer.clone()).collect();
        quantize::quantize(&mut graph, samples, options, &pruned, observer)?;
        graph::verify(&graph)?;
    }
    let (library, policy) = (Library::new(target), Policy::from(options));
    let mut weighed = None;
    passes::run_quantized_by(
        &mut graph,
        &mut |forms| {
            step(observer, "weigh")?;
            let (which, plan) = weigh::best(forms, &library, policy)?;
            weighed = Some(plan);
            Ok(which)
        },
        &mut |name, graph| {
            if wanted(name) {
                dumps.push((name.to_string(), graph::print(graph)));
            }
        },
    )?;
    if wanted("quantize") {
        dumps.push(("quantize".to_string(), graph::print(&graph)));
    }

    quantize::warn_of_states(&mut graph);
    step(observer, "schedule")?;
    let Plan { schedule, mut program } = match weighed {
        Some(plan) => plan,
        None => weigh::plan(&graph, &library, policy)?,
    };
    heard(&graph, options)?;
    if wanted("schedule") {
        dumps.push(("schedule".to_string(), schedule::print(&graph, &schedule)));
    }
    program.name.clone_from(&options.name);
    emit::names::rename(&mut program, &options.renames)?;
    program.shares_arena = options.arena == Arena::Shared;
    lower::declare(&mut program, &imported);
    program::prove(&program)?;
    if wanted("lower") {
        dumps.push(("lower".to_string(), program::print(&program)));
    }

    step(observer, "emit")?;
    if options.onnx && quantize::is_quantized(&graph) {
        export(&graph, "_qdq")?;
    }
    let digest = digest(model, target, calibration, options);
    let mut report = Report::new(&program, target);
    report.warnings = graph.warnings().to_vec();
    report.price(&graph, &schedule, target);
    report.prune(&pruned, &graph, &schedule);
    // Speed and size are paid for with memory: say how much.
    report.total.arena_balanced = match policy.spends_flash() {
        true => Some(schedule::schedule_with(&graph, &library, policy.balanced())?.arena),
        false => schedule.arena_balanced,
    };
    let counts = counts::of(&program, &options.sensors)?;
    let settings = EmitOptions { digest: digest.clone(), counts, ..EmitOptions::of(target, options) };
    let languages = options.emit.clone();
    let mut artifact = Artifact {
        imported,
        scaled,
        graph,
        schedule,
        program,
        files: Vec::new(),
        models,
        dumps,
        report,
        digest,
        languages,
        settings,
        overflow: Vec::new(),
        budgets: (options.budgets, Vec::new()),
    };
    artifact.report.outline(emit::outline(&artifact.program, &artifact.settings)?, target);
    artifact.settings.predicted_code = artifact.report.total.predicted_code;
    artifact.files = artifact.emit(&artifact.languages)?;
    artifact.budgets.1 = rivals::rivals(&artifact, (model, target), calibration, options, observer)?;
    Ok(artifact)
}

/// What zeros in each layer of a float model cost its outputs: see [`sensitivity`].
#[derive(Debug, Clone)]
pub struct Sensitivity {
    /// The graph after passes.
    pub graph: Graph,
    pub tasks: Vec<prune::Task>,
    /// For each task a point a level.
    pub curves: Vec<Vec<prune::Point>>,
    /// How many samples there are, on which of them the outputs were compared, and those of the dense model.
    pub samples: usize,
    pub probes: Vec<usize>,
    pub outputs: Vec<Vec<Tensor>>,
}

/// Prunes one layer of a float model at a time, at each of some levels, and compares the outputs on at most
/// `limit` of the samples; `listen` gets those outputs in the order of the curves.
///
/// Errors: as [`compile`]; a model that brought its own quantization.
pub fn sensitivity(
    model: &[u8],
    samples: &Samples,
    options: &Options,
    levels: &[f64],
    limit: usize,
    observer: &mut dyn Observer,
    listen: &mut dyn FnMut(&[Vec<Tensor>]),
) -> Result<Sensitivity> {
    let mut graph = onnx::import_with(model, options).map_err(helped)?;
    passes::run(&mut graph, &mut |_, _| {})?;
    if quantize::is_quantized(&graph) {
        let why = "the model brought its own quantization, and such a one is not pruned";
        return Err(Error::model(Site::Whole, why).help("ask about the float model that it was made from"));
    }
    prune::by_layer(options)?;
    let tasks = prune::tasks(&graph, options)?;
    let inputs = crate::samples::carried(samples, &graph)?;
    let probes = prune::probes(inputs.len(), limit);
    let outputs = probes.iter().map(|&i| graph::run(&graph, &inputs[i])).collect::<Result<_>>()?;
    let mut heard = |_: &prune::Task, _: f64, have: &[Vec<Tensor>]| {
        listen(have);
        Ok(())
    };
    let altered = prune::altered(&graph, &inputs, options)?;
    let curves = prune::survey(&graph, &tasks, levels, &altered, &probes, observer, &mut heard)?;
    Ok(Sensitivity { samples: inputs.len(), graph, tasks, curves, probes, outputs })
}

/// Every wish for a kernel is for a layer that there is.
fn heard(graph: &Graph, options: &Options) -> Result<()> {
    for wish in &options.kernels {
        if !graph.nodes().any(|(_, node)| wish.wants(&node.name)) {
            let names: Vec<String> = graph.nodes().map(|(_, node)| format!("`{}`", node.name)).collect();
            let why = format!("no layer is called `{}`", wish.layers);
            let help = format!("the layers are {}", names.join(", "));
            return Err(Error::entry("kernel", &wish.layers, why).help(help));
        }
    }
    Ok(())
}

/// Says what to do about a model's fault where nothing better is said.
fn helped(error: Error) -> Error {
    if error.fault == Fault::Model { error.or_help(onnx::HELP) } else { error }
}

impl Artifact {
    /// The program in some languages, whatever the options asked for.
    pub fn emit(&self, languages: &[Language]) -> Result<Vec<File>> {
        let mut files = Vec::new();
        for language in languages {
            files.extend(match language {
                Language::C => emit::c::emit(&self.program, &self.settings)?,
                Language::Rust => emit::rust::emit(&self.program, &self.settings)?,
            });
        }
        files.extend(emit::around(&self.program, &self.settings, &files));
        Ok(files)
    }

    /// The program's C as Rust sees it: the interface of the emitted Rust.
    pub fn wrapper(&self) -> Result<String> {
        emit::wrapper_text(&self.program, &self.settings)
    }

    /// The program with a call of `secateur_layer` before each layer.
    pub fn emit_marked(&self, language: Language) -> Result<Vec<File>> {
        let settings = EmitOptions { marks: true, layout: Layout::Files, ..self.settings.clone() };
        match language {
            Language::C => emit::c::emit(&self.program, &settings),
            Language::Rust => emit::rust::emit(&self.program, &settings),
        }
    }

    /// Refuses a program that takes more than its budgets, or does not fit the target's memories, by what the
    /// report knows. Only the latter may be allowed, with a warning.
    pub fn hold(&mut self, allow: bool) -> Result<()> {
        self.report.warnings.retain(|w| !self.overflow.contains(w));
        self.overflow.clear();
        let mut errors: Vec<Error> =
            report::hold_budgets(&self.report, &self.budgets.0, &self.budgets.1).err().into_iter().collect();
        match report::overflow(&self.report) {
            None => {}
            Some(e) if !allow => errors.push(e),
            Some(mut e) => {
                let others = std::mem::take(&mut e.others);
                self.overflow =
                    [e].into_iter().chain(others).map(|e| Warning::new(e.site, e.message)).collect();
                self.report.warnings.extend(self.overflow.iter().cloned());
            }
        }
        Error::join(errors).map_or(Ok(()), Err)
    }

    /// Adds what a build for the target told: bytes of machine code and of stack, and why one is
    /// missing. Report and files say so from then on.
    pub fn measured(
        &mut self,
        code: Option<usize>,
        stack: Option<usize>,
        missing: Option<NotMeasured>,
    ) -> Result<()> {
        (self.report.total.code, self.report.total.stack) = (code, stack);
        (self.settings.code, self.settings.stack) = (code, stack);
        self.settings.not_measured = missing.as_ref().map(|m| m.why.clone());
        self.report.total.not_measured = missing;
        self.files = self.emit(&self.languages)?;
        Ok(())
    }
}

/// Warns of calibration samples that nothing reads.
fn unused(graph: &mut Graph, why: &str) {
    let text = format!("{why}, so the calibration samples are not used");
    graph.warn(Warning::new(Site::Option("calibrate".into()), text).help("leave the samples out"));
}

/// Warns that a model which was to be quantized stays in floats.
fn stays_real(graph: &mut Graph, samples: bool) {
    let text =
        "no layer of the model computes on integers (decision trees compare floats), so it stays in floats";
    let help = match samples {
        true => "leave the calibration samples out, which are not used, or say so with `--quantize none`",
        false => "say so with `--quantize none`",
    };
    graph.warn(Warning::new(Site::Option("quantize".into()), text).help(help));
}

fn check(options: &Options) -> Result<()> {
    if let Some(reason) = emit::names::refusal(&options.name) {
        return Err(Error::option("name", format!("`{}` {reason}", emit::printable(&options.name)))
            .help(format!("give another name, as `{}`", emit::names::adapted(&options.name))));
    }
    emit::check_layout(options)?;
    emit::check_section(options)?;
    for stage in &options.dump_after {
        let known = STAGES.iter().copied().chain(passes::names());
        if !known.clone().any(|s| s == stage) {
            let names: Vec<&str> = known.collect();
            return Err(Error::option("dump-after", format!("no pass or stage is called `{stage}`"))
                .help(format!("there are: {}", names.join(", "))));
        }
    }
    Ok(())
}

/// A digest of all that decides the output, for the banner: same digest, same output.
fn digest(model: &[u8], target: &Target, calibration: Option<&Samples>, options: &Options) -> String {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(env!("CARGO_PKG_VERSION").as_bytes());
    part(model);
    // How firmware starts changes nothing of the model.
    part(format!("{:?}", Target { boot: None, ..target.clone() }).as_bytes());
    // What is let pass changes no byte of the output.
    part(
        format!("{:?}", Options { allow_overflow: false, budgets: Budgets::default(), ..options.clone() })
            .as_bytes(),
    );
    for (name, tensor) in calibration.iter().flat_map(|s| &s.arrays) {
        part(name.as_bytes());
        part(format!("{:?}", tensor.shape()).as_bytes());
        part(&tensor.data().to_le_bytes());
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
