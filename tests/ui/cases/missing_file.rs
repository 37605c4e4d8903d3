#[secateur::model("models/nowhere.onnx", target = "nrf52840")]
pub struct Nowhere;

fn main() {}
