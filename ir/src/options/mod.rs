//! The one set of options behind flags, macro arguments and `secateur.toml`.
//!
//! In: what each level says, as [`Settings`]: a file's top level, its section for the model, flags or
//! arguments. Out: [`Options`], which the compiler reads, and the [`target`](Settings::target). Law: an
//! option is one line of the table below; the fronts, the file and the docs are made from it.
//!
//! A build script that has a `secateur.toml` gives its text:
//!
//! ```
//! use secateur_ir::options::{self, Settings};
//!
//! let text = "optimize = \"size\"\n[model.kws]\noptimize = \"speed\"\n";
//! let file = options::parse("models/secateur.toml", text)?;
//! let (mut settings, _warning) = file.of_model("kws", &|_| false)?;
//! settings.over(Settings::defaults());
//! assert_eq!(settings.options().optimize, options::Optimize::Speed);
//! # Ok::<(), secateur_ir::Error>(())
//! ```

mod augment;
mod bind;
mod budget;
mod declare;
mod file;
mod kind;
mod print;
mod prune;
mod range;
mod sensor;
mod target;
mod value;
mod wish;

pub use augment::Augment;
pub use bind::{Number, Numbers};
pub use budget::{Budgets, Joules, Seconds, joules, seconds};
pub use declare::{Declared, Front, Reach, declared, unknown_argument};
pub use file::{FILE_NAME, File, MAX_BYTES, parse};
pub use kind::{Form, Kind, Layers, Named, OneOrNamed, Pairs, Printed, Shape, Switch};
pub use print::print;
pub use prune::{Pattern, Prune, Share};
pub use range::Range;
pub use sensor::Sensor;
pub use value::{Bytes, ChipName, FilePath, Given, Leaf, Place, Raw, Untyped, Wrong};
pub use wish::{Glob, KernelWish, LayerWish};

use declare::declare;
use serde::Serialize;
use std::collections::BTreeMap;
use wish::wishes;

