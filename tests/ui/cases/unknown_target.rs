#[secateur::model(
    "models/watch.onnx",
    target = "nrf52480",
    calibrate = "models/calib.npy"
)]
pub struct Watch;

fn main() {}
