#[secateur::model(
    "models/watch.onnx",
    core = "cortex-m4",
    calibrate = "models/calib.npy"
)]
pub struct Watch;

fn main() {}
