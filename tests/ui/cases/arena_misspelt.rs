#[secateur::model("models/watch.onnx", quantize = "none", arena = "share")]
struct Net;

fn main() {}
