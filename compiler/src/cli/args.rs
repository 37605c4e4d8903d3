//! Flags that several subcommands share, and how they become the entry's arguments.

use super::{data, model, output};
use crate::emit::names;
use crate::error::{Error, Fault, Result, Site};
use crate::options::{KernelWish, Language, Optimize, Options, Quantize};
use crate::tensor::Samples;
use clap::ValueEnum;
use secateur_targets::Target;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum QuantizeArg {
    Int8,
    None,
}

impl From<QuantizeArg> for Quantize {
    fn from(arg: QuantizeArg) -> Quantize {
        match arg {
            QuantizeArg::Int8 => Quantize::Int8,
            QuantizeArg::None => Quantize::None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OptimizeArg {
    /// Fewest cycles, for more flash, and for RAM up to three quarters of the chip's.
    Speed,
    /// Fast: weights grow by a quarter at most unless each byte saves 24 cycles; workspace takes 18 %
    /// of what the values take, 2.5 KiB at least and 4 KiB at most.
    Balanced,
    /// Least flash, for more cycles, and for at most an eighth more RAM than balanced takes, or 1 KiB.
    Size,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum EmitArg {
    C,
    Rust,
}

/// The flags of `compile` that every command with a model takes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ModelArgs {
    /// The trained model.
    pub(crate) model: PathBuf,
    /// Chip to compile for: a name from `secateur targets`, or a TOML file.
    #[arg(long, value_name = "NAME|FILE.toml")]
    pub(crate) target: Option<String>,
    /// Core of a chip that has no file; give `--flash` and `--ram` with it.
    #[arg(long, conflicts_with = "target", requires = "flash", requires = "ram")]
    pub(crate) core: Option<String>,
    /// Flash of that chip, as 256K, 1M or bytes.
    #[arg(long, requires = "core", value_parser = parse_size)]
    pub(crate) flash: Option<u64>,
    /// RAM of that chip.
    #[arg(long, requires = "core", value_parser = parse_size)]
    pub(crate) ram: Option<u64>,
    /// Go on where the model does not fit these memories, or those of the chip, with a warning.
    #[arg(long)]
    pub(crate) allow_overflow: bool,
    /// Name of the emitted module and C prefix; the file's name by default.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Arithmetic of the emitted code.
    #[arg(long, value_enum, default_value = "int8")]
    pub(crate) quantize: QuantizeArg,
    /// What to spend: flash and RAM for cycles, or cycles and a little RAM for flash.
    #[arg(long, value_enum, default_value = "balanced")]
    pub(crate) optimize: OptimizeArg,
    /// A kernel variant that layers must run, instead of the fastest; repeat for more. Names as the
    /// report prints them, or `portable`; `*` and `?` in the name of a layer stand for any text
    /// and for one character.
    #[arg(long, value_name = "GLOB=VARIANT", value_parser = parse_kernel)]
    pub(crate) kernel: Vec<KernelWish>,
    /// Unlabelled samples to calibrate a float model with, or values of a QDQ model that have no
    /// scale (.npy, or .npz with one key an input).
    #[arg(long, value_name = "X.npy|X.npz")]
    pub(crate) calibrate: Option<PathBuf>,
    /// Size of a symbolic dimension; repeat for more.
    #[arg(long, value_name = "NAME=N", value_parser = parse_dim)]
    pub(crate) dim: Vec<(String, usize)>,
}

fn parse_size(text: &str) -> Result<u64, String> {
    secateur_targets::parse_size(text).map_err(|e| e.to_string())
}

pub(crate) fn parse_dim(text: &str) -> Result<(String, usize), String> {
    let (name, size) = text.rsplit_once('=').ok_or("give NAME=N")?;
    match size.parse() {
        Ok(n) if n > 0 => Ok((name.to_string(), n)),
        _ => Err("the size must be a positive integer".into()),
    }
}

fn parse_kernel(text: &str) -> Result<KernelWish, String> {
    match text.rsplit_once('=') {
        Some((layers, variant)) if !layers.is_empty() && !variant.is_empty() => {
            Ok(KernelWish { layers: layers.into(), variant: variant.into() })
        }
        _ => Err("give GLOB=VARIANT, as in 'conv*=gemm'".into()),
    }
}

/// A model with everything that `compile` needs.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) model: Vec<u8>,
    pub(crate) target: Target,
    pub(crate) calibration: Option<Samples>,
    pub(crate) options: Options,
}

impl ModelArgs {
    /// Reads the files and resolves the target.
    pub(crate) fn job(&self) -> Result<Job> {
        let model = model::read(&self.model)?;
        let name = self.name.clone().unwrap_or_else(|| {
            let (name, note) = name_of(&self.model);
            note.iter().for_each(|note| eprintln!("note: {note}"));
            name
        });
        let calibration = self.calibrate.as_deref().map(data::read_samples).transpose()?;
        let options = Options {
            name,
            quantize: self.quantize.into(),
            optimize: match self.optimize {
                OptimizeArg::Speed => Optimize::Speed,
                OptimizeArg::Balanced => Optimize::Balanced,
                OptimizeArg::Size => Optimize::Size,
            },
            kernels: self.kernel.clone(),
            emit: Vec::new(),
            dims: self.dim.iter().cloned().collect(),
            allow_overflow: self.allow_overflow,
            ..Options::default()
        };
        Ok(Job { model, target: self.target()?, calibration, options })
    }

    fn target(&self) -> Result<Target> {
        let refused = |e: secateur_targets::TargetError, option: &str| {
            Error::new(Fault::Target, Site::Option(option.into()), e.to_string())
        };
        if let (Some(core), Some(flash), Some(ram)) = (&self.core, self.flash, self.ram) {
            return secateur_targets::core_only(core, flash, ram).map_err(|e| refused(e, "core"));
        }
        match self.target.as_deref() {
            None => secateur_targets::find("host").map_err(|e| refused(e, "target")),
            Some(file) if file.ends_with(".toml") => {
                let path = Path::new(file);
                let text = String::from_utf8(output::read(path)?)
                    .map_err(|_| Error::new(Fault::Target, Site::File(file.into()), "is not UTF-8 text"))?;
                secateur_targets::parse(&text)
                    .map_err(|e| Error::new(Fault::Target, Site::File(file.into()), e.to_string()))
            }
            Some(name) => secateur_targets::find(name).map_err(|e| refused(e, "target")),
        }
    }
}

impl Job {
    /// The same job, emitting the given languages.
    pub(crate) fn emitting(mut self, mut languages: Vec<Language>) -> Self {
        languages.sort_unstable();
        languages.dedup();
        self.options.emit = languages;
        self
    }
}

/// A model's name from that of its file, and what to say where more than spelling changed.
pub(crate) fn name_of(path: &Path) -> (String, Option<String>) {
    let stem = path.file_stem().map(|s| s.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let name = names::adapted(&stem);
    // A name of the usual characters is refused for what it means, or for its length.
    let usual = names::spelled(&stem);
    let note = names::refusal(&usual)
        .map(|reason| format!("the model's name is `{name}`: `{usual}` {reason} (`--name` gives another)"));
    (name, note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_parse() {
        assert_eq!(parse_dim("unk=1=3"), Ok(("unk=1".into(), 3)));
        assert!(parse_dim("n").is_err() && parse_dim("n=0").is_err());
    }

    #[test]
    fn names_are_identifiers() {
        assert_eq!(name_of(Path::new("a/KWS v1.2.onnx")), ("kws_v1_2".into(), None));
        assert_eq!(name_of(Path::new("1d.onnx")), ("model_1d".into(), None));
        for (file, name) in [
            ("static.onnx", "static_model"),
            ("dyn.onnx", "dyn_model"),
            ("final.onnx", "final_model"),
            ("main.onnx", "main_model"),
            ("String.onnx", "string_model"),
            ("efficientnet_lite0_224_int8.onnx", "efficientnet_lite0_35c6"),
        ] {
            let (found, note) = name_of(Path::new(file));
            assert_eq!(found, name);
            assert!(note.is_some_and(|n| n.contains(name)), "{file}");
        }
    }
}
