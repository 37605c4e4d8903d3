#[secateur::model("models/unsupported.onnx", quantize = "none")]
pub struct Unsupported;

fn main() {}
