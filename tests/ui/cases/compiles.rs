//! Documentation, visibility and a name of the user's own; inside of a function, too.
#![deny(deprecated)]

#[secateur::model("models/watch.onnx", target = "cortex-m4", calibrate = "models/calib.npy")]
/// Recognises exercises.
pub(crate) struct IMUNet;

static NET: std::sync::Mutex<IMUNet> = std::sync::Mutex::new(IMUNet::new());

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

    let (mut stored, mut scores) = ([0i8; IMUNet::IMU_LEN], [0i8; IMUNet::LOGITS_LEN]);
    let real = [0.5f32; Float::IMU_LEN];
    IMUNet::quantize_imu(&real, &mut stored);
    NET.lock().unwrap().run(&stored, &mut scores);
    let mut back = [0.0; IMUNet::LOGITS_LEN];
    IMUNet::dequantize_logits(&scores, &mut back);

    let mut exact = [0.0; Float::LOGITS_LEN];
    Float::new().run(&real, &mut exact);
    for (a, b) in back.iter().zip(&exact) {
        assert!((a - b).abs() < 1.0, "{back:?} {exact:?}");
    }
}