declare! {
    /// Chip to compile for: a name from `secateur targets`, or a TOML file.
    target: ChipName, "target", "NAME|FILE.toml",
        default "host", Everyone, instead of ["core", "flash", "ram"];
    /// Core of a chip that has no file; give `flash` and `ram` with it.
    core: String, "core", "CORE",
        default "", Everyone, instead of ["target"];
    /// Flash of that chip, as 256K, 1M or bytes.
    flash: Bytes, "flash", "FLASH",
        default "", Everyone;
    /// RAM of that chip.
    ram: Bytes, "ram", "RAM",
        default "", Everyone;
    /// Go on where the model does not fit these memories, or those of the chip, with a warning.
    allow_overflow: Switch, "allow-overflow", "",
        default "false", Everyone;
    /// Flash that the model may take: weights and code. More is an error that names the layers to blame.
    max_flash: Bytes, "max-flash", "BYTES",
        default "", Everyone;
    /// RAM that the model may take: arena and stack.
    max_ram: Bytes, "max-ram", "BYTES",
        default "", Everyone;
    /// Time that a run may take on the chip, as predicted.
    max_latency: Seconds, "max-latency", "TIME",
        default "", Everyone;
    /// Energy that a run may take on the chip, as predicted.
    max_energy: Joules, "max-energy", "ENERGY",
        default "", Everyone;
    /// Name of the emitted module and C prefix; the file's name by default.
    name: String, "name", "NAME",
        default "", Commands;
    /// Arithmetic of the emitted code.
    quantize: Quantize, "quantize", "QUANTIZE",
        default "int8", Everyone;
    /// What to spend: flash and RAM for cycles, or cycles and a little RAM for flash.
    optimize: Optimize, "optimize", "OPTIMIZE",
        default "balanced", Everyone;
    /// A kernel variant that layers must run, instead of the fastest; repeat for more. Names as the
    /// report prints them, or `portable`; `*` and `?` in the name of a layer stand for any text
    /// and for one character.
    kernel: Layers<String>, "kernel", "GLOB=VARIANT",
        default "", Everyone;
    /// Unlabelled samples to calibrate a float model with, or values of a QDQ model that have no
    /// scale: .npy, .npz with one key an input, .csv with a row a sample, .wav, or a folder with a sample a file.
    calibrate: OneOrNamed<FilePath>, "calibrate", "X.npy|X.npz|X.csv|DIR",
        default "", Everyone;
    /// Column of a table of samples that holds labels, by name, or by number from 1, from the end if negative: no
    /// input reads it, and `eval` measures with it.
    labels_column: String, "labels-column", "NAME|N",
        default "", Everyone;
    /// Share of the weights of a float model that become zero; calibration samples choose which, and the
    /// others make up for them. With `pattern` (the core's own), `sparsity`, `score` (obs) and `spread` (both)
    /// all four.
    prune: Prune, "prune", "SHARE|KEY=VALUE,...",
        default "", Everyone;
    /// Layers that pruning leaves without zeros, instead of small ones at both ends; repeat for more.
    keep: Vec<String>, "keep", "GLOB",
        default "", Everyone;
    /// Share of zeros of the layers of such a name, instead of one that fits them; repeat for more.
    sparsity: Layers<Share>, "sparsity", "GLOB=SHARE",
        default "", Everyone;
    /// Pattern of zeros of the layers of such a name; repeat for more.
    pattern: Layers<Pattern>, "pattern", "GLOB=PATTERN",
        default "", Everyone;
    /// Weights that are zero in the model stay zero where pruning solves others anew.
    keep_zeros: Switch, "keep-zeros", "",
        default "false", Everyone;
    /// How calibration samples may be altered, so that pruning learns from more of them: along axes of the
    /// inputs (0 is the batch) turned around or shifted by places, with noise as a share of the samples'
    /// standard deviation, in so many copies of each.
    augment: Augment, "augment", "flip=AXIS,shift=AXIS:PLACES,noise=SHARE,copies=N",
        default "", Everyone;
    /// Layers whose weights take 4 bits in an int8 model, besides those that `w4a8` gives 4: convolutions that are not
    /// depthwise, dense and recurrent layers; repeat for more.
    int4: Vec<String>, "int4", "GLOB",
        default "", Everyone;
    /// Values that take 16 bits in an int8 model: inputs of the model, and results of convolutions, dense layers
    /// and element-wise operators, by their own name or their node's; repeat for more.
    int16: Vec<String>, "int16", "GLOB",
        default "", Everyone;
    /// What an input or output of the model may hold in an int8 model, instead of what the calibration samples held;
    /// what lies beyond is clipped; repeat for more.
    range: Named<Range>, "range", "PORT=LO..HI",
        default "", Everyone;
    /// Size of a symbolic dimension; repeat for more.
    dim: Named<usize>, "dim" also "dims", "NAME=N",
        default "", Everyone;
    /// Numbers that an input of the model always holds: it becomes that constant, and what follows from it is
    /// known; repeat for more.
    bind: Named<Numbers>, "bind", "NAME=VALUE",
        default "", Everyone;
    /// Ties an output of the model to an input: the emitted code keeps what one run gives there for the next, and
    /// neither is a port of it; repeat for more.
    state: Pairs<String>, "state", "INPUT=OUTPUT",
        default "", Everyone;
    /// What an input's sensor gives: counts of 16 bits, worth `scale * count + offset` each, by channel, channels last.
    /// The emitted code makes them the input's integers without floats (`NAME_quantize_INPUT_i16`); repeat for more.
    sensor: Named<Sensor>, "sensor", "INPUT=i16|u16,scale=S[:S...],offset=O[:O...],axis=N",
        default "", Everyone;
    /// Name in the emitted code of an input, output or state, instead of one that is made of its name in the model;
    /// repeat for more.
    rename: Named<String>, "rename", "PORT=NAME",
        default "", Everyone;
    /// Whose working memory the model runs in: its instance's, or one that it shares with models that run before and
    /// after it.
    arena: Arena, "arena", "ARENA",
        default "own", Everyone;
    /// Linker section of the weights, as the linker script calls it, instead of that of all constants.
    section: String, "section", "NAME",
        default "", Everyone;
    /// Languages to emit: C where nothing is said, or that of the layout; `onnx`: the model, pruned if it was asked
    /// for, and what is compiled of it.
    emit: Vec<Emitted>, "emit", "EMIT",
        default "", Compile;
    /// What stands around the code, for who builds it.
    layout: Layout, "layout", "LAYOUT",
        default "files", Compile;
    /// Write the text form after a pass or stage (`NAME.PASS.txt`); repeat for more.
    dump_after: Vec<String>, "dump-after", "PASS",
        default "", Compile;
}

