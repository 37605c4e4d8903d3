#[secateur::model(
    "models/watch.onnx",
    target = "nrf52840",
    calibrate = "models/calib.npy"
)]
pub struct Watch<T>(T);

fn main() {}
