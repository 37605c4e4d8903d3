#[secateur::model(
    "models/watch.onnx",
    target = "nrf52840",
    calibrat = "models/calib.npy"
)]
pub struct Watch;

fn main() {}
