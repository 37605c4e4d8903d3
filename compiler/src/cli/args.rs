//! The flags of the options, and with the `secateur.toml` what the entry takes.
//!
//! In: the command line. Out: a [`Job`]. Law: flags are made from the table of options; a flag goes
//! over the file, and the file over the defaults.

use super::data::Labelled;
use super::{config, data, model, warn};
use crate::Artifact;
use crate::artifact::{compile, compile_to_measure, outlook};
use crate::emit::names;
use crate::error::{Error, Result};
use crate::observe::Observer;
use crate::options::{
    DECLARED, Declared, Form, Front, Given, Language, Layout, Leaf, Options, Place, Raw, Settings, Untyped,
};
use crate::tensor::Samples;
use crate::warning::Warning;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use secateur_targets::Target;
use std::path::{Path, PathBuf};

/// A model, where its file of options is, and the options' flags that a front takes.
#[derive(Debug, Clone)]
pub(crate) struct ModelArgs<const FRONT: u8 = COMMAND> {
    pub(crate) model: PathBuf,
    config: Option<PathBuf>,
    flags: Settings,
}

pub(crate) const INSPECT: u8 = Front::Inspect as u8;
pub(crate) const COMMAND: u8 = Front::Command as u8;
pub(crate) const COMPILE: u8 = Front::Compile as u8;
/// `fit`: the model may be that of a plan or of a job.
pub(crate) const FIT: u8 = u8::MAX - 1;
/// `new`: the options of every command that compiles, and the model by a flag.
pub(crate) const NEW: u8 = u8::MAX;

fn front(number: u8) -> Front {
    match number {
        INSPECT => Front::Inspect,
        COMPILE => Front::Compile,
        _ => Front::Command,
    }
}

/// The words that a leaf takes, each with its meaning.
fn words(choices: &[(&'static str, &'static str)]) -> PossibleValuesParser {
    PossibleValuesParser::new(choices.iter().map(|(word, help)| match sentence(help) {
        help if help.is_empty() => PossibleValue::new(*word),
        help => PossibleValue::new(*word).help(help),
    }))
}

/// A language by its word.
pub(crate) fn language() -> impl TypedValueParser<Value = Language> {
    words(Language::CHOICES).try_map(|word| {
        let raw = Raw { place: Place::Flag, value: Untyped::Word(word) };
        Language::read(&raw).ok_or("is no language")
    })
}

/// Where the model is named.
fn model(front: u8) -> Arg {
    match front {
        NEW => Arg::new("model").long("model").help("The trained model, instead of a bundled one"),
        FIT => Arg::new("model").required_unless_present_any(["job", "collect"]).help("The trained model"),
        _ => Arg::new("model").required(true).help("The trained model"),
    }
}

/// A help text as clap's own derive would have it.
fn sentence(help: &str) -> String {
    help.trim().trim_end_matches('.').to_owned()
}

fn flag(option: &'static Declared) -> Arg {
    let arg = Arg::new(option.name).long(option.name).help(sentence(option.help));
    let arg = match option.shape.form {
        Form::Switch => return arg.action(ArgAction::SetTrue),
        Form::One | Form::OneOrTable => arg.value_name(option.value),
        Form::List if !option.shape.choices.is_empty() => {
            arg.value_name(option.value).action(ArgAction::Append).value_delimiter(',')
        }
        Form::List | Form::Table | Form::Layers => arg.value_name(option.value).action(ArgAction::Append),
    };
    let arg = if option.default.is_empty() { arg } else { arg.default_value(option.default) };
    // A table's words have more in them than a leaf's.
    let of_leaves = matches!(option.shape.form, Form::One | Form::List | Form::OneOrTable);
    if of_leaves && !option.shape.choices.is_empty() {
        arg.value_parser(words(option.shape.choices))
    } else {
        arg
    }
}

impl<const FRONT: u8> clap::Args for ModelArgs<FRONT> {
    fn augment_args(command: Command) -> Command {
        let path = || clap::value_parser!(PathBuf);
        let command =
            command.arg(model(FRONT).value_name("MODEL").value_parser(path())).arg(
                Arg::new("config").long("config").value_name("FILE").value_parser(path()).help(
                    "File of options, instead of `secateur.toml` beside the model; a flag wins over it",
                ),
            );
        command.args(DECLARED.iter().filter(|o| o.is_for(front(FRONT))).map(flag))
    }
    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const FRONT: u8> FromArgMatches for ModelArgs<FRONT> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Settings::default();
        let given = |o: &&Declared| {
            o.is_for(front(FRONT)) && matches.value_source(o.name) == Some(ValueSource::CommandLine)
        };
        for option in DECLARED.iter().filter(given) {
            let words: Vec<String> = match option.shape.form {
                Form::Switch => vec!["true".to_owned()],
                _ => matches.get_many::<String>(option.name).unwrap_or_default().cloned().collect(),
            };
            for word in words {
                let key = format!("--{}", option.name);
                option
                    .word(&word, Place::Flag)
                    .and_then(|raw| flags.set(option.name, &key, &raw))
                    .map_err(|e| clap::Error::raw(ErrorKind::ValueValidation, e.message))?;
            }
        }
        let path = |name: &str| matches.get_one::<PathBuf>(name).cloned();
        Ok(ModelArgs { model: path("model").unwrap_or_default(), config: path("config"), flags })
    }
    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A model with everything that `compile` needs.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) model: Vec<u8>,
    pub(crate) target: Target,
    pub(crate) calibration: Option<Samples>,
    pub(crate) options: Options,
    /// Where the options come from, for what is refused.
    pub(crate) settings: Settings,
    /// What is to be said of their file, among the model's warnings.
    pub(crate) said: Option<Warning>,
}

