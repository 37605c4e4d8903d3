//! Recognises shoulder exercises in windows of smartwatch data, with a model that Secateur
//! compiled while this program was built.

#[secateur::model(
    "models/har.onnx",
    target = "nrf52840",
    calibrate = "models/har_calib.npy",
    quantize = "int8"
)]
pub struct Har;

/// 50 windows of six channels and 128 samples, and what was done in them.
const WINDOWS: &[u8] = include_bytes!("../models/har_test_x.npy");
const LABELS: &[u8] = include_bytes!("../models/har_test_y.npy");

/// All working memory of the model: an instance in a `static` needs no stack and no heap.
static HAR: std::sync::Mutex<Har> = std::sync::Mutex::new(Har::new());

/// The numbers of a .npy file, which follow a header whose length stands at byte 8.
fn numbers<const N: usize>(file: &[u8]) -> &[[u8; N]] {
    let start = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
    file[start..].as_chunks().0
}

fn main() {
    let mut har = HAR.lock().expect("one thread");
    println!("{} bytes of weights, {} bytes of working memory", Har::WEIGHTS_BYTES, Har::ARENA_BYTES);

    let samples: Vec<f32> = numbers(WINDOWS).iter().map(|&b| f32::from_le_bytes(b)).collect();
    let labels = numbers(LABELS).iter().map(|&b| i64::from_le_bytes(b));
    let (mut right, mut all) = (0, 0);
    for (window, label) in samples.as_chunks::<{ Har::IMU_LEN }>().0.iter().zip(labels) {
        // Sensor values to the model's integers, one inference, the largest of seven scores.
        let (mut input, mut scores) = ([0; Har::IMU_LEN], [0; Har::LOGITS_LEN]);
        Har::quantize_imu(window, &mut input);
        har.run(&input, &mut scores);
        let best = (0..scores.len()).max_by_key(|&i| scores[i]);
        right += usize::from(best == Some(label as usize));
        all += 1;
    }
    println!("{right} of {all} windows recognised");
}
