#[secateur::model("models/watch.onnx", quantize = "none", rename(logits = "run"))]
struct Net;

fn main() {}
