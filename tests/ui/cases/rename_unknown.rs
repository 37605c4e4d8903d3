#[secateur::model("models/watch.onnx", quantize = "none", rename(window = "imu_window"))]
struct Net;

fn main() {}
