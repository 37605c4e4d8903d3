//! `#[secateur::model("kws.onnx", target = "nrf52840")]`: compiles a trained model while the crate
//! around it is built.
//!
//! Use it through the crate `secateur`, whose default feature `macros` it is.
#![forbid(unsafe_code)]

mod arguments;
mod cache;
mod expand;

use cache::Cache;
use proc_macro::TokenStream;
use std::path::{Path, PathBuf};

/// Turns an empty struct into a compiled model.
///
/// ```ignore
/// #[secateur::model("models/har.onnx", target = "nrf52840", calibrate = "models/har_calib.npy")]
/// pub struct Har;
///
/// let mut har = Har::new();               // `const`: it may stand in a `static`
/// har.run(&input, &mut output);           // arrays of the model's shapes, row-major
/// ```
///
/// The struct gets `new()`, `run(...)` with one array per input and output, and constants. The
/// instance holds its inputs and outputs too: `x_mut()` is the input `x`, to be filled before each
/// `run_in_place()`, which copies nothing, and `y()` the output `y` after it. The constants are for
/// each input and output `X_LEN`, `X_SHAPE` and, where integers are stored, `X_SCALE` and
/// `X_ZERO_POINT`; `ARENA_BYTES`, `STATE_BYTES`, `WEIGHTS_BYTES`, `CODE_BYTES` (predicted) and `KERNEL_STACK_BYTES`.
/// `quantize_x` and `dequantize_y` convert between real values and the stored integers. The docs of the struct and of
/// each item say shapes, types, scales and zero points. The code is the same as `secateur compile --emit rust` writes.
///
/// The struct is `Clone`, `Debug`, `Default` and a `secateur::Model`, the trait for code that takes any model. Other
/// derives stand below the attribute, by their full paths.
///
/// The first argument is the ONNX file. The others are those of `secateur compile`:
///
/// | argument | meaning |
/// |---|---|
/// | `target = "nrf52840"` | chip or core by name, or a TOML file; without it the host |
/// | `core = "cortex-m4", flash = "256K", ram = "64K"` | a chip without a file |
/// | `quantize = "int8"` | `"int8"` (the default), `"w4a8"` or `"none"` |
/// | `optimize = "balanced"` | `"speed"`, `"balanced"` (the default) or `"size"` |
/// | `calibrate = "samples.npy"` | unlabelled samples, needed to quantize a float model, and used where a QDQ model has values without a scale; for several inputs `calibrate(x = "x.npy", y = "y.npy")`, or an `.npz` with an array for each; `.csv`, `.wav` and folders of samples as the command line reads them |
/// | `labels_column = "class"` | column of a table of samples that holds labels and is no input, by name or number |
/// | `allow_overflow = true` | compile a model too that does not fit the chip's memories |
/// | `max_flash = "64K"`, `max_ram = "24K"`, `max_latency = "20ms"`, `max_energy = "200uJ"` | what the model may take; more is an error that names the layers to blame |
/// | `dims(batch = 1, "N:0" = 16)` | sizes of symbolic dimensions |
/// | `bind(sr = 16000, gains = [1, 0.5])` | inputs that become constants, and what they hold |
/// | `state(h = "h_out")` | outputs whose values are kept for an input of the next run |
/// | `sensor(imu = "i16,scale=0.001:0.001:0.06")` | what the counts of an input's sensor are worth: a function makes them its integers without floats |
/// | `range(imu = "-8..8")` | what inputs and outputs may hold, instead of what the samples held |
/// | `rename("serving_default:0" = "audio")` | names of inputs, outputs and states in the code, instead of those made of the model's |
/// | `arena = "own"` | `"own"` (the default), or `"shared"`: `har.on(&mut arena)` lends a `secateur::Arena` that several models share to one of them, and is what has `run` |
/// | `section = ".model_weights"` | linker section of the weights, as the linker script calls it |
/// | `int4 = ["conv2", "fc*"]` | layers whose weights take 4 bits in an int8 model |
/// | `int16 = ["imu", "logits"]` | values that take 16 bits in an int8 model |
/// | `kernel("conv*" = "gemm")` | a kernel variant that layers must run, instead of the fastest |
/// | `prune = 0.6` | share of weights that become zero, or `"pattern=4x4,sparsity=0.6,score=obs"`; needs samples |
/// | `keep = ["conv1"]`, `sparsity("conv*" = 0.8)`, `pattern("fc" = "2:4")` | layers that stay dense; the share and pattern of some |
/// | `keep_zeros = true` | weights that are zero in the model stay so where others are solved anew |
/// | `augment = "flip=3,noise=0.02"` | how samples may be altered, so that pruning learns from more of them |
/// | `config = "options.toml"` | a file of options, instead of `secateur.toml` beside the model |
///
/// What no argument says is as the file `secateur.toml` in the model's folder has it, if there is one,
/// the file that `secateur compile` reads too.
///
/// Where a chip or sizes are given, weights and arena must fit, with the code and stack that the
/// native kernels announce. What the Rust around them adds is not counted: the macro cannot build
/// for the target. `secateur compile` measures all of it.
///
/// The build's log says what the model takes: `har: 6.3 of 256 KiB RAM, 3.0 % of flash, 13.97 ms, 139.4 uJ`.
///
/// Files are found relative to the crate's `Cargo.toml`, and a change of one rebuilds the crate. The code
/// is kept between builds, in the folder of the crate's build script or of what rustc writes: until a model,
/// an option or the compiler changes, saving a source file compiles no model again.
/// Everything wrong is reported on the argument at fault; warnings are shown as a deprecation, the
/// one kind of warning that stable Rust lets a macro give, and `#[allow(deprecated)]` on the struct
/// silences them.
///
/// Cargo builds the compiler first, without optimisation, as it builds all macros: that is soonest done. Where models are
/// large or pruned, or many, optimising the compiler (and not all macros) pays:
///
/// ```toml
/// [profile.dev.package]
/// secateur-compiler.opt-level = 1
/// secateur-kernels.opt-level = 1
/// secateur-ir.opt-level = 1
/// ```
#[proc_macro_attribute]
pub fn model(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    match expand::expand(arguments.into(), item.into(), root.as_ref(), &Cache(folder())) {
        Ok(expansion) => {
            eprintln!("{}", expansion.note);
            expansion.code.into()
        }
        Err(refused) => refused.into_compile_error().into(),
    }
}

/// Where code is kept between builds: in the folder of the crate's build script, else in one beside what rustc writes;
/// nowhere where neither is known, as in editors.
fn folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let beside = || {
        let mut arguments = std::env::args_os();
        arguments.find(|a| a == "--out-dir")?;
        arguments.next().map(PathBuf::from)?.parent().map(Path::to_owned)
    };
    let folder = set("OUT_DIR").or_else(beside).filter(|folder| folder.is_dir());
    folder.map(|folder| folder.join("secateur"))
}
