#[secateur::model(
    "models/watch.onnx",
    target = "nrf52840"
)]
pub enum Watch {}

fn main() {}