impl<const FRONT: u8> ModelArgs<FRONT> {
    /// A model with what stands in the file beside it, and no flags.
    pub(crate) fn of(model: PathBuf) -> Self {
        ModelArgs { model, config: None, flags: Settings::default() }
    }

    /// All levels together, and what is to be said of the file.
    pub(crate) fn settings(&self) -> Result<(Settings, Option<Warning>)> {
        let mut settings = self.flags.clone();
        let (file, said) = config::of(&self.model, self.config.as_deref())?;
        settings.over(file);
        settings.over(Settings::defaults());
        Ok((settings, said))
    }

    /// The flags over the defaults, for who has no model's file.
    pub(crate) fn flags(&self) -> Result<Settings> {
        let mut settings = self.flags.clone();
        if let Some(file) = &self.config {
            settings.over(config::of(&self.model, Some(file))?.0);
        }
        settings.over(Settings::defaults());
        Ok(settings)
    }

    /// All levels together, with a name for what is emitted.
    pub(crate) fn named(&self) -> Result<(Settings, Option<Warning>)> {
        let (mut settings, said) = self.settings()?;
        if settings.name.is_none() {
            let (value, note) = name_of(&self.model);
            note.iter().for_each(|note| eprintln!("note: {note}"));
            settings.name = Some(Given { value, place: Place::Default });
        }
        Ok((settings, said))
    }

    /// Reads the files and resolves the target.
    pub(crate) fn job(&self) -> Result<Job> {
        let named = self.named()?;
        self.job_of(named)
    }

    /// The same with levels that were read before.
    pub(crate) fn job_of(&self, (settings, said): (Settings, Option<Warning>)) -> Result<Job> {
        let model = model::read(&self.model)?;
        let files = settings.calibrate.as_ref().map(|given| &given.value.0);
        let calibration = files.map(|files| data::read_all(files, column(&settings))).transpose()?;
        let target = config::target(&settings)?;
        Ok(Job { model, target, calibration, options: settings.options(), settings, said })
    }
}

/// The column of tables that holds labels, if one is named.
fn column(settings: &Settings) -> Option<&str> {
    settings.labels_column.as_ref().map(|given| given.value.as_str())
}

impl Job {
    /// Reads samples, and the labels of a table whose column of labels is named.
    pub(crate) fn data(&self, path: &Path) -> Result<Labelled> {
        data::read_labelled(path, column(&self.settings))
    }
    /// The same job, emitting the given languages.
    pub(crate) fn emitting(mut self, mut languages: Vec<Language>) -> Self {
        languages.sort_unstable();
        languages.dedup();
        self.options.emit = languages;
        // Those who measure and run build it themselves.
        self.options.layout = Layout::Files;
        self
    }
    /// Compiles; what is refused for an option of a file is refused at its line.
    pub(crate) fn compile(&self, options: &Options, observer: &mut dyn Observer) -> Result<Artifact> {
        self.said_of(compile(&self.model, &self.target, self.calibration.as_ref(), options, observer))
    }
    /// The same for who measures the code before it has to fit.
    pub(crate) fn compile_to_measure(&self, observer: &mut dyn Observer) -> Result<Artifact> {
        let calibration = self.calibration.as_ref();
        self.said_of(compile_to_measure(&self.model, &self.target, calibration, &self.options, observer))
    }
    /// The same without samples, where there are none, and without a compiler.
    pub(crate) fn outlook(&self, observer: &mut dyn Observer) -> Result<Artifact> {
        let calibration = self.calibration.as_ref();
        self.said_of(outlook(&self.model, &self.target, calibration, &self.options, observer))
    }
    /// What came of a compilation, with what is to be said of its file of options.
    fn said_of(&self, compiled: Result<Artifact>) -> Result<Artifact> {
        let mut artifact = compiled.map_err(|e| self.refused(e))?;
        artifact.report.warnings.extend(self.said.clone());
        Ok(artifact)
    }
    /// A refusal at its line, after what is to be said of the file: it may be the reason.
    pub(crate) fn refused(&self, error: Error) -> Error {
        warn(self.said.as_slice());
        self.settings.located(error)
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

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        model: ModelArgs<COMPILE>,
    }

    fn flags(words: &[&str]) -> Result<Options, String> {
        let words = ["secateur", "kws.onnx"].iter().chain(words);
        let line = <Line as clap::Parser>::try_parse_from(words).map_err(|e| e.to_string())?;
        Ok(line.model.flags.options())
    }

    #[test]
    fn every_declared_option_is_a_flag_that_clap_accepts() {
        <Line as clap::CommandFactory>::command().debug_assert();
        assert_eq!(flags(&[]).unwrap(), Options::default());
    }

    #[test]
    fn dimensions_parse() {
        let dims = |text: &str| flags(&["--dim", text]).map(|o| o.dims);
        assert_eq!(dims("unk=1=3").unwrap(), [("unk=1".to_owned(), 3)].into());
        for wrong in ["n", "n=0", "=3", "n=x", "n=-1", "n=9223372036854775808"] {
            let said = dims(wrong).unwrap_err();
            assert!(said.contains("`--dim"), "{wrong}: {said}");
        }
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
