//! Models made by hand with drawn weights: compiled, fed with drawn values, and compared over engines and cores.

use crate::engines::{built, evaluate, target};
use secateur_compiler::cli::toolchain::Optimize;
use secateur_compiler::observe::Silent;
use secateur_compiler::options::{Language, Options, Quantize};
use secateur_compiler::tensor::{Data, Samples, Tensor};
use secateur_compiler::{Artifact, artifact::compile, graph};

/// The same numbers on every machine, about within -1..=1.
#[derive(Debug, Default)]
pub struct Random(pub u64);

impl Random {
    pub fn draw(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
    pub fn floats(&mut self, n: usize, size: f32) -> Vec<f32> {
        (0..n).map(|_| size * self.draw()).collect()
    }
}

/// A model for a core, in both languages.
pub fn compiled(bytes: &[u8], on: &str, samples: Option<&Samples>) -> Artifact {
    compiled_as(bytes, on, samples, &Options::default())
}

/// The same with other options.
pub fn compiled_as(bytes: &[u8], on: &str, samples: Option<&Samples>, options: &Options) -> Artifact {
    let emit = vec![Language::C, Language::Rust];
    let quantize = if samples.is_some() { options.quantize } else { Quantize::None };
    let options = Options { name: "net".into(), emit, quantize, ..options.clone() };
    compile(bytes, &target(on), samples, &options, &mut Silent).unwrap_or_else(|e| panic!("{e}"))
}

/// Inputs as floats of so many steps around zero, and as the ports of a program hold them.
pub fn fed(artifact: &Artifact, count: usize, seed: u64, size: f32) -> (Vec<Vec<Tensor>>, Vec<Vec<Tensor>>) {
    let mut random = Random(seed);
    let mut both = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (mut real, mut stored) = (Vec::new(), Vec::new());
        for port in &artifact.program.inputs {
            let values = random.floats(port.shape.iter().product(), size);
            let data = match port.affine {
                None => Data::F32(values.clone()),
                Some((scale, zero)) => {
                    let (lo, hi) = port.elem.range().expect("an integer type");
                    let held = |x: &f32| {
                        let steps = (x / scale).round_ties_even() as i128 + i128::from(zero);
                        steps.clamp(lo, hi) as i64
                    };
                    Data::from_i64(port.elem, &values.iter().map(held).collect::<Vec<_>>())
                }
            };
            stored.push(Tensor::new(port.shape.clone(), data).expect("a port's size"));
            real.push(Tensor::f32(&port.shape, values));
        }
        both.0.push(real);
        both.1.push(stored);
    }
    both
}

/// How far the first result of a program is from the float meaning of the model, in decibels.
pub fn decibels(artifact: &Artifact, (real, stored): &(Vec<Vec<Tensor>>, Vec<Vec<Tensor>>)) -> f64 {
    let (mut signal, mut noise) = (0.0, 0.0);
    let (scale, zero) = artifact.program.outputs[0].affine.unwrap_or((1.0, 0));
    for (real, have) in real.iter().zip(evaluate(artifact, stored)) {
        let want = graph::run(&artifact.imported, real).expect("the float model runs")[0].to_f64_vec();
        for (w, h) in want.iter().zip(have[0].to_f64_vec()) {
            let h = f64::from(scale) * (h - f64::from(zero));
            signal += w * w;
            noise += (w - h) * (w - h);
        }
    }
    10.0 * (signal / noise).log10()
}

/// Outputs as bytes.
pub fn bits(outputs: &[Vec<Tensor>]) -> Vec<Vec<u8>> {
    outputs.iter().map(|o| o.iter().flat_map(|t| t.data().to_le_bytes()).collect()).collect()
}

/// Compiles an int8 model for each core, runs it there and asks for the same bits: C everywhere, Rust on the host and
/// on Cortex-M4 as well. Gives the artifacts.
pub fn same_bits(bytes: &[u8], samples: &Samples, cores: &[&str], size: f32) -> Vec<Artifact> {
    same_bits_as(bytes, samples, (cores, size), &Options::default())
}

/// The same with other options.
pub fn same_bits_as(
    bytes: &[u8],
    samples: &Samples,
    (cores, size): (&[&str], f32),
    options: &Options,
) -> Vec<Artifact> {
    let mut first = None;
    let mut all = Vec::new();
    for &on in cores {
        let artifact = compiled_as(bytes, on, Some(samples), options);
        let (_, stored) = fed(&artifact, 6, 21, size);
        let want = bits(&evaluate(&artifact, &stored));
        assert_eq!(*first.get_or_insert(want.clone()), want, "the program for {on}");
        let languages: &[Language] =
            if on == "host" || on == "cortex-m4" { &[Language::C, Language::Rust] } else { &[Language::C] };
        for &language in languages {
            let image = built(&artifact, language, &target(on), Optimize::Speed);
            let replies = image.run(0, &stored, &mut Silent).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(bits(&replies.outputs), want, "{language:?} on {on}");
        }
        all.push(artifact);
    }
    all
}