impl Settings {
    /// The lowest level: what holds where nobody says otherwise.
    pub fn defaults() -> Settings {
        let mut settings = Settings::default();
        for option in DECLARED.iter().filter(|o| !o.default.is_empty()) {
            let given = option.word(option.default, Place::Default);
            let set = given.and_then(|raw| settings.set(option.name, option.name, &raw));
            debug_assert!(set.is_ok(), "{set:?}");
        }
        settings
    }

    /// What the compiler reads.
    pub fn options(&self) -> Options {
        fn put<T: Clone>(to: &mut T, from: &Option<Given<T>>) {
            if let Some(given) = from {
                to.clone_from(&given.value);
            }
        }
        let mut options = Options::default();
        put(&mut options.name, &self.name);
        put(&mut options.quantize, &self.quantize);
        put(&mut options.optimize, &self.optimize);
        let emitted = self.emit.as_ref().map(|given| &given.value);
        if let Some(emitted) = emitted {
            options.emit = emitted.iter().filter_map(|e| e.language()).collect();
            options.onnx = emitted.contains(&Emitted::Onnx);
        }
        put(&mut options.layout, &self.layout);
        if let (None, Some(language)) = (emitted, options.layout.language()) {
            options.emit = vec![language];
        }
        options.emit.sort_unstable();
        options.emit.dedup();
        put(&mut options.dump_after, &self.dump_after);
        options.allow_overflow = self.allow_overflow.as_ref().is_some_and(|g| g.value.0);
        options.budgets = Budgets {
            flash: self.max_flash.as_ref().map(|g| g.value.0),
            ram: self.max_ram.as_ref().map(|g| g.value.0),
            latency: self.max_latency.as_ref().map(|g| g.value.0),
            energy: self.max_energy.as_ref().map(|g| g.value.0),
        };
        let dims = self.dim.iter().flat_map(|g| &g.value.0);
        options.dims = dims.map(|(name, size)| (name.clone(), size.value)).collect();
        let bound = self.bind.iter().flat_map(|g| &g.value.0);
        options.bind = bound.map(|(name, numbers)| (name.clone(), numbers.value.clone())).collect();
        let tied = self.state.iter().flat_map(|g| &g.value.0);
        options.states = tied.map(|(input, output)| (input.clone(), output.value.clone())).collect();
        let sensors = self.sensor.iter().flat_map(|g| &g.value.0);
        options.sensors = sensors.map(|(input, sensor)| (input.clone(), sensor.value.clone())).collect();
        let renamed = self.rename.iter().flat_map(|g| &g.value.0);
        options.renames = renamed.map(|(port, name)| (port.clone(), name.value.clone())).collect();
        put(&mut options.arena, &self.arena);
        options.section = self.section.as_ref().map(|g| g.value.clone());
        let kernels = self.kernel.iter().flat_map(|g| &g.value.0);
        let wish = |(layers, variant): &(String, Given<String>)| KernelWish {
            layers: layers.clone(),
            variant: variant.value.clone(),
        };
        options.kernels = kernels.map(wish).collect();
        options.prune = self.prune.as_ref().map(|g| g.value);
        options.keep = self.keep.as_ref().map(|g| g.value.iter().cloned().map(Glob).collect());
        options.int4 = self.int4.iter().flat_map(|g| g.value.iter().cloned().map(Glob)).collect();
        options.int16 = self.int16.iter().flat_map(|g| g.value.iter().cloned().map(Glob)).collect();
        let ranges = self.range.iter().flat_map(|g| &g.value.0);
        options.ranges = ranges.map(|(port, range)| (port.clone(), range.value)).collect();
        options.sparsities = wishes(&self.sparsity);
        options.patterns = wishes(&self.pattern);
        options.augment = self.augment.as_ref().map(|g| g.value.clone());
        options.keep_zeros = self.keep_zeros.as_ref().is_some_and(|g| g.value.0);
        options
    }
}

