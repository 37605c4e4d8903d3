#[secateur::model(
    "models/watch.onnx",
    config = "models/none.toml"
)]
pub struct Watch;

fn main() {}
