//! Every shape of blocks against sums by hand, and the cycles of the bounds.

use super::*;
use crate::arith::requant::{Multiplier, high, requantize};
use crate::armv7em::epilogue::Rounding;
use crate::armv7em::gemm::ROUND as PAIRS;
use crate::call::{Bind, Call};
use crate::tensor::Data;
use crate::trial::{Random, run};

const BASE: Gemm = Gemm {
    runs: 1,
    run_pitch: 0,
    pairs: 32,
    outputs: 16,
    columns: 2,
    pitch: 64,
    step: 16,
    format: Format::Packed,
    sh: Some(5),
    lo: -128,
    hi: 127,
    round: PAIRS,
    ahead: false,
};

/// Weights of which so many blocks in a hundred are not zero.
fn weights(random: &mut Random, rows: usize, g: &Gemm, share: i64) -> Vec<i32> {
    let row = 2 * g.runs * g.pairs;
    let mut w: Vec<i32> = (0..g.outputs * row).map(|_| random.within(-127, 127) as i32).collect();
    for (o, j) in (0..g.outputs).step_by(rows).flat_map(|o| (0..row).step_by(INPUTS).map(move |j| (o, j))) {
        if random.within(0, 99) >= share {
            (o..o + rows).for_each(|o| w[o * row + j..o * row + j + INPUTS].fill(0));
        }
    }
    w
}

#[test]
fn body_and_instructions_are_exact() {
    let sizes = [
        BASE,
        Gemm { columns: 1, ..BASE },
        Gemm { pairs: 2, outputs: 4, lo: -9, hi: 88, ..BASE },
        Gemm { runs: 3, run_pitch: 136, pairs: 24, outputs: 8, pitch: 16, step: 9, ..BASE },
        // Rows that a step does not reach over.
        Gemm { runs: 3, run_pitch: 2000, pairs: 6, outputs: 4, pitch: 8, step: 40, ..BASE },
        Gemm { pairs: 320, outputs: 8, columns: 1, sh: Some(12), ..BASE },
        // Results of sixteen bits.
        Gemm { columns: 1, lo: -32768, hi: 32767, sh: Some(3), ..BASE },
        Gemm { pairs: 16, step: 21, lo: -32768, hi: 32767, sh: Some(1), ..BASE },
    ];
    let mut random = Random(77);
    let m4 = secateur_targets::core("cortex-m4").unwrap();
    // Nothing, one block in a group or so, most of them.
    let forms = ROWS.map(|rows| (rows, Form::Words)).into_iter();
    let forms = forms.chain([(1, Form::Bytes), (1, Form::Halves)]);
    let cases = forms.flat_map(|f| sizes.iter().flat_map(move |g| [0, 6, 30, 85].map(|s| (f, g, s))));
    for (case, ((rows, form), sizes, share)) in cases.enumerate() {
        // Two columns become as many as the blocks take.
        let columns = if sizes.columns == 1 { 1 } else { most_columns(rows) };
        let g = &Gemm { columns, ..Blocks::sizes(rows, sizes) };
        let k = 2 * g.runs * g.pairs;
        let w = weights(&mut random, rows, g, share);
        let bias: Vec<i32> = (0..g.outputs).map(|_| random.within(-90_000, 90_000) as i32).collect();
        let m: Vec<i32> = (0..g.outputs).map(|_| random.within(1 << 20, i32::MAX.into()) as i32).collect();
        let zp = [127, -128, -3][case % 3];
        let each = vec![high(g.sh.unwrap() + 32, zp); g.outputs];
        let rounding = Rounding { multipliers: &m, each: &each };
        let taps: Vec<Option<usize>> = (0..k).map(Some).collect();
        let reach = vec![(-(1 << 23) + 1, (1 << 23) - 1); g.outputs];
        let (blocks, stream) = Blocks::pack((rows, form), g, &w, &bias, rounding, &reach, &taps).unwrap();
        let far = form == Form::Halves && g.runs > 1;
        assert!(far || share > 50 || blocks.all() < 10 || blocks.pays(), "case {case}: {blocks:?}");
        assert_eq!(stream.len(), blocks.len);
        let acts: Vec<i16> = (0..g.acts_len()).map(|_| random.within(-255, 255) as i16).collect();
        let args = vec![
            Bind::Operand(0),
            Bind::aligned("w", Data::I16(stream), 4),
            Bind::Result(0),
            Bind::Scalar(each[0].0),
        ];
        let y_len = (g.columns - 1) * g.step + g.outputs;
        let call = Call { kernel: blocks.kernel(&m4).unwrap(), args };
        let got: Vec<i32> = match run(&call, &[Data::I16(acts.clone())], g.result(), y_len) {
            Data::I8(v) => v.into_iter().map(i32::from).collect(),
            Data::I16(v) => v.into_iter().map(i32::from).collect(),
            other => panic!("{other:?}"),
        };
        for (q, o) in (0..g.columns).flat_map(|q| (0..g.outputs).map(move |o| (q, o))) {
            let input = |j: usize| acts[j / (2 * g.pairs) * g.run_pitch + j % (2 * g.pairs) + q * g.pitch];
            let sum: i32 = (0..k).map(|j| i32::from(input(j)) * w[o * k + j]).sum();
            if rows > 1 && sum.abs() >= 1 << 23 {
                continue;
            }
            let by = Multiplier { m: m[o], s: g.sh.unwrap() + 32 };
            let want = requantize(sum + bias[o], by, zp, g.lo, g.hi);
            assert_eq!(got[q * g.step + o], want, "case {case} column {q} output {o}");
        }
    }
}

