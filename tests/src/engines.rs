//! A model of the zoo, compiled, and the engines that run it. The one place where the suites
//! touch `compile`, the emitters and the toolchains together.

use secateur_compiler::artifact::{Artifact, compile};
use secateur_compiler::cli::toolchain::{self, Image, Model, Optimize};
use secateur_compiler::observe::Silent;
use secateur_compiler::options::{Language, Options, Quantize};
use secateur_compiler::program::machine::Machine;
use secateur_compiler::targets::{self, Target};
use secateur_compiler::tensor::{Data, Samples, Tensor};
use std::path::Path;

/// A chip or core by name.
pub fn target(name: &str) -> Target {
    targets::find(name).unwrap_or_else(|e| panic!("{e}"))
}

/// Compiles `model` (a path inside the zoo) as both languages. Calibration is `calib.npy`
/// beside it.
pub fn compiled(zoo: &Path, model: &str, target: &Target, quantize: Quantize) -> Artifact {
    let path = zoo.join(model);
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{model}: {e}"));
    let calib = path.with_file_name("calib.npy");
    let samples = (quantize != Quantize::None && calib.is_file()).then(|| {
        let mut samples = Samples::default();
        samples.arrays.insert(String::new(), crate::npy(&calib));
        samples
    });
    let options = Options {
        name: "model".into(),
        quantize,
        emit: vec![Language::C, Language::Rust],
        ..Options::default()
    };
    compile(&bytes, target, samples.as_ref(), &options, &mut Silent)
        .unwrap_or_else(|e| panic!("{model}: {e}"))
}

/// The first `count` samples beside a model, as its ports hold them: `test_xq.npy` as it is,
/// `test_x.npy` quantized where the port is; where there are none, stored values of the port's
/// whole range.
pub fn samples(zoo: &Path, model: &str, artifact: &Artifact, count: usize) -> Vec<Vec<Tensor>> {
    let port = &artifact.program.inputs[0];
    let per: usize = port.shape.iter().product();
    let sample =
        |data: Data| vec![Tensor::new(port.shape.clone(), data).expect("a sample has the input's size")];
    let beside = |name: &str| Some(zoo.join(model).with_file_name(name)).filter(|p| p.is_file());
    let integer = !artifact.imported[artifact.imported.inputs()[0]].dtype.is_float();
    let stored = beside("test_xq.npy").filter(|_| integer);
    let quantized = stored.is_some();
    let Some(path) = stored.or_else(|| beside("test_x.npy")) else {
        assert_eq!(port.elem.size(), 1, "{model}: made-up samples are for bytes");
        let mut state = 1u32;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            i64::from(state >> 24) - 128
        };
        return (0..count)
            .map(|_| sample(Data::from_i64(port.elem, &(0..per).map(|_| byte()).collect::<Vec<_>>())))
            .collect();
    };
    let values = crate::npy(&path).to_f64_vec();
    let convert = |x: &f64| match port.affine {
        Some((scale, zero)) if !quantized => {
            ((*x as f32 / scale).round_ties_even() as i64 + i64::from(zero)).clamp(-128, 127)
        }
        _ => *x as i64,
    };
    values
        .chunks_exact(per)
        .take(count)
        .map(|values| {
            sample(if port.elem.is_float() {
                Data::F32(values.iter().map(|&x| x as f32).collect())
            } else {
                Data::from_i64(port.elem, &values.iter().map(convert).collect::<Vec<_>>())
            })
        })
        .collect()
}

/// What the evaluator gives.
pub fn evaluate(artifact: &Artifact, samples: &[Vec<Tensor>]) -> Vec<Vec<Tensor>> {
    let mut machine = Machine::new(&artifact.program).unwrap_or_else(|e| panic!("{e}"));
    samples.iter().map(|s| machine.run(s).unwrap_or_else(|e| panic!("{e}"))).collect()
}

/// Builds the emitted code for `on`.
pub fn built(artifact: &Artifact, language: Language, on: &Target, optimize: Optimize) -> Image {
    let model = Model::from(artifact);
    toolchain::build(language, &[model], on, optimize)
        .unwrap_or_else(|e| panic!("{language:?} on {}: {e}", on.name))
}
