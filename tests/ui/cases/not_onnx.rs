#[secateur::model(
    "models/calib.npy",
    target = "nrf52840"
)]
pub struct Watch;

fn main() {}
