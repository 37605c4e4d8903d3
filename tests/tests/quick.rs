//! The bundled model through every engine, and small models through the compiler for every chip: what
//! `tests/run quick` runs beside the unit tests. Needs no zoo. (Suite `engines` has the models of the zoo.)

use secateur_compiler::cli::toolchain::Optimize;
use secateur_compiler::observe::Silent;
use secateur_compiler::options::{Language, Options, Quantize};
use secateur_compiler::tensor::{Samples, Tensor};
use secateur_compiler::{artifact::compile, targets};
use secateur_tests::engines::{built, compiled, evaluate, samples, target};
use secateur_tests::onnx::{FLOAT, Model, attr_ints, dims, floats, node, port};
use secateur_tests::repository;

#[test]
fn the_bundled_model_gives_the_same_bits_on_every_engine() {
    let (models, model) = (repository().join("compiler/models"), "watch_cnn1d/model.onnx");
    for quantize in [Quantize::Int8, Quantize::None] {
        let artifact = compiled(&models, model, &target("cortex-m4"), quantize);
        let inputs = samples(&models, model, &artifact, 4);
        let want = evaluate(&artifact, &inputs);
        assert_eq!(want.len(), 4);
        for language in [Language::C, Language::Rust] {
            for on in ["host", "cortex-m4"] {
                let image = built(&artifact, language, &target(on), Optimize::Speed);
                let replies = image.run(0, &inputs, &mut Silent).unwrap_or_else(|e| panic!("{e}"));
                let bits = |outputs: &[Vec<_>]| -> Vec<Vec<u8>> {
                    let bytes = |t: &secateur_compiler::Tensor| t.data().to_le_bytes();
                    outputs.iter().map(|o| o.iter().flat_map(bytes).collect()).collect()
                };
                assert_eq!(bits(&replies.outputs), bits(&want), "{quantize:?}: {language:?} on {on}");
            }
        }
    }
}

/// A convolution that reads a transposed input where it lies, its columns further apart than its rows: every
/// core has an index for it that is proven, and all give the same bits.
#[test]
fn inputs_may_lie_crosswise() {
    let model = Model {
        nodes: vec![
            node("turn", "Transpose", &["x"], &["t"], &[attr_ints("perm", &[3, 0, 2, 1])]),
            node("conv", "Conv", &["t", "w", "b"], &["y"], &[attr_ints("strides", &[2, 2])]),
        ],
        initializers: vec![floats("w", &[1, 1, 2, 2], &[0.5, -1.0, 0.25, 2.0]), floats("b", &[1], &[0.125])],
        inputs: vec![port("x", FLOAT, &dims(&[1, 6, 6, 2]))],
        outputs: vec![port("y", FLOAT, &dims(&[2, 1, 3, 3]))],
        ..Model::default()
    };
    let values = (0..288).map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0).collect();
    let mut samples = Samples::default();
    samples.arrays.insert("x".to_owned(), Tensor::f32(&[4, 1, 6, 6, 2], values));
    let options = Options { name: "net".into(), ..Options::default() };
    let mut all = Vec::new();
    for core in targets::all().unwrap() {
        let artifact = compile(&model.bytes(), &core, Some(&samples), &options, &mut Silent)
            .unwrap_or_else(|e| panic!("{}: {e}", core.name));
        let stored: Vec<i64> = (0..72).map(|i| (i * 53 + 7) % 256 - 128).collect();
        let data = secateur_compiler::tensor::Data::from_i64(secateur_compiler::tensor::DType::I8, &stored);
        let input = Tensor::new(artifact.program.inputs[0].shape.clone(), data).unwrap();
        all.push((core.name.clone(), evaluate(&artifact, &[vec![input]])));
    }
    for (core, outputs) in &all {
        assert_eq!(*outputs, all[0].1, "{core}");
    }
}
