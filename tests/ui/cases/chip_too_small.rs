#[secateur::model(
    "models/watch.onnx",
    core = "cortex-m4",
    flash = "16K",
    ram = "2K",
    calibrate = "models/calib.npy"
)]
pub struct Watch;

fn main() {}
