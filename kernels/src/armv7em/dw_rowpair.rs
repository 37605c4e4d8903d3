//! Depthwise convolution on vertical pairs, for cores with `smlad`: four channels at a time are
//! widened so that two rows of one channel share a word, and `smlad` takes two taps at once.
//!
//! In: int8 rows, channels last. [`rows`] makes pairs of them; [`slide`] (3x3, stride 1 or 2),
//! [`line`] and [`plane`] (short and long windows along one axis) and [`tiles`] (any window)
//! multiply. Of four channels the pair of rows `2j` and `2j + 1` at column
//! `i` stands at words `(j * pitch + i) * 4 ..`, one word a channel, the upper row in the low
//! half; the zero point is subtracted, so padding is zero.
//!
//! Law: strides of channels and rows are arguments, so that layers of one width share a text.

use crate::asm::armv7em::{Block, Inst, Reg};
use crate::kernel::Expr;

/// Channels that are widened together.
pub const GROUP: usize = 4;
/// Halves of one column of pairs of a group.
pub const COLUMN: usize = 2 * GROUP;
/// Its bytes.
pub const BYTES: usize = 2 * COLUMN;

/// The word at halves `at` and `at + 1` of a stream.
pub fn word(w: crate::kernel::Buf, at: Expr) -> Expr {
    (w.at(&at) & 65535) + w.at(at + 1) * 65536
}