/// An enum of the words that an option takes.
macro_rules! choices {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $help:literal])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        pub enum $name {
            $($(#[doc = $help])* #[serde(rename = $word)] $variant,)+
        }

        impl Leaf for $name {
            const WHAT: &'static str = "a word";
            const CHOICES: &'static [(&'static str, &'static str)] = &[$(($word, concat!($($help),*))),+];
            fn read(raw: &Raw) -> Option<$name> {
                match &raw.value {
                    Untyped::Word(word) | Untyped::Text(word) => match word.as_str() {
                        $($word => Some($name::$variant),)+
                        _ => None,
                    },
                    _ => None,
                }
            }
            fn show(&self) -> String {
                match self {
                    $($name::$variant => concat!("\"", $word, "\"").to_owned(),)+
                }
            }
        }
    };
}

choices! {
    /// How activations and weights are represented.
    Quantize {
        /// 8-bit integers throughout: calibrated, or as the model's own QDQ nodes say.
        Int8 = "int8",
        /// The same with weights of 4 bits for convolutions, dense and recurrent layers; depthwise ones, the
        /// first and the last keep 8 bits.
        W4a8 = "w4a8",
        /// The model as it is: 32-bit floats (QDQ models stay integer).
        None = "none",
    }
}

choices! {
    /// What is spent when speed, flash and memory pull apart; `policy` has the thresholds.
    Optimize {
        /// Fewest cycles, for more flash, and for RAM up to three quarters of the chip's.
        Speed = "speed",
        /// Fast: weights grow by a quarter at most unless each byte saves 24 cycles; workspace takes 18 %
        /// of what the values take, 2.5 KiB at least and 4 KiB at most.
        Balanced = "balanced",
        /// Least flash, for more cycles, and for at most an eighth more RAM than balanced takes, or 1 KiB.
        Size = "size",
    }
}

choices! {
    /// Whose working memory a model runs in.
    Arena {
        /// Each instance holds all of it.
        Own = "own",
        /// A caller lends it for a run, to one model after the other; an instance holds what is kept between runs.
        Shared = "shared",
    }
}

choices! {
    /// What chooses the weights that pruning removes: the least goes first.
    Score {
        /// What the removal costs once the weights that stay are solved anew: second order (Optimal Brain Surgeon).
        Obs = "obs",
        /// The share of the layer's output energy that a group makes on the calibration samples.
        Contribution = "contribution",
        /// The sum of a group's magnitudes by the root of its squares.
        Sensitivity = "sensitivity",
        /// The mean magnitude of a group.
        L1 = "l1",
        /// The root mean square of a group.
        L2 = "l2",
    }
}

choices! {
    /// What zeros are spread over layers for.
    Spread {
        /// The share is of the weights, and at least the same share of the multiplications goes: layers are
        /// pruned for flash and for cycles.
        Both = "both",
        /// The share is of the weights, wherever they are missed least: layers are pruned for flash.
        Weights = "weights",
    }
}

choices! {
    /// A language that is emitted.
    Language {
        C = "c",
        Rust = "rust",
    }
}

choices! {
    /// What a compilation writes.
    Emitted {
        C = "c",
        Rust = "rust",
        /// The float model and, with integers, the same with QuantizeLinear and DequantizeLinear.
        Onnx = "onnx",
    }
}

choices! {
    /// What stands around the emitted code.
    Layout {
        /// The sources alone.
        Files = "files",
        /// C, and a `Makefile` that builds `libNAME.a` by itself or in the Makefile that includes it.
        Make = "make",
        /// C, and a `CMakeLists.txt` for `add_subdirectory`, for `find_package` once it is installed, or by itself.
        Cmake = "cmake",
        /// Rust as a small crate.
        Cargo = "cargo",
    }
}

impl Layout {
    /// The language that the layout builds.
    pub fn language(self) -> Option<Language> {
        match self {
            Layout::Files => None,
            Layout::Make | Layout::Cmake => Some(Language::C),
            Layout::Cargo => Some(Language::Rust),
        }
    }
}

