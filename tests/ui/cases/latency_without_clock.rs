#[secateur::model(
    "models/watch.onnx",
    calibrate = "models/calib.npy",
    max_latency = "20ms"
)]
pub struct Watch;

fn main() {}
