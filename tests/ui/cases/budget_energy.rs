#[secateur::model(
    "models/watch.onnx",
    target = "nrf52840",
    calibrate = "models/calib.npy",
    max_energy = "50uJ"
)]
pub struct Watch;

fn main() {}
