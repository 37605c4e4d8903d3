#[secateur::model("models/watch.onnx", quantize = "none", rename(logits = "Scores!"))]
struct Net;

fn main() {}
