#[secateur::model("models/watch.onnx", target = "nrf52840")]
pub struct Watch;

fn main() {}
