//! The float functions: close to the true value, and the same bits from Rust and from C.

use secateur_runtime::{math, sources};
use secateur_tests::{host, tools};
use std::io::{Read, Write};
use std::process::Stdio;

type Function = (&'static str, fn(f32) -> f32, fn(f64) -> f64, f64);

/// Name in C (without prefix), ours, the truth, greatest error in units in the last place.
const FUNCTIONS: [Function; 7] = [
    ("expf", math::exp, f64::exp, 1.5),
    ("logf", math::log, f64::ln, 1.5),
    ("tanhf", math::tanh, f64::tanh, 2.0),
    ("sigmoidf", math::sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 3.0),
    ("sqrtf", math::sqrt, f64::sqrt, 0.5),
    ("floorf", math::floor, f64::floor, 0.0),
    ("roundf", math::round_half_even, f64::round_ties_even, 0.0),
];

/// Every 4099th bit pattern, and the neighbourhood of every power of two and special value.
fn inputs() -> Vec<f32> {
    let mut bits: Vec<u32> = (0..=u32::MAX).step_by(4099).collect();
    for exponent in 0..=255u32 {
        for sign in [0, 0x8000_0000u32] {
            for d in -3i32..=3 {
                bits.push((sign | exponent << 23).wrapping_add_signed(d));
                bits.push((sign | exponent << 23 | 0x0040_0000).wrapping_add_signed(d));
            }
        }
    }
    // Dense where the functions bend, and all multiples of one half up to 64.
    bits.extend((-400_000..400_000).map(|i| (i as f32 * 2.71e-4).to_bits()));
    bits.extend((-128..=128).map(|i| (i as f32 * 0.5).to_bits()));
    bits.into_iter().map(f32::from_bits).collect()
}

#[test]
fn close_to_the_truth() {
    for (name, ours, truth, bound) in FUNCTIONS {
        let mut worst = (0.0, 0.0);
        for x in inputs() {
            let (got, want) = (ours(x), truth(f64::from(x)));
            if want.is_nan() {
                assert!(got.is_nan(), "{name}({x:e}) = {got:e}, not NaN");
                continue;
            }
            let rounded = want as f32;
            if got.to_bits() == rounded.to_bits() {
                continue;
            }
            assert!(got.is_finite() || rounded.abs() > 3.4e38, "{name}({x:e}) = {got:e}, not {rounded:e}");
            let exponent = ((rounded.to_bits() >> 23 & 0xff) as i32).max(1) - 150;
            let error = (f64::from(got) - want).abs() / f64::from(exponent).exp2();
            if error > worst.0 {
                worst = (error, x);
            }
        }
        assert!(worst.0 <= bound, "{name}: {} ulp at {:e}", worst.0, worst.1);
    }
}

#[test]
fn zeros_keep_their_sign() {
    for f in [math::tanh, math::sqrt, math::floor, math::round_half_even] {
        assert_eq!(f(-0.0).to_bits(), (-0.0f32).to_bits());
        assert_eq!(f(0.0).to_bits(), 0);
    }
}

#[test]
fn order_is_that_of_floats() {
    let mut xs: Vec<f32> = inputs().into_iter().filter(|x| !x.is_nan()).collect();
    xs.sort_by(f32::total_cmp);
    for pair in xs.windows(2) {
        let (a, b) = (math::order(pair[0]), math::order(pair[1]));
        assert!(a < b || pair[0].to_bits() == pair[1].to_bits() && a == b, "{} and {}", pair[0], pair[1]);
    }
    assert_eq!((math::order(-0.0), math::order(0.0)), (-1, 0));
    assert!(math::order(f32::INFINITY) < i32::MAX && math::order(f32::NEG_INFINITY) > i32::MIN + 1);
    for bits in [0x7fc0_0000, 0xffc0_0000, 0x7f80_0001, 0xff80_0001, u32::MAX] {
        assert_eq!(math::order(f32::from_bits(bits)), i32::MAX);
    }
}

#[test]
fn c_gives_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [sources::SECATEUR_MATH_H, sources::SECATEUR_H] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let calls: String = FUNCTIONS.iter().map(|(name, ..)| format!("put(secateur_{name}(x));")).collect();
    // Of the order, the bits of the integer.
    let calls = calls + "{ int32_t k = secateur_order(x); fwrite(&k, 4, 1, stdout); }";
    let main = format!(
        "#include \"secateur.h\"\n#include \"secateur_math.h\"\n#include <stdio.h>\n\
         static void put(float y) {{ uint32_t b = secateur_bits(y); fwrite(&b, 4, 1, stdout); }}\n\
         int main(void) {{ float x; while (fread(&x, 4, 1, stdin) == 1) {{ {calls} }} return 0; }}\n"
    );
    std::fs::write(dir.path().join("main.c"), main).unwrap();
    let xs = inputs();
    for cc in host::c_compilers() {
        let exe = dir.path().join(cc);
        let status = tools::command(cc)
            .args(["-std=c99", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror", "main.c", "-o"])
            .arg(&exe)
            .current_dir(dir.path())
            .status()
            .expect("the compiler starts");
        assert!(status.success(), "{cc} refuses the headers");
        let mut child = tools::built(&exe).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let bytes: Vec<u8> = xs.iter().flat_map(|x| x.to_le_bytes()).collect();
        let feed = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
        let mut out = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
        feed.join().unwrap();
        child.wait().unwrap();
        let (words, _) = out.as_chunks::<4>();
        let each = FUNCTIONS.len() + 1;
        assert_eq!(words.len(), xs.len() * each);
        for (i, word) in words.iter().enumerate() {
            let x = xs[i / each];
            let Some((name, ours, ..)) = FUNCTIONS.get(i % each) else {
                assert_eq!(i32::from_le_bytes(*word), math::order(x), "{cc}: order({x:e})");
                continue;
            };
            let (c, rust) = (f32::from_le_bytes(*word), ours(x));
            assert!(
                c.to_bits() == rust.to_bits() || (c.is_nan() && rust.is_nan()),
                "{cc}: {name}({x:e}): C {c:e}, Rust {rust:e}"
            );
        }
    }
}
