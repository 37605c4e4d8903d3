//! Recognises exercises in a watch's motion beside whatever else the firmware does: a task of Embassy takes a sample every 20
//! milliseconds, runs the model when a window is full, and the LED blinks the exercise's number.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use activity::Activity;
use core::sync::atomic::{AtomicU8, Ordering};
use embassy_executor::Spawner;
use embassy_nrf::gpio::{Level, Output, OutputDrive};
use embassy_time::{Duration, Ticker, Timer};
use static_cell::ConstStaticCell;

/// Channels of the sensor: acceleration and rotation, of three axes each.
const CHANNELS: usize = 6;
const SAMPLES: usize = Activity::IMU_LEN / CHANNELS;

/// The exercise found last, counted from 1; 0 before the first window.
static EXERCISE: AtomicU8 = AtomicU8::new(0);

/// What stands for the sensor: recorded windows, a row of samples for each channel.
const RECORDED: &[u8] = include_bytes!("../models/windows.npy");

/// All channels at one instant. A driver's read over SPI or I2C, which would be awaited, has this place.
async fn sample(instant: usize) -> [f32; CHANNELS] {
    // A .npy file's header has its length at byte 8.
    let start = 10 + usize::from(u16::from_le_bytes([RECORDED[8], RECORDED[9]]));
    let numbers: &[[u8; 4]] = RECORDED[start..].as_chunks().0;
    let window = instant / SAMPLES % (numbers.len() / Activity::IMU_LEN) * Activity::IMU_LEN;
    core::array::from_fn(|channel| {
        f32::from_le_bytes(numbers[window + channel * SAMPLES + instant % SAMPLES])
    })
}

/// 50 samples a second into windows, and each window through the model.
#[embassy_executor::task]
async fn recognise() {
    // All working memory of the model, and the window that fills meanwhile.
    static MODEL: ConstStaticCell<Activity> = ConstStaticCell::new(Activity::new());
    static WINDOW: ConstStaticCell<[f32; Activity::IMU_LEN]> = ConstStaticCell::new([0.0; Activity::IMU_LEN]);
    let (model, window) = (MODEL.take(), WINDOW.take());
    let mut ticker = Ticker::every(Duration::from_hz(50));
    let mut instant = 0;
    loop {
        for position in 0..SAMPLES {
            ticker.next().await;
            for (channel, real) in sample(instant).await.into_iter().enumerate() {
                window[channel * SAMPLES + position] = real;
            }
            instant = instant.wrapping_add(1);
        }
        // Some 14 milliseconds, in which no other task of this executor runs; the next tick is 20 away.
        Activity::quantize_imu(window, model.imu_mut());
        model.run_in_place();
        let scores = model.logits().iter().zip(1..);
        if let Some((_, exercise)) = scores.max_by_key(|(score, _)| **score) {
            EXERCISE.store(exercise, Ordering::Relaxed);
        }
    }
}

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    let peripherals = embassy_nrf::init(Default::default());
    // LED1 of the development kit, which lights when its pin is low.
    let mut led = Output::new(peripherals.P0_13, Level::High, OutputDrive::Standard);
    if let Ok(task) = recognise() {
        spawner.spawn(task);
    }
    loop {
        for _ in 0..EXERCISE.load(Ordering::Relaxed) {
            led.set_low();
            Timer::after_millis(150).await;
            led.set_high();
            Timer::after_millis(150).await;
        }
        Timer::after_secs(1).await;
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}
