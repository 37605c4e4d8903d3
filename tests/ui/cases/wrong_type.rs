#[secateur::model(
    "models/watch.onnx",
    target = "nrf52840",
    optimize = 3
)]
pub struct Watch;

fn main() {}
