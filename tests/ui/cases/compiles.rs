//! Documentation, visibility, derives and a name of the user's own; inside of a function, too.
#![deny(deprecated, missing_docs, missing_debug_implementations, unreachable_pub)]

use secateur::{ElementType, Model};

#[secateur::model("models/watch.onnx", target = "cortex-m4", calibrate = "models/calib.npy")]
/// Recognises exercises.
#[derive(Debug, Copy, Clone)]
#[must_use]
pub(crate) struct IMUNet;

static NET: std::sync::Mutex<IMUNet> = std::sync::Mutex::new(IMUNet::new());

/// The greatest of two outputs, by any model of such ports.
fn greatest<M>(model: &mut M, window: &[i8; IMUNet::IMU_LEN]) -> Option<i8>
where
    M: for<'a> Model<
            Inputs<'a> = &'a [i8; IMUNet::IMU_LEN],
            Outputs<'a> = &'a mut [i8; IMUNet::LOGITS_LEN],
        >,
{
    let mut scores = [0; IMUNet::LOGITS_LEN];
    model.run(window, &mut scores);
    model.reset();
    scores.into_iter().max()
}

fn ports_of<M: Model>() -> usize {
    M::INPUTS.iter().chain(M::OUTPUTS).map(|port| port.bytes()).sum()
}

fn main() {
    #[secateur::model(
        "models/watch.onnx",
        quantize = "none",
        core = "cortex-m7",
        flash = "1M",
        ram = "64K",
        calibrate = "models/calib.npy"
    )]
    // Samples that nothing reads are a warning; this silences it.
    #[allow(deprecated)]
    struct Float;

    #[secateur::model(
        "models/several.onnx",
        quantize = "none",
        rename(x = "image", y1 = "head"),
        section = ".model_weights"
    )]
    struct Several;

    let (mut stored, mut scores) = ([0i8; IMUNet::IMU_LEN], [0i8; IMUNet::LOGITS_LEN]);
    let real = [0.5f32; Float::IMU_LEN];
    IMUNet::quantize_imu(&real, &mut stored);
    NET.lock().unwrap().run(&stored, &mut scores);
    let mut back = [0.0; IMUNet::LOGITS_LEN];
    IMUNet::dequantize_logits(&scores, &mut back);

    let mut again = *NET.lock().unwrap();
    assert_eq!(greatest(&mut again, &stored), scores.into_iter().max());
    assert_eq!(format!("{:?}", again.clone()), "ImuNet { .. }");
    assert_eq!(ports_of::<IMUNet>(), IMUNet::IMU_LEN + IMUNet::LOGITS_LEN);
    assert_eq!(ports_of::<Float>(), 4 * ports_of::<IMUNet>());
    let input = IMUNet::INPUTS[0];
    assert_eq!((input.name, input.shape, input.element), ("imu", &IMUNet::IMU_SHAPE[..], ElementType::I8));
    let affine = input.affine.unwrap();
    assert_eq!((affine.scale, affine.zero_point), (IMUNet::IMU_SCALE, IMUNet::IMU_ZERO_POINT));
    assert!(Float::INPUTS[0].affine.is_none() && Float::STATE_BYTES == 0 && Float::WEIGHTS_BYTES > 0);
    assert!(IMUNet::CODE_BYTES.is_some() && IMUNet::KERNEL_STACK_BYTES > 0);

    // One input stands alone, several outputs are a tuple; the method by name and the trait's are one.
    let image = [0.25; Several::IMAGE_LEN];
    let mut one = ([0.0; Several::HEAD_LEN], [0.0; Several::Y2_LEN], [0.0; Several::R_LEN]);
    let mut other = one;
    Several::new().run(&image, &mut one.0, &mut one.1, &mut one.2);
    Model::run(&mut Several::new(), &image, (&mut other.0, &mut other.1, &mut other.2));
    assert_eq!(one, other);
    // The model's own names are in the constants of the trait.
    assert_eq!((Several::INPUTS[0].name, Several::OUTPUTS[0].name), ("x", "y1"));

    let mut exact = [0.0; Float::LOGITS_LEN];
    Float::new().run(&real, &mut exact);
    for (a, b) in back.iter().zip(&exact) {
        assert!((a - b).abs() < 1.0, "{back:?} {exact:?}");
    }
}
