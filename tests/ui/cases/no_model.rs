#[secateur::model(
    target = "nrf52840"
)]
pub struct Watch;

fn main() {}
