#[secateur::model("models/watch.onnx", quantize = "none", section = "model weights")]
struct Net;

fn main() {}
