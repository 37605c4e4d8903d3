#[secateur::model(
    "models/watch.onnx",
    target = "nrf52840",
    calibrate = "models/calib.npy",
    max_ram = "4K",
    max_flash = "20K",
    max_latency = "1ms"
)]
pub struct Watch;

fn main() {}
