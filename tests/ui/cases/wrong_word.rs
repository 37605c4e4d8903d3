#[secateur::model(
    "models/watch.onnx",
    target = "nrf52840",
    quantize = "int-8"
)]
pub struct Watch;

fn main() {}
