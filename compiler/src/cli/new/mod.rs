//! `secateur new`: a firmware project around a model, which builds and runs as it stands.
//!
//! In: a folder that does not exist, a chip, a model (the bundled one if none is named) with its options. Out: the
//! folder: the model as it was and as it was compiled, start code, linker scripts, a program, a README. Law: the folder
//! is there whole or not at all; a chip that does not start a plain image is refused.

mod fill;
mod place;
mod project;

use super::args::{Job, ModelArgs, NEW};
use super::disk::Disk;
use super::progress::Terminal;
use super::{config, demo, engine, output, signals, warn};
use crate::emit::names;
use crate::error::{Error, Fault, Result, Site};
use crate::options::{self, Arena, ChipName, FILE_NAME, FilePath, Given, Layout, Place, Settings};
use project::Project;
use secateur_targets::{Image, Region, Target};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder of the project, which is made; its last part is the project's name.
    #[arg(value_name = "NAME")]
    folder: PathBuf,
    /// What builds it.
    #[arg(long, value_name = "LAYOUT", value_enum, default_value = "make")]
    layout: Builds,
    #[command(flatten)]
    model: ModelArgs<NEW>,
}

/// What builds a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Builds {
    /// C and a Makefile
    Make,
    /// C and CMake
    Cmake,
    /// Rust and Cargo
    Cargo,
}

impl Builds {
    fn layout(self) -> Layout {
        match self {
            Builds::Make => Layout::Make,
            Builds::Cmake => Layout::Cmake,
            Builds::Cargo => Layout::Cargo,
        }
    }
}

/// Targets that CMake has in every project.
const TARGETS: &[&str] =
    &["all", "clean", "edit_cache", "help", "install", "package", "rebuild_cache", "run", "test"];

/// The longest name of a project.
const LONGEST: usize = 60;

pub(crate) fn main(args: &Args) -> Result<()> {
    let name = project_name(&args.folder)?;
    if std::fs::symlink_metadata(&args.folder).is_ok() {
        let site = Site::File(args.folder.display().to_string());
        return Err(Error::new(Fault::Environment, site, "exists already")
            .help("name a folder that does not: nothing is written into one that does"));
    }
    let layout = args.layout.layout();
    let mut kept = Kept::default();
    let mut job = job(args, layout, &mut kept)?;
    startable(&job.target)?;
    if job.options.arena == Arena::Shared {
        return Err(Error::option("arena", "a new project has one model, whose arena nobody shares")
            .help("leave `--arena shared` out"));
    }
    job.options.layout = layout;
    job.options.emit = layout.language().into_iter().collect();
    let mut observer = Terminal::new();
    let artifact = engine::measured(&job, &mut observer)?;
    drop(observer);
    warn(&artifact.report.warnings);
    let need = artifact.report.total.stack.unwrap_or(artifact.report.total.native_stack + UNTOLD);
    let ram = ram(&job.target, artifact.report.total.arena + need + SPARE)?;
    let project = Project {
        name,
        layout,
        artifact: &artifact,
        target: &job.target,
        ram,
        stack: need,
        model: &kept.model,
    };
    let mut files = project.files()?;
    files.push((format!("models/{}", kept.model), job.model.clone()));
    files.push((format!("models/{FILE_NAME}"), kept.options.into_bytes()));
    files.extend(kept.files.into_iter().map(|(name, bytes)| (format!("models/{name}"), bytes)));
    signals::check()?;
    place::place(&Disk::default(), &args.folder, &files)?;
    output::print(&format!(
        "{} for {}: {} files in {}\n{}",
        project.name,
        job.target.name,
        files.len(),
        args.folder.display(),
        project.commands(&args.folder)
    ))
}

/// Bytes of stack for the program around the model, and for a model whose stack no compiler told.
const SPARE: usize = 2048;
const UNTOLD: usize = 1024;

/// The project's name, which becomes that of a program, a package and a target of CMake.
fn project_name(folder: &Path) -> Result<String> {
    let name = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let reserved = TARGETS.contains(&name.to_ascii_lowercase().as_str());
    let word = names::refusal(&name.replace('-', "_")).filter(|_| name.len() <= names::LONGEST);
    let why = match word {
        _ if !plain || !starts || name.len() > LONGEST => {
            format!(
                "is no name for a project: letters, digits, `-` and `_`, beginning with a letter, at most {LONGEST}"
            )
        }
        _ if reserved => "is a target of every build".to_owned(),
        Some(why) => why,
        None => return Ok(name),
    };
    Err(Error::option("NAME", format!("`{}` {why}", crate::emit::printable(&name)))
        .help("give the folder another name"))
}

/// What of the model's files goes into the project.
#[derive(Debug, Default)]
struct Kept {
    /// File name of the model.
    model: String,
    /// Text of its `secateur.toml`.
    options: String,
    files: Vec<(String, Vec<u8>)>,
}

