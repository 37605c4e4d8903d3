#[secateur::model(
    "models/watch.onnx",
    target = "nrf52840",
    calibrate = "models/calib.npy",
    max_latency = "5ms"
)]
pub struct Watch;

fn main() {}
