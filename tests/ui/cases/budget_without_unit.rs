#[secateur::model(
    "models/watch.onnx",
    target = "nrf52840",
    calibrate = "models/calib.npy",
    max_latency = 20
)]
pub struct Watch;

fn main() {}
