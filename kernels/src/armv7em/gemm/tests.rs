//! Blocks against their meaning, packed coefficients, and cycles.

use super::*;
use crate::arith::requant::{Multiplier, high, requantize};
use crate::armv7em::epilogue::Rounding;
use crate::call::{Bind, Call};
use crate::tensor::Data;
use crate::trial::{Random, run};

fn sizes() -> Vec<Gemm> {
    let base = Gemm {
        runs: 1,
        run_pitch: 0,
        pairs: 1,
        outputs: 4,
        columns: 2,
        pitch: 2,
        step: 4,
        format: Format::Packed,
        sh: Some(5),
        lo: -128,
        hi: 127,
        round: ROUND,
        ahead: false,
    };
    vec![
        base,
        Gemm { columns: 1, ..base },
        Gemm { pairs: 8, outputs: 8, pitch: 16, step: 8, sh: Some(1), ..base },
        Gemm { pairs: 5, outputs: 7, pitch: 12, step: 11, sh: Some(9), lo: -5, hi: 120, ..base },
        Gemm { pairs: 5, outputs: 7, pitch: 12, step: 11, columns: 1, lo: 0, hi: 60, ..base },
        Gemm { pairs: 32, outputs: 12, pitch: 64, step: 12, sh: Some(MAX_SH), ..base },
        Gemm { pairs: 33, outputs: 9, pitch: 66, step: 9, ..base },
        Gemm { pairs: 72, outputs: 6, pitch: 144, step: 6, ..base },
        Gemm { pairs: 72, outputs: 16, pitch: 144, step: 16, columns: 1, ..base },
        Gemm { pairs: 49, outputs: 3, pitch: 100, columns: 1, ..base },
        Gemm { pairs: 320, outputs: 5, pitch: 640, step: 5, columns: 1, sh: Some(12), ..base },
        Gemm { pairs: 17, outputs: 1, pitch: 34, step: 1, ..base },
        // Windows: runs of a few pairs, of many, and columns that overlap.
        Gemm { runs: 3, run_pitch: 22, pairs: 5, outputs: 8, pitch: 6, step: 8, ..base },
        Gemm { runs: 3, run_pitch: 136, pairs: 24, outputs: 9, pitch: 16, step: 9, ..base },
        Gemm { runs: 3, run_pitch: 136, pairs: 24, outputs: 5, columns: 1, ..base },
        Gemm { runs: 3, run_pitch: 192, pairs: 48, outputs: 4, pitch: 32, step: 7, ..base },
        Gemm { runs: 5, run_pitch: 400, pairs: 29, outputs: 6, pitch: 2, step: 6, columns: 1, ..base },
        Gemm { runs: 10, run_pitch: 12, pairs: 2, outputs: 8, pitch: 4, step: 320, ..base },
        Gemm { runs: 2, run_pitch: 3000, pairs: 3, outputs: 4, pitch: 6, ..base },
        // Short rounds: a whole number of them, and one and a half.
        Gemm { pairs: 32, outputs: 10, pitch: 64, step: 10, columns: 1, round: SHORT, ..base },
        Gemm { pairs: 33, outputs: 10, pitch: 66, step: 10, round: SHORT, ..base },
        Gemm { runs: 3, run_pitch: 136, pairs: 24, outputs: 6, pitch: 16, step: 9, round: SHORT, ..base },
        Gemm { runs: 3, run_pitch: 136, pairs: 6, outputs: 4, pitch: 16, step: 9, round: SHORT, ..base },
    ]
}

