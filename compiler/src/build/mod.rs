//! The front for build scripts: a model becomes Rust or C in `OUT_DIR` while Cargo builds the crate around it.
//!
//! In: the script's calls, the variables that Cargo sets, the model's files. Out: a module of Rust, the same whether the
//! model runs as Rust or as C; that C as a library, linked with the crate; what Cargo has to watch. Law: options are
//! those of the table that flags and the macro's arguments come from; the code is what they give.
//!
//! ```no_run
//! // build.rs; with `secateur-compiler = { version = "0.1", default-features = false, features = ["build"] }`
//! // among the [build-dependencies]
//! secateur_compiler::build::Model::new("models/kws.onnx")
//!     .target("nrf52840")
//!     .calibrate("models/kws_calib.npy")
//!     .option("optimize", "size")
//!     .emit_rust()
//!     .compile();
//! ```
//!
//! and in the crate, which depends on `secateur = { version = "0.1", default-features = false }`:
//!
//! ```ignore
//! mod kws {
//!     include!(concat!(env!("OUT_DIR"), "/kws.rs"));
//! }
//! use kws::Kws;
//! ```

mod library;

use crate::artifact::{Artifact, compile};
use crate::emit::names;
use crate::error::{Error, Fault, Result, Site};
use crate::files::{self, Diagnostic, config, data, model};
use crate::observe::Silent;
use crate::options::{
    ChipName, FILE_NAME, Front, Given, Language, Layout, Options, Place, Settings, declared, unknown_argument,
};
use crate::warning::Warning;
use std::path::{Path, PathBuf};

/// A model, and how it is compiled.
#[derive(Debug, Clone)]
pub struct Model {
    path: PathBuf,
    config: Option<PathBuf>,
    settings: Settings,
    language: Language,
    /// The first call that was wrong.
    wrong: Option<Error>,
}

/// What a build script made.
#[derive(Debug, Clone)]
pub struct Built {
    /// The module of Rust in `OUT_DIR`, to be included.
    pub module: PathBuf,
    /// The files that decide what was made: Cargo runs the script again when one changes.
    pub read: Vec<PathBuf>,
    /// What the compiler has to say.
    pub warnings: Vec<String>,
}

impl Model {
    /// A trained model. Paths are relative to the package, as Cargo runs build scripts there; a `secateur.toml` in the
    /// model's folder is read too, and what the script says goes over it.
    pub fn new(path: impl AsRef<Path>) -> Model {
        Model {
            path: path.as_ref().to_owned(),
            config: None,
            settings: Settings::default(),
            language: Language::Rust,
            wrong: None,
        }
    }
    /// The name of the module, of its files and, in camel case, of the struct; that of the model's file by default.
    pub fn name(self, name: &str) -> Model {
        self.option("name", name)
    }
    /// Chip to compile for: a name that `secateur targets` lists, or a TOML file.
    pub fn target(self, chip: &str) -> Model {
        self.option("target", chip)
    }
    /// Samples to calibrate with; of a model with several inputs `NAME=FILE` for each.
    pub fn calibrate(self, samples: &str) -> Model {
        self.option("calibrate", samples)
    }
    /// Any option, by its name and its value as the command line has them: `option("prune", "0.6")` for `--prune 0.6`.
    /// What takes no value there is `"true"` here; what can be repeated there, here too.
    pub fn option(mut self, name: &str, value: &str) -> Model {
        let known = declared(&name.replace('_', "-")).filter(|o| o.is_for(Front::Macro) || o.name == "name");
        let set = match known {
            None => {
                let wrong = unknown_argument(&name.replace('-', "_"), &Place::Argument(0));
                let help = "`emit_rust` and `emit_c` say what is emitted".to_owned();
                Err(Error { help: wrong.help.or(Some(help)), ..Error::option(name, wrong.message) })
            }
            Some(option) => option
                .word(value, Place::Argument(0))
                .and_then(|raw| self.settings.set(option.name, option.name, &raw))
                .map_err(|wrong| Error { help: wrong.help, ..Error::option(option.name, wrong.message) }),
        };
        if let Err(error) = set {
            self.wrong.get_or_insert(error);
        }
        self
    }
    /// The file of options, instead of the one in the model's folder.
    pub fn config(mut self, file: impl AsRef<Path>) -> Model {
        self.config = Some(file.as_ref().to_owned());
        self
    }
    /// The model runs as Rust.
    pub fn emit_rust(mut self) -> Model {
        self.language = Language::Rust;
        self
    }
    /// The model runs as C, compiled for the crate's target and linked with it. The Rust around it is the same.
    pub fn emit_c(mut self) -> Model {
        self.language = Language::C;
        self
    }