/// Shifts and saturates to the limits.
pub fn clamp(b: &mut Block, v: Reg, sh: u32, (lo, hi): (i32, i32)) {
    b.push(Inst::Ssat(v, 8, v, sh));
    if lo > -128 {
        b.push(Inst::MaxImm(v, lo));
    }
    if hi < 127 {
        b.push(Inst::MinImm(v, hi));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::requant::high;
    use crate::armv7em::dw_1d::Line;
    use crate::armv7em::dw_3x3::{FORMS, Form, Slide};
    use crate::armv7em::dw_interleave::{PairRows, There};
    use crate::armv7em::dw_plane::{Pass, Plane};
    use crate::armv7em::dw_tiles::Tiles;
    use crate::armv7em::epilogue::Rounding;
    use crate::call::{Bind, Call};
    use crate::kernel::Kernel;
    use crate::tensor::{DType, Data};
    use crate::trial::{Random, run};
    use std::sync::Arc;

    fn core() -> secateur_targets::Core {
        secateur_targets::core("cortex-m4").unwrap()
    }

    /// Runs the body and the instructions on one operand, some data and some scalars.
    fn alike(kernel: &Arc<Kernel>, x: &Data, w: Option<&[i16]>, scalars: &[i32], y: (DType, usize)) {
        let mut args = vec![Bind::Operand(0)];
        args.extend(w.map(|w| Bind::aligned("w", Data::I16(w.to_vec()), 4)));
        args.push(Bind::Result(0));
        args.extend(scalars.iter().map(|&s| Bind::Scalar(s)));
        run(&Call { kernel: kernel.clone(), args }, std::slice::from_ref(x), y.0, y.1);
    }

    #[test]
    fn rows_become_pairs() {
        let mut random = Random(50);
        for columns in [1, 2, 3, 4, 5, 8, 13] {
            for (there, pairs) in [(There::Both, 1), (There::Both, 3), (There::Upper, 1), (There::Lower, 1)] {
                let step = [4, 7][pairs % 2];
                let row = columns * step + pairs;
                let p = PairRows { there, pairs, columns, pitch: columns + pairs, step, row };
                let x = Data::I8(random.bytes(p.x_len()));
                let mut scalars = vec![random.within(-128, 127) as i32];
                scalars.extend(p.scalars());
                let out = (DType::I16, p.out_len());
                alike(&p.kernel(&core()).unwrap(), &x, None, &scalars, out);
            }
        }
    }

    #[test]
    fn slides_are_exact() {
        let mut random = Random(51);
        for (case, (stride, rows, outputs, left, channels)) in [
            (1, 1, 1, 1, 4),
            (1, 2, 6, 1, 1),
            (1, 5, 3, 0, 3),
            (1, 4, 24, 1, 2),
            (1, 3, 40, 2, 4),
            (1, 24, 24, 1, 1),
            (2, 1, 2, 0, 4),
            (2, 3, 5, 1, 3),
            (2, 2, 24, 0, 2),
            (2, 2, 31, 1, 1),
        ]
        .into_iter()
        .enumerate()
        {
            for (form, (lo, hi)) in FORMS.into_iter().flat_map(|f| [(-128, 127), (-30, 60)].map(|l| (f, l))) {
                let columns: usize = (outputs - 1) * stride + 3;
                let width = columns - left - case % 2;
                let sh = [1, 4, 9][case % 3];
                let s = Slide {
                    channels,
                    stride,
                    rows,
                    outputs,
                    pitch: columns + case % 4,
                    left,
                    width,
                    step: channels + case % 3,
                    row: (channels + 2) * outputs,
                    known: case % 2 == 0,
                    form,
                    sh,
                    lo,
                    hi,
                };
                assert!(s.fits() && s.columns() == columns);
                let pairs = ((rows - 1) * stride + 3).div_ceil(2);
                let pitch = s.pitch;
                let mut acts: Vec<i16> =
                    (0..pairs * pitch * COLUMN).map(|_| random.within(-255, 255) as i16).collect();
                // Columns of padding hold zeros.
                for (i, a) in acts.iter_mut().enumerate() {
                    let c = i / COLUMN % pitch;
                    if c < left || c >= left + width {
                        *a = 0;
                    }
                }
                acts.truncate(((pairs - 1) * pitch + columns - 1) * COLUMN + 2 * channels);
                // What has grown has done so alike in a channel.
                let growth = |c: usize| if form == Form::Grown { (5 * c + case) % 9 } else { 0 };
                let (least, most, reach) = match form {
                    Form::Words => (-255, 255, 90_000),
                    Form::Bytes => (-128, 127, (1 << 23) - 1),
                    Form::Grown => (-128, 127, (1 << 19) - 1),
                };
                let w: Vec<i32> =
                    (0..channels * 9).map(|i| (random.within(least, most) as i32) << growth(i / 9)).collect();
                let bias: Vec<i32> =
                    (0..channels).map(|c| (random.within(-reach, reach) as i32) << growth(c)).collect();
                let m: Vec<i32> = (0..channels).map(|_| random.within(1 << 20, 1 << 28) as i32).collect();
                let stream = form.pack(&w, &bias, Rounding { multipliers: &m, each: &[] }).unwrap();
                assert_eq!(stream.len(), s.stream_len());
                let mut scalars = vec![high(sh + 32, -3).0];
                scalars.extend(s.scalars());
                let y = (rows - 1) * s.row + (outputs - 1) * s.step + channels;
                for core in [core(), secateur_targets::core("cortex-m7").unwrap()] {
                    let kernel = s.kernel(&core).unwrap();
                    let acts = Data::I16(acts.clone());
                    alike(&kernel, &acts, Some(&stream), &scalars, (DType::I8, y));
                }
            }
        }
    }

    /// What does not come from bytes, or from a bias of so few bits, has no short stream.
    #[test]
    fn short_streams_hold_what_they_say() {
        let rounding = Rounding { multipliers: &[1 << 30], each: &[] };
        let (bytes, grown) = (Form::Bytes, Form::Grown);
        for (form, w, last, bias, fits) in [
            (grown, -128, 127, (1 << 19) - 1, true),
            (grown, 127, -128, -(1 << 19), true),
            (grown, -128 << 8, 127 << 8, ((1 << 19) - 1) << 8, true),
            (grown, 0, 0, 0, true),
            (grown, 0, 0, 1 << 26, true),
            (grown, 128, 1, 0, false),
            (grown, 1, -129, 0, false),
            (grown, 127, 1, 1 << 19, false),
            (grown, 254, 2, 1, false),
            (grown, -128 << 9, 0, 0, false),
            (grown, 0, 0, -(1 << 28), false),
            (bytes, -128, 127, (1 << 23) - 1, true),
            (bytes, 127, -128, -(1 << 23), true),
            (bytes, 128, 0, 0, false),
            (bytes, 0, -130, 0, false),
            (bytes, 0, 0, 1 << 23, false),
        ] {
            let mut all = [w; 9];
            all[8] = last;
            let stream = form.pack(&all, &[bias], rounding);
            assert_eq!(stream.is_some(), fits, "{form:?} {w} {last} {bias}");
        }
    }

    #[test]
    fn lines_are_exact() {
        let mut random = Random(54);
        let mut looped = 0;
        for taps in 2..=8 {
            for stride in [1, 2] {
                for outputs in [1, 2, 3, 7, 12, 24, 25, 41] {
                    let channels = 1 + (taps + outputs) % 4;
                    let (sh, step) = ([1, 4, 9][outputs % 3], if outputs == 7 { 300 } else { channels + 1 });
                    let (lo, hi) = if outputs % 2 == 0 { (-128, 127) } else { (-30, 60) };
                    let l = Line { channels, taps, stride, outputs, step, sh, lo, hi };
                    if !l.fits() {
                        assert!(taps > 5, "{l:?}");
                        continue;
                    }
                    looped += usize::from(l.scalars()[1] > 0);
                    let pairs = (outputs - 1) * stride + taps;
                    let acts = (pairs.div_ceil(2) - 1) * COLUMN + 2 * channels;
                    let acts: Vec<i16> = (0..acts).map(|_| random.within(-255, 255) as i16).collect();
                    let mut of = |n, most: i64| -> Vec<i32> {
                        (0..n).map(|_| random.within(-most, most) as i32).collect()
                    };
                    let (w, bias) = (of(channels * taps, 255), of(channels, 90_000));
                    let m: Vec<i32> = of(channels, 1 << 28).into_iter().map(|m| m.abs() + 1).collect();
                    let rounding = Rounding { multipliers: &m, each: &[] };
                    let stream = l.pack(&w, &bias, rounding).unwrap();
                    assert_eq!(stream.len(), l.stream_len());
                    let mut scalars = vec![high(sh + 32, -3).0];
                    scalars.extend(l.scalars());
                    let y = (outputs - 1) * step + channels;
                    let kernel = l.kernel(&core()).unwrap();
                    alike(&kernel, &Data::I16(acts), Some(&stream), &scalars, (DType::I8, y));
                }
            }
        }
        assert!(looped > 20, "{looped} with loops");
    }

    #[test]
    fn tiles_are_exact() {
        let mut random = Random(55);
        let base = Tiles {
            channels: 4,
            window: [2, 3],
            dilation: 1,
            pitch: 20,
            strides: [1, 2],
            passes: 1,
            rows: [3, 0],
            second: (0, 0),
            outputs: 7,
            step: 4,
            row: 40,
            known: false,
            sh: Some(3),
            lo: -128,
            hi: 127,
        };
        let wide = Tiles { window: [4, 7], pitch: 16, passes: 2, second: (0, 9), ..base };
        let mut again = 0;
        for t in [
            base,
            Tiles { window: [3, 5], strides: [1, 1], outputs: 9, passes: 2, rows: [2, 1], ..base },
            Tiles { window: [1, 2], strides: [2, 1], dilation: 2, channels: 3, outputs: 13, ..base },
            Tiles { window: [1, 4], strides: [1, 3], outputs: 6, step: 300, row: 1700, ..base },
            Tiles { strides: [1, 1], rows: [2, 2], outputs: 10, ..wide },
            Tiles { strides: [1, 1], rows: [1, 0], outputs: 3, channels: 1, ..wide },
            Tiles { strides: [1, 1], rows: [3, 2], outputs: 5, channels: 2, second: (1, 7), ..wide },
            Tiles { pitch: 64, passes: 1, outputs: 1, rows: [1, 0], ..wide },
        ] {
            for (known, sh, lo, hi) in
                [(false, t.sh, -128, 127), (true, t.sh, -20, 90), (false, None, -9, 127)]
            {
                let p = Tiles { known, sh, lo, hi, ..t };
                assert!(p.fits(), "{p:?}");
                again += usize::from(p.scalars()[8] > 0);
                let n = p.channels;
                let bias: Vec<i32> = (0..n).map(|_| random.within(-90_000, 90_000) as i32).collect();
                let m: Vec<i32> = (0..n).map(|_| random.within(1 << 20, 1 << 28) as i32).collect();
                let each: Vec<(i32, u32)> = (0..n).map(|c| high(34 + c as u32, 7)).collect();
                let rounding = Rounding { multipliers: &m, each: &each };
                let weight = |c: usize, pass: usize, row: usize, column: usize, half: usize| {
                    ((c * 37 + pass * 101 + row * 53 + column * 29 + half * 211) * 71 % 511) as i32 - 255
                };
                let stream = p.pack(&weight, &bias, rounding).unwrap();
                assert_eq!(stream.len(), p.stream_len());
                let kernel = p.kernel(&core()).unwrap();
                let len = |i: u32| kernel.buffer(crate::kernel::ParamId(i)).unwrap().1;
                let acts: Vec<i16> = (0..len(0)).map(|_| random.within(-255, 255) as i16).collect();
                let mut scalars: Vec<i32> = sh.map(|sh| high(sh + 32, -3).0).into_iter().collect();
                scalars.extend(p.scalars());
                alike(&kernel, &Data::I16(acts), Some(&stream), &scalars, (DType::I8, len(2)));
            }
        }
        assert!(again >= 4, "{again} with tiles that overlap");
    }

    #[test]
    fn planes_are_exact() {
        let mut random = Random(52);
        let pass = |pair, column, y, rows, outputs| Pass { pair, column, y, rows, outputs };
        let base = Plane {
            channels: 4,
            window: [2, 3],
            dilation: 1,
            pitch: 20,
            strides: [1, 2],
            passes: vec![pass(0, 0, 0, 3, 7)],
            step: 4,
            row: 40,
            sh: Some(3),
            lo: -128,
            hi: 127,
        };
        let planes = [
            base.clone(),
            Plane {
                window: [3, 5],
                strides: [1, 1],
                passes: vec![pass(0, 0, 0, 2, 9), pass(0, 0, 100, 1, 9)],
                ..base.clone()
            },
            Plane {
                window: [1, 7],
                dilation: 2,
                channels: 3,
                strides: [2, 1],
                passes: vec![pass(0, 1, 0, 2, 5)],
                ..base.clone()
            },
            Plane {
                window: [1, 4],
                strides: [1, 3],
                passes: vec![pass(0, 0, 0, 1, 13), pass(0, 1, 4, 1, 12)],
                step: 8,
                ..base.clone()
            },
        ];
        for plane in planes {
            for sh in [plane.sh, None] {
                let p = Plane { sh, ..plane.clone() };
                assert!(p.fits());
                let n = p.channels;
                let bias: Vec<i32> = (0..n).map(|_| random.within(-90_000, 90_000) as i32).collect();
                let m: Vec<i32> = (0..n).map(|_| random.within(1 << 20, 1 << 28) as i32).collect();
                let each: Vec<(i32, u32)> = (0..n).map(|c| high(34 + c as u32, 7)).collect();
                let weight = |_: usize, _: usize, _: usize, _: usize, _: usize| 0;
                let rounding = Rounding { multipliers: &m, each: &each };
                let mut stream = p.pack(n, &weight, &bias, rounding).unwrap();
                assert_eq!(stream.len(), p.stream_len());
                let (head, all) = (if sh.is_some() { 4 } else { 8 }, stream.len() / n);
                for (i, w) in stream.iter_mut().enumerate() {
                    if i % all >= head {
                        *w = random.within(-255, 255) as i16;
                    }
                }
                let kernel = p.kernel(&core()).unwrap();
                let len = |i: u32| kernel.buffer(crate::kernel::ParamId(i)).unwrap().1;
                let acts: Vec<i16> = (0..len(0)).map(|_| random.within(-255, 255) as i16).collect();
                let scalars: Vec<i32> = sh.map(|sh| high(sh + 32, -3).0).into_iter().collect();
                alike(&kernel, &Data::I16(acts), Some(&stream), &scalars, (DType::I8, len(2)));
            }
        }
    }
}