/// What is compiled, with the files that are kept of it; those are named in the settings by their new places.
fn job(args: &Args, layout: Layout, kept: &mut Kept) -> Result<Job> {
    let (mut job, mut settings) = match args.model.model.as_os_str().is_empty() {
        true => {
            let mut settings = args.model.flags()?;
            let mut job = demo::bundled()?;
            job.target = config::target(&settings)?;
            let name =
                settings.name.get_or_insert(Given { value: job.options.name.clone(), place: Place::Default });
            let name = name.value.clone();
            if let Some(given) = &settings.calibrate {
                job.calibration = Some(super::data::read_all(&given.value.0, None)?);
            } else {
                kept.files.push(("calibration.npy".to_owned(), demo::CALIBRATION.to_vec()));
            }
            job.options = crate::options::Options { name, ..settings.options() };
            (job, settings)
        }
        false => {
            let job = args.model.job()?;
            let settings = job.settings.clone();
            (job, settings)
        }
    };
    job.settings = settings.clone();
    kept.model = format!("{}.onnx", names::base_name(&job.options.name));
    let several = settings.calibrate.as_ref().is_some_and(|given| given.value.0.len() > 1);
    for (key, file) in settings.calibrate.iter_mut().flat_map(|given| &mut given.value.0) {
        let path = PathBuf::from(&file.value.0);
        let whole = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
        // A folder of recordings stays where it is.
        file.value = FilePath(whole.display().to_string());
        if path.is_file() {
            let ending = path.extension().map_or(String::new(), |e| format!(".{}", e.to_string_lossy()));
            let name = match several {
                true => format!("calibration_{}{ending}", names::identifier(key)),
                false => format!("calibration{ending}"),
            };
            kept.files.push((name.clone(), output::read(&path)?));
            file.value = FilePath(name);
        }
    }
    if let Some(given) = &mut settings.target
        && let ChipName::File(FilePath(file)) = &given.value
    {
        kept.files.push(("chip.toml".to_owned(), output::read(Path::new(file))?));
        given.value = ChipName::File(FilePath("chip.toml".to_owned()));
    }
    kept.options = options_text(&settings, &job, layout, kept)?;
    Ok(job)
}

/// The `secateur.toml` beside the model: what was given, so that `secateur compile` says it again.
fn options_text(settings: &Settings, job: &Job, layout: Layout, kept: &Kept) -> Result<String> {
    let mut settings = settings.clone();
    let given = |value| Given { value, place: Place::Flag };
    settings.layout = Some(given(layout));
    settings.emit = None;
    settings.name = Some(Given { value: job.options.name.clone(), place: Place::Flag });
    let bundled =
        settings.calibrate.is_none() && !kept.files.is_empty() && kept.files[0].0 == "calibration.npy";
    let text = options::print(
        &settings,
        &format!("How {} is compiled: secateur compile models/{} -o model", kept.model, kept.model),
    );
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().filter(|l| !l.ends_with(": not given") && !l.ends_with("  # default")) {
        // Where it was said first is no news here.
        let line = line.rsplit_once("  # ").map_or(line, |(before, _)| before);
        lines.push(line.to_owned());
        if bundled && lines.len() == 1 {
            lines.push("calibrate = \"calibration.npy\"".to_owned());
        }
    }
    Ok(lines.join("\n") + "\n")
}

/// Refuses a target of which no whole firmware can be made.
fn startable(target: &Target) -> Result<()> {
    let refused = |why: String| Err(Error::new(Fault::Target, Site::Option("target".into()), why));
    let known = || {
        let all = secateur_targets::all().unwrap_or_default();
        let names: Vec<String> = all
            .into_iter()
            .filter(|t| t.boot.as_ref().is_some_and(|b| b.image.is_some()))
            .map(|t| t.name)
            .collect();
        format!("projects are made for {}", names.join(", "))
    };
    let boot = match &target.boot {
        Some(boot) if boot.image.is_some() => boot,
        Some(boot) => {
            let why = format!("no project is made for {}: {}", target.name, boot.refused);
            return refused(why).map_err(|e: Error| {
                e.help("`secateur compile --layout cmake` makes a library for the maker's own project")
            });
        }
        None => {
            let why = match target.is_host() {
                true => "no chip is named".to_owned(),
                false => format!("no project is made for {}: how it starts is not known", target.name),
            };
            return refused(why).map_err(|e: Error| e.help(known()));
        }
    };
    let suits = match boot.image {
        Some(Image::Rp2040) => target.has("thumb"),
        _ => target.has("thumb") || target.has("rv32"),
    };
    if !suits || target.core.emulator.is_none() {
        return refused(format!("no start code is known for {} with core {}", target.name, target.core.name));
    }
    Ok(())
}

/// The memory for data and stack: the first that is large enough.
fn ram(target: &Target, need: usize) -> Result<&Region> {
    let names = target.boot.iter().flat_map(|b| &b.ram);
    let regions: Vec<&Region> =
        names.filter_map(|name| target.memory.ram.iter().find(|r| r.name == *name)).collect();
    regions.iter().copied().find(|r| r.size.0 >= need as u64).ok_or_else(|| {
        let sizes: Vec<String> = regions.iter().map(|r| format!("{} ({} bytes)", r.name, r.size.0)).collect();
        let why = format!(
            "arena and stack take {need} bytes with the program around the model, and no memory of {} that can be used \
             from reset on is so large: {}",
            target.name,
            sizes.join(", ")
        );
        Error::new(Fault::Target, Site::Option("target".into()), why)
            .help("try `--optimize size`, or a chip with more memory")
    })
}

#[cfg(test)]
mod tests;
