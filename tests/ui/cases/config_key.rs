#[secateur::model(
    "models/watch.onnx",
    config = "models/wrong.toml"
)]
pub struct Watch;

fn main() {}
