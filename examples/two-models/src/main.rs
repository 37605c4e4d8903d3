//! Two models of a watch in one arena: exercises from its motion sensor, heartbeats from its electrodes. They run one after
//! the other, so that the arena is as large as that of the larger model; what a model keeps from run to run is not in it.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};
use secateur::{Arena, largest};

/// The models, for a chip.
#[rustfmt::skip]
macro_rules! models {
    ($chip:literal) => {
        /// Tells seven exercises apart in a window of motion. It keeps nothing.
        #[secateur::model(
            "models/activity.onnx",
            target = $chip,
            calibrate = "models/activity_calib.npy",
            quantize = "int8",
            arena = "shared"
        )]
        pub struct Activity;

        /// Tells three kinds of heartbeats apart, and how much of the last eight beats each was: these it keeps.
        #[secateur::model(
            "models/rhythm.onnx",
            target = $chip,
            calibrate = "models/rhythm_calib.npy",
            quantize = "int8",
            state(past = "past_out"),
            arena = "shared"
        )]
        pub struct Rhythm;
    };
}

#[cfg(chip = "m4")]
models!("nrf52840");
#[cfg(chip = "m33")]
models!("stm32u575");

/// Windows of six channels and 128 samples, and beats of 128 samples, as sensors would deliver them.
const WINDOWS: &[u8] = include_bytes!("../models/windows.npy");
const BEATS: &[u8] = include_bytes!("../models/beats.npy");
/// Of each there are as many.
const TURNS: usize = 13;

const KINDS: [&str; Rhythm::KIND_LEN] = ["normal", "ventricular", "supraventricular"];

type Shared = Arena<{ largest(&[Activity::ARENA_BYTES, Rhythm::ARENA_BYTES]) }>;

/// What a model answers.
type Scores = [i8; Activity::LOGITS_LEN];
type Beat = ([i8; Rhythm::KIND_LEN], [i8; Rhythm::BURDEN_LEN]);

/// Item `index` of a .npy file of `f32`, whose header's length stands at byte 8.
fn item<const LEN: usize>(file: &[u8], index: usize) -> [f32; LEN] {
    let start = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
    let bytes: &[[u8; 4]] = file[start..].as_chunks().0;
    core::array::from_fn(|i| f32::from_le_bytes(bytes[index * LEN + i]))
}

fn exercise(model: &mut Activity, arena: &mut Shared, turn: usize) -> Scores {
    let mut running = model.on(arena);
    Activity::quantize_imu(&item(WINDOWS, turn), running.imu_mut());
    running.run_in_place();
    *running.logits()
}

fn beat(model: &mut Rhythm, arena: &mut Shared, turn: usize) -> Beat {
    let mut running = model.on(arena);
    Rhythm::quantize_ecg(&item(BEATS, turn), running.ecg_mut());
    running.run_in_place();
    (*running.kind(), *running.burden())
}

/// The place of the greatest number.
fn best(numbers: &[i8]) -> usize {
    (0..numbers.len()).rev().max_by_key(|&i| numbers[i]).unwrap_or(0)
}

#[entry]
fn main() -> ! {
    // What `entry` finds in a static is this function's alone.
    static mut ARENA: Shared = Arena::new();
    static mut ACTIVITY: Activity = Activity::new();
    static mut RHYTHM: Rhythm = Rhythm::new();

    hprintln!("activity needs {} bytes to run in, rhythm {}", Activity::ARENA_BYTES, Rhythm::ARENA_BYTES);
    hprintln!("one arena of {} bytes serves both", size_of::<Shared>());
    hprintln!("bytes kept between runs: activity {}, rhythm {}", size_of::<Activity>(), size_of::<Rhythm>());
    let (arena, past) = (&raw const *ARENA, RHYTHM.state_past().as_ptr_range());
    let arena = arena.cast::<i8>()..arena.wrapping_add(1).cast();
    hprintln!("they lie apart from the arena: {}", past.end <= arena.start || arena.end <= past.start);

    // Each model alone: all its runs, with no other between them.
    let exercises: [Scores; TURNS] = core::array::from_fn(|turn| exercise(ACTIVITY, ARENA, turn));
    let beats: [Beat; TURNS] = core::array::from_fn(|turn| beat(RHYTHM, ARENA, turn));
    RHYTHM.reset();

    // And in turn, as a watch has them: each finds the arena as the other left it.
    let mut alike = 0;
    for turn in 0..TURNS {
        let scores = exercise(ACTIVITY, ARENA, turn);
        let (kind, burden) = beat(RHYTHM, ARENA, turn);
        alike += usize::from(scores == exercises[turn]) + usize::from((kind, burden) == beats[turn]);
        hprintln!(
            "exercise {}, score {}; beat {}, of the last eight {} % ventricular",
            best(&scores),
            scores[best(&scores)],
            KINDS[best(&kind)],
            percent(burden[1]),
        );
    }
    hprintln!("{} of {} answers in turn are those of the models alone", alike, 2 * TURNS);
    debug::exit(if alike == 2 * TURNS { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    loop {}
}

/// The nearest whole number of hundredths that a code of `burden` stands for.
fn percent(code: i8) -> i32 {
    let steps = i32::from(code) - i32::from(Rhythm::BURDEN_ZERO_POINT);
    (Rhythm::BURDEN_SCALE * 100.0 * steps as f32 + 0.5) as i32
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    debug::exit(debug::EXIT_FAILURE);
    loop {}
}
