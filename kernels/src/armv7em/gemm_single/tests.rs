//! Rows of every density against sums by hand, sums that leave their lane, and the cycles of the bound.

use super::*;
use crate::arith::requant::{Multiplier, high, requantize};
use crate::call::{Bind, Call};
use crate::tensor::Data;
use crate::trial::{Random, run};

const BASE: Sizes = Sizes { acts: 0, columns: 4, pitch: 48, step: 9, sh: 5, lo: -128, hi: 127, round: 2 };

/// What share of the weights is not zero, in hundredths, and how large they are.
const FILLS: [(i64, i64); 5] = [(0, 127), (3, 128), (20, 127), (60, 1), (100, 127)];

#[test]
fn body_and_instructions_are_exact() {
    let sizes = [
        (48, BASE),
        (1, Sizes { columns: 1, pitch: 0, ..BASE }),
        (40, Sizes { columns: 3, pitch: 10, round: 4, ..BASE }),
        (300, Sizes { columns: 2, pitch: 700, step: 300, lo: -9, hi: 88, sh: 14, ..BASE }),
        (640, Sizes { columns: 1, pitch: 0, step: 4, sh: 9, round: 4, ..BASE }),
        (144, Sizes { columns: 4, pitch: 341, step: 5, ..BASE }),
    ];
    let mut random = Random(79);
    let m4 = secateur_targets::core("cortex-m4").unwrap();
    let (mut fillers, mut few) = (0, 0);
    for (case, (taps, sizes)) in sizes.into_iter().enumerate() {
        for (round, (share, most)) in FILLS.into_iter().enumerate() {
            let outputs = 1 + (case + round) % 4;
            // Every second row of a layer that is not empty is full or empty.
            let row = |o: usize| if round > 0 && o % 3 == 1 { 100 * (o as i64 % 2) } else { share };
            let w: Vec<i32> = (0..taps * outputs)
                .map(|i| match random.within(0, 99) < row(i / taps) {
                    true => random.within(-most, most.min(127)) as i32,
                    false => 0,
                })
                .collect();
            let bias: Vec<i32> = (0..outputs).map(|_| random.within(-90_000, 90_000) as i32).collect();
            let m: Vec<i32> = (0..outputs).map(|_| random.within(1 << 20, i32::MAX.into()) as i32).collect();
            let zp = [127, -128, -3][(case + round) % 3];
            let each = vec![high(sizes.sh + 32, zp); outputs];
            let sizes = Sizes { acts: taps + (sizes.columns - 1) * sizes.pitch, ..sizes };
            let order: Vec<usize> = (0..taps).rev().collect();
            let rounding = Rounding { multipliers: &m, each: &each };
            let (single, stream) = Single::pack(&sizes, &w, &bias, rounding, &order).unwrap();
            assert_eq!(stream.len(), single.len);
            fillers += usize::from(2 * single.words > w.iter().filter(|&&w| w != 0).count() + outputs);
            few += usize::from(single.words == outputs);
            let pixels = 2 * sizes.columns;
            let inputs: Vec<i8> = random.bytes(2 * sizes.acts);
            let acts: Vec<i32> = inputs
                .chunks(2)
                .map(|x| i32::from_le_bytes([(i16::from(x[0]) + 128) as u8, 0, 0, x[1] as u8]))
                .collect();
            let args = vec![
                Bind::Operand(0),
                Bind::aligned("w", Data::I32(stream), 4),
                Bind::Result(0),
                Bind::Scalar(each[0].0),
            ];
            let call = Call { kernel: single.kernel(&m4).unwrap(), args };
            let y_len = (pixels - 1) * sizes.step + outputs;
            let Data::I8(got) = run(&call, &[Data::I32(acts)], DType::I8, y_len) else { panic!() };
            for (pixel, o) in (0..pixels).flat_map(|p| (0..outputs).map(move |o| (p, o))) {
                let (second, i) = (pixel / sizes.columns, pixel % sizes.columns);
                let x = |t: usize| i32::from(inputs[2 * (i * sizes.pitch + t) + second]);
                let sum: i32 = (0..taps).map(|t| x(t) * w[o * taps + taps - 1 - t]).sum();
                let by = Multiplier { m: m[o], s: sizes.sh + 32 };
                let want = requantize(sum + bias[o], by, zp, sizes.lo, sizes.hi);
                let got = i32::from(got[pixel * sizes.step + o]);
                assert_eq!(got, want, "case {case} round {round} pixel {pixel} output {o}");
            }
        }
    }
    assert!(fillers > 0 && few > 0, "weights of zero: {fillers}, channels of one word: {few}");
}

#[test]
fn sums_that_leave_their_lane_are_refused() {
    let sizes = Sizes { acts: 700, columns: 1, pitch: 0, ..BASE };
    let pack = |taps: usize, bias: i32| {
        let (m, each) = ([1 << 30], [high(sizes.sh + 32, 0)]);
        let rounding = Rounding { multipliers: &m, each: &each };
        Single::pack(&sizes, &vec![127; taps], &[bias], rounding, &(0..taps).collect::<Vec<_>>())
    };
    assert!(pack(500, 0).is_some());
    assert!(pack(500, 1 << 19).is_none());
    assert!(pack(520, 0).is_none());
}

/// The bound of the header, for four weights in five of a window of 32 channels that are zero.
#[test]
fn cycles_stay_near_the_bound() {
    let m4 = secateur_targets::core("cortex-m4").unwrap();
    let sizes = Sizes { acts: 576, columns: 4, pitch: 96, step: 32, ..BASE };
    let outputs = 32;
    let single = Single { sizes, outputs, words: 29 * outputs, len: 32 * outputs + 1 };
    let cycles = single.native(&m4).unwrap().cycles as f64;
    // A channel begins and ends in so many cycles.
    let bound = (58.0 * 14.75 + 95.0) * outputs as f64;
    assert!(cycles < bound, "{cycles} against {bound}");
}
