#[secateur::model(
    "models/watch.onnx",
    target = "nrf52840",
    calibrate = "models/calib.npy",
    max_flash = "20K"
)]
pub struct Watch;

fn main() {}
