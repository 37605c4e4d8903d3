//! Recognises exercises in windows of a watch's motion sensor, on a microcontroller: the model is compiled while this
//! firmware is built, for the chip that it is built for.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};

#[cfg(chip = "m4")]
#[secateur::model(
    "models/activity.onnx",
    target = "nrf52840",
    calibrate = "models/calib.npy",
    quantize = "int8"
)]
pub struct Activity;

#[cfg(chip = "m33")]
#[secateur::model(
    "models/activity.onnx",
    target = "stm32u575",
    calibrate = "models/calib.npy",
    quantize = "int8"
)]
pub struct Activity;

/// Windows of six channels and 128 samples, as a sensor would deliver them.
const WINDOWS: &[u8] = include_bytes!("../models/windows.npy");

/// The numbers of a .npy file, which follow a header whose length stands at byte 8.
fn numbers(file: &[u8]) -> &[[u8; 4]] {
    let start = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
    file.get(start..).unwrap_or_default().as_chunks().0
}

#[entry]
fn main() -> ! {
    // All working memory of the model: what `entry` finds in a static is this function's alone.
    static mut MODEL: Activity = Activity::new();
    let mut window = [0.0; Activity::IMU_LEN];
    for samples in numbers(WINDOWS).chunks_exact(Activity::IMU_LEN) {
        for (real, bytes) in window.iter_mut().zip(samples) {
            *real = f32::from_le_bytes(*bytes);
        }
        Activity::quantize_imu(&window, MODEL.imu_mut());
        MODEL.run_in_place();
        let scores = MODEL.logits().iter().zip(0..);
        if let Some((score, exercise)) = scores.max_by_key(|(score, _)| **score) {
            hprintln!("exercise {}, score {}", exercise, score);
        }
    }
    debug::exit(debug::EXIT_SUCCESS);
    loop {}
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    debug::exit(debug::EXIT_FAILURE);
    loop {}
}