/// The bounds of the header, for three blocks in four of a window of 32 channels that are zero.
#[test]
fn cycles_stay_near_the_bound() {
    let m4 = secateur_targets::core("cortex-m4").unwrap();
    // A block, and what a group takes beside: sums that begin and end, and the way into its first round.
    let words = [(4, 35.0, 68.0), (2, 36.25, 90.0), (1, 48.25, 90.0)];
    let words = words.map(|(rows, block, group)| (rows, Form::Words, block, group));
    let single = [(1, Form::Bytes, 48.25, 90.0), (1, Form::Halves, 49.25, 90.0)];
    for (rows, form, block, group) in words.into_iter().chain(single) {
        let columns = most_columns(rows);
        let g =
            Gemm { runs: 3, run_pitch: 1088, pairs: 48, outputs: 32, pitch: 32, step: 32, columns, ..BASE };
        let stored = 18 * g.outputs / rows;
        let blocks = Blocks { gemm: Blocks::sizes(rows, &g), rows, form, stored, len: 4000 };
        let cycles = blocks.native(&m4).unwrap().cycles as f64;
        let bound = block * stored as f64 + group * blocks.groups() as f64;
        assert!(cycles < bound, "{rows} {form:?}: {cycles} against {bound}");
    }
}

/// Three blocks in four of a window of 32 channels, and of a product of 64, are zero: what the others take.
#[test]
fn few_bytes_stand_for_a_block() {
    let window = Gemm { runs: 3, run_pitch: 1088, pairs: 48, outputs: 32, pitch: 32, step: 32, ..BASE };
    let mut random = Random(84);
    let mut packed = |g: &Gemm, share: i64, bias: i32, spends: bool| {
        let w = weights(&mut random, 1, g, share);
        let (m, each) = (vec![1 << 30; g.outputs], vec![high(g.sh.unwrap() + 32, 0); g.outputs]);
        let rounding = Rounding { multipliers: &m, each: &each };
        let taps: Vec<Option<usize>> = (0..2 * g.runs * g.pairs).map(Some).collect();
        let (bias, reach) = (vec![bias; g.outputs], vec![(0, 0); g.outputs]);
        Blocks::least((1, spends), g, &w, &bias, rounding, &reach, &taps).unwrap().0
    };
    // Bytes, of which a round may have three, or one and a half, that stand for no block.
    let bytes = |b: &Blocks, block: f64, channel: f64| {
        let most = block * b.stored as f64 + channel * b.gemm.outputs as f64;
        assert!(2.0 * b.len as f64 <= most, "{b:?}");
    };
    // From row to row of a window it is far.
    let blocks = packed(&window, 25, 9, false);
    assert_eq!(blocks.form, Form::Bytes);
    bytes(&blocks, 5.0, 8.0 + 3.0);
    let blocks = packed(&BASE, 25, 9, false);
    assert_eq!(blocks.form, Form::Halves);
    bytes(&blocks, 4.5, 8.0 + 1.5);
    // Flash to spend saves cycles; of few blocks too many are far away; a large bias leaves no room.
    assert_eq!(packed(&BASE, 25, 9, true).form, Form::Bytes);
    assert_eq!(packed(&Gemm { pairs: 320, ..BASE }, 6, 9, false).form, Form::Bytes);
    assert_eq!(packed(&window, 25, 1 << 23, false).form, Form::Words);
}
