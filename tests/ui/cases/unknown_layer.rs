#[secateur::model(
    "models/watch.onnx",
    target = "nrf52840",
    calibrate = "models/calib.npy",
    kernel("no_such_layer*" = "portable")
)]
pub struct Watch;

fn main() {}
