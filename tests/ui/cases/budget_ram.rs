#[secateur::model(
    "models/watch.onnx",
    target = "nrf52840",
    calibrate = "models/calib.npy",
    max_ram = "4K"
)]
pub struct Watch;

fn main() {}
