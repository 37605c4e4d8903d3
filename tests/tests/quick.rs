//! The bundled model through every engine: what `tests/run quick` runs beside the unit tests. Needs
//! no zoo. (Suite `engines` has the models of the zoo.)

use secateur_compiler::cli::toolchain::Optimize;
use secateur_compiler::observe::Silent;
use secateur_compiler::options::{Language, Quantize};
use secateur_tests::engines::{built, compiled, evaluate, samples, target};
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
