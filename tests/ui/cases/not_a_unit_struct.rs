#[secateur::model("models/watch.onnx", quantize = "none")]
pub struct Watch {
    arena: [u8; 4],
}

fn main() {}