impl Emitted {
    /// The language, if it is code.
    pub fn language(self) -> Option<Language> {
        match self {
            Emitted::C => Some(Language::C),
            Emitted::Rust => Some(Language::Rust),
            Emitted::Onnx => None,
        }
    }
}

/// Everything of a compilation that a user can ask for, but for target and samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Name of the emitted module, file and C prefix: an identifier; empty means the file stem.
    pub name: String,
    pub quantize: Quantize,
    pub optimize: Optimize,
    /// Kernel variants that layers must run; of several wishes for a layer the last holds.
    pub kernels: Vec<KernelWish>,
    /// How the model is pruned.
    pub prune: Option<Prune>,
    /// Layers that stay dense; `None`: small ones at both ends.
    pub keep: Option<Vec<Glob>>,
    /// Shares of zeros and patterns by layer; of several for one layer the last holds.
    pub sparsities: Vec<LayerWish<Share>>,
    pub patterns: Vec<LayerWish<Pattern>>,
    /// Weights that come as zeros stay zeros.
    pub keep_zeros: bool,
    /// How samples are altered for pruning.
    pub augment: Option<Augment>,
    /// Layers whose weights take 4 bits in an int8 model.
    pub int4: Vec<Glob>,
    /// Values that take 16 bits in an int8 model, by their own name or their node's.
    pub int16: Vec<Glob>,
    /// What inputs and outputs may hold, instead of what the calibration samples held.
    pub ranges: BTreeMap<String, Range>,
    /// Languages to emit, sorted.
    pub emit: Vec<Language>,
    /// Write the model as ONNX too.
    pub onnx: bool,
    /// What stands around the emitted code.
    pub layout: Layout,
    /// Sizes for symbolic dimensions; a batch dimension that is not named is 1.
    pub dims: BTreeMap<String, usize>,
    /// Inputs that are constants, and what they hold.
    pub bind: BTreeMap<String, Numbers>,
    /// Inputs that are kept between runs, and the outputs that they take their next values from.
    pub states: Vec<(String, String)>,
    /// Inputs whose integers are made of a sensor's counts.
    pub sensors: BTreeMap<String, Sensor>,
    /// Names of ports and states in the emitted code, by those in the model.
    pub renames: BTreeMap<String, String>,
    /// Whose working memory the model runs in.
    pub arena: Arena,
    /// Linker section of the weights.
    pub section: Option<String>,
    /// Compile a model that does not fit the chip's memories too, with a warning.
    pub allow_overflow: bool,
    /// What the model may take at most.
    pub budgets: Budgets,
    /// Names of passes (or stages) after which the text form is kept in the artifact.
    pub dump_after: Vec<String>,
}

impl Options {
    /// Whether some option asks for zeros, or says where they shall be.
    pub fn prunes(&self) -> bool {
        self.prune.is_some()
            || self.keep.is_some()
            || !self.sparsities.is_empty()
            || !self.patterns.is_empty()
            || self.augment.is_some()
    }
    /// The same, with nothing said of zeros.
    pub fn without_pruning(self) -> Options {
        let (sparsities, patterns) = (Vec::new(), Vec::new());
        Options { prune: None, keep: None, sparsities, patterns, augment: None, ..self }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            name: String::new(),
            quantize: Quantize::Int8,
            optimize: Optimize::Balanced,
            kernels: Vec::new(),
            prune: None,
            keep: None,
            sparsities: Vec::new(),
            patterns: Vec::new(),
            keep_zeros: false,
            augment: None,
            int4: Vec::new(),
            int16: Vec::new(),
            ranges: BTreeMap::new(),
            emit: vec![Language::C],
            onnx: false,
            layout: Layout::Files,
            dims: BTreeMap::new(),
            bind: BTreeMap::new(),
            states: Vec::new(),
            sensors: BTreeMap::new(),
            renames: BTreeMap::new(),
            arena: Arena::Own,
            section: None,
            allow_overflow: false,
            budgets: Budgets::default(),
            dump_after: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
