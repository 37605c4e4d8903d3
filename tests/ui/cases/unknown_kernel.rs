#[secateur::model(
    "models/watch.onnx",
    target = "nrf52840",
    calibrate = "models/calib.npy",
    kernel("*" = "fast")
)]
pub struct Watch;

fn main() {}