    /// Makes it, tells Cargo what to watch, and ends the build with what is wrong, as the command line says it.
    pub fn compile(&self) {
        match self.try_compile() {
            Ok(built) => {
                built.warnings.iter().for_each(|w| println!("cargo::warning={}", w.replace('\n', " ")));
            }
            Err(error) => {
                eprintln!("{:?}", miette::Report::new(Diagnostic(error)));
                std::process::exit(1);
            }
        }
    }

    /// The same, for who has more to do about it.
    ///
    /// Errors: an option that is wrong, a file that cannot be read, a model that is refused or does not fit its chip, a
    /// compiler for C that is missing or fails.
    pub fn try_compile(&self) -> Result<Built> {
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        let mut read = vec![self.path.clone()];
        let (mut settings, said) = self.read_settings(&mut read)?;
        let bytes = model::read_with(&self.path, &mut |beside| read.push(beside.to_owned()))?;
        let calibration = settings.calibrate.as_ref().map(|given| &given.value.0);
        for (_, file) in calibration.into_iter().flatten() {
            read.push(PathBuf::from(&file.value.0));
        }
        let column = settings.labels_column.as_ref().map(|given| given.value.as_str());
        let calibration = calibration.map(|files| data::read_all(files, column)).transpose()?;
        if let Some(ChipName::File(file)) = settings.target.as_ref().map(|given| &given.value) {
            read.push(PathBuf::from(&file.0));
        }
        let target = config::target(&settings)?;
        let stem =
            self.path.file_stem().map(|s| s.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        let name = settings
            .name
            .get_or_insert_with(|| Given { value: names::adapted(&stem), place: Place::Default });
        let name = names::rust_module(&name.value);
        let options = Options {
            name: name.clone(),
            emit: vec![self.language],
            onnx: false,
            layout: Layout::Files,
            dump_after: Vec::new(),
            ..settings.options()
        };
        let artifact = compile(&bytes, &target, calibration.as_ref(), &options, &mut Silent)
            .map_err(|e| settings.located(e))?;
        let out = folder()?;
        let module = out.join(format!("{name}.rs"));
        files::write(&module, self.module(&artifact)?.as_bytes())?;
        if self.language == Language::C {
            library::build(&artifact, &target, &out.join(&name))?;
        }
        read.iter().for_each(|path| println!("cargo::rerun-if-changed={}", path.display()));
        let warnings = artifact.report.warnings.iter().chain(&said).map(ToString::to_string).collect();
        Ok(Built { module, read, warnings })
    }

    /// All levels together, and what is to be said of the file.
    fn read_settings(&self, read: &mut Vec<PathBuf>) -> Result<(Settings, Option<Warning>)> {
        let mut settings = self.settings.clone();
        settings
            .conflicts()
            .map_err(|wrong| Error { help: wrong.help, ..Error::option("target", wrong.message) })?;
        let beside = self.path.with_file_name(FILE_NAME);
        // Of a file that is not there Cargo would think that it changes all the time.
        let file =
            self.config.clone().or_else(|| std::fs::symlink_metadata(&beside).is_ok().then_some(beside));
        read.extend(file);
        let (file, said) = config::of(&self.path, self.config.as_deref())?;
        settings.over(file);
        settings.over(Settings::defaults());
        Ok((settings, said))
    }

    fn module(&self, artifact: &Artifact) -> Result<String> {
        match self.language {
            Language::C => artifact.wrapper(),
            Language::Rust => {
                let none = || Error::internal(Site::Whole, "no Rust was emitted");
                artifact.files.first().map(|file| file.text.clone()).ok_or_else(none)
            }
        }
    }
}

/// A variable that Cargo sets for build scripts.
fn variable(name: &str) -> Result<String> {
    std::env::var(name).map_err(|_| {
        Error::new(Fault::Environment, Site::Whole, format!("`{name}` is not set"))
            .help("call this in a build script, which Cargo runs with it")
    })
}

/// Where a build script writes to.
fn folder() -> Result<PathBuf> {
    variable("OUT_DIR").map(PathBuf::from)
}
