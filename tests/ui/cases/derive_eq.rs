#[secateur::model("models/watch.onnx", quantize = "none")]
#[derive(Clone, PartialEq)]
struct Net;

fn main() {}
