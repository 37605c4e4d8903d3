#[secateur::model(
    "models/watch.onnx",
    target = "nrf52840",
    calibrate = "models/wrong.npy"
)]
pub struct Watch;

fn main() {}