#[test]
fn body_and_instructions_are_exact() {
    let mut random = Random(21);
    // Every size in all forms.
    let plain: Vec<Gemm> =
        sizes().into_iter().map(|g| Gemm { format: Format::Plain, sh: None, ..g }).collect();
    let narrow: Vec<Gemm> = sizes().into_iter().chain(plain).collect();
    let wide: Vec<Gemm> = narrow.iter().map(|g| Gemm { format: Format::Halves, ..*g }).collect();
    let four: Vec<Gemm> = narrow.iter().map(|g| Gemm { format: Format::Nibbles, ..*g }).collect();
    let ahead = narrow.iter().chain(&wide).filter(|g| g.columns == 2).map(|g| Gemm { ahead: true, ..*g });
    let ahead: Vec<Gemm> = ahead.collect();
    for (case, g) in narrow.iter().chain(&wide).chain(&four).chain(&ahead).enumerate() {
        for round in [case % 4] {
            let k = 2 * g.runs * g.pairs;
            // Long rows take smaller weights, so that their sums stay within 2^23, and plain
            // ones biases that leave it.
            let scale = if k > 200 && g.format == Format::Packed { 4 } else { 1 };
            let most = match g.format {
                Format::Packed | Format::Nibbles => 90_000,
                Format::Plain | Format::Halves => 1 << 28,
            };
            // Of four bits long rows take the smaller half, so that sums stay within 2^19.
            let weight = |v: i8| match g.format {
                Format::Nibbles if k > 200 => i32::from(v >> 6),
                Format::Nibbles => i32::from(v >> 4),
                _ => i32::from(v).max(-127) / scale,
            };
            let w: Vec<i32> = (random.bytes(g.outputs * k).iter()).map(|&v| weight(v)).collect();
            let bias: Vec<i32> = (0..g.outputs).map(|_| random.within(-most, most) as i32).collect();
            let m: Vec<i32> =
                (0..g.outputs).map(|_| random.within(1 << 20, i32::MAX.into()) as i32).collect();
            let zx = [-128, 127, 0, -3][round];
            let zp = [127, -128, -3, 0][round];
            let x: Vec<i32> = random.bytes(g.acts_len()).iter().map(|&v| i32::from(v)).collect();
            let acts: Vec<i16> = x.iter().map(|&v| (v - zx) as i16).collect();
            let reach: Vec<(i32, i32)> = (0..g.outputs)
                .map(|o| {
                    let all: i32 = w[o * k..(o + 1) * k].iter().map(|w| w.abs() * 255).sum();
                    (bias[o] - all, bias[o] + all)
                })
                .collect();
            let taps: Vec<Option<usize>> = (0..k).rev().map(Some).collect();
            let sh: Vec<u32> = (0..g.outputs).map(|_| g.sh.unwrap_or(random.within(1, 22) as u32)).collect();
            let each: Vec<(i32, u32)> = sh.iter().map(|sh| high(sh + 32, zp)).collect();
            let rounding = Rounding { multipliers: &m, each: &each };
            let Some(stream) = g.stream().pack(&w, &bias, rounding, &reach, &taps) else {
                panic!("case {case} does not pack");
            };
            assert_eq!(stream.len(), g.stream().len());
            let rnd = each[0].0;

            let kernel = g.kernel(&secateur_targets::core("cortex-m4").unwrap()).unwrap();
            let mut args = vec![Bind::Operand(0), Bind::aligned("w", Data::I16(stream), 4), Bind::Result(0)];
            args.extend(g.sh.map(|_| Bind::Scalar(rnd)));
            let y_len = (g.columns - 1) * g.step + g.outputs;
            let call = Call { kernel, args };
            let Data::I8(body) = run(&call, &[Data::I16(acts.clone())], DType::I8, y_len) else { panic!() };
            for q in 0..g.columns {
                for o in 0..g.outputs {
                    let input =
                        |j: usize| acts[j / (2 * g.pairs) * g.run_pitch + j % (2 * g.pairs) + q * g.pitch];
                    let sum: i64 =
                        (0..k).map(|j| i64::from(input(j)) * i64::from(w[o * k + k - 1 - j])).sum();
                    let by = Multiplier { m: m[o], s: sh[o] + 32 };
                    let want = requantize((sum + i64::from(bias[o])) as i32, by, zp, g.lo, g.hi);
                    let at = q * g.step + o;
                    assert_eq!(i32::from(body[at]), want, "case {case} round {round} output {o}");
                }
            }
        }
    }
}

#[test]
fn sums_that_do_not_fit_are_refused() {
    let g = Gemm {
        runs: 1,
        run_pitch: 0,
        pairs: 300,
        outputs: 4,
        columns: 1,
        pitch: 600,
        step: 4,
        format: Format::Packed,
        sh: Some(5),
        lo: -128,
        hi: 127,
        round: ROUND,
        ahead: false,
    };
    let w = vec![127; 4 * 600];
    let taps: Vec<Option<usize>> = (0..600).map(Some).collect();
    let rounding = Rounding { multipliers: &[1; 4], each: &[(0, 5); 4] };
    let reach = [(0, 127 * 255 * 600); 4];
    assert!(g.stream().pack(&w, &[0; 4], rounding, &reach, &taps).is_none());
    assert!(g.stream().pack(&w, &[0; 4], rounding, &[(0, 8_000_000); 4], &taps).is_some());
    // -128 beside a negative partner leaves sixteen bits.
    assert!(g.stream().pack(&vec![-128; 2400], &[0; 4], rounding, &[(0, 1); 4], &taps).is_none());
}

/// The bound of the inner loop on Cortex-M4: for two inputs times four channels times two
/// columns, 4 loads side by side (5), 2 extensions and 8 `smlad`: 15 cycles for 16 MAC.
#[test]
fn inner_loop_meets_its_bound() {
    let m4 = secateur_targets::core("cortex-m4").unwrap();
    let cycles = |g: &Gemm| g.block().native("dsp", &m4).unwrap().cycles;
    let g = Gemm {
        runs: 1,
        run_pitch: 0,
        pairs: 32,
        outputs: 64,
        columns: 2,
        pitch: 64,
        step: 64,
        format: Format::Packed,
        sh: Some(5),
        lo: -128,
        hi: 127,
        round: ROUND,
        ahead: false,
    };
    let whole = cycles(&g);
    let macs = 64 * 64 * 2;
    let inner = 16 * 32 * 15;
    assert!(whole < inner * 112 / 100, "{whole} cycles against {inner}");
    assert!(f64::from(whole as u32) / f64::from(macs) < 1.05, "{whole}");
    let one = Gemm { columns: 1, ..g };
    let whole = cycles(&one);
    // Two pairs: 6 loads (7), 4 extensions, 8 `smlad`: 19 cycles for 16 MAC.
    assert!(whole < 16 * 16 * 19 * 115 / 100, "{whole}");
}
