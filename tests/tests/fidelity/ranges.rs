//! Which range a value takes, by what its readers lose: each in a graph where another choice shows.

use super::*;

/// Every bounded result and a constant, each joined with wider and with narrower values.
#[test]
fn a_concat_holds_all_of_its_operands() {
    let shape = [1, 4, 6];
    let bounded: [(&str, fn() -> Op); 5] = [
        ("tanh", || ops::Tanh.into()),
        ("sigmoid", || ops::Sigmoid.into()),
        ("hard_sigmoid", || ops::HardSigmoid { alpha: 0.2, beta: 0.5 }.into()),
        ("softmax", || ops::Softmax { axis: 2, flatten: false }.into()),
        ("constant", || ops::Relu.into()),
    ];
    for (name, op) in bounded {
        for wide in [0.1f32, 1.0, 6.0] {
            // Alone, and where another node reads the bounded value as well.
            for shared in [false, true] {
                let (graph, samples) = built(&shape, wide, &|p, x| {
                    let joined = if name == "constant" {
                        p.add_constant("class", Random(3).tensor(&shape, 1.0))
                    } else {
                        node(p, name, op(), &[x], &shape)
                    };
                    let mut outputs = vec![];
                    if shared && name != "constant" {
                        outputs.push(joined);
                    }
                    let side = node(p, "side", ops::Relu, &[x], &shape);
                    outputs.push(node(p, "join", ops::Concat { axis: 1 }, &[side, joined], &[1, 8, 6]));
                    outputs
                });
                let (have, want) = both(&graph, &calibrated(&graph, &samples), &samples);
                for (have, want) in have.iter().zip(&want) {
                    let snr = decibels(have, want);
                    assert!(snr >= 30.0, "{name} with {wide}, shared {shared}: {snr:.1} dB");
                }
            }
        }
    }
}

/// A class token of small numbers that stands beside wide patches keeps little of them, which is told.
#[test]
fn a_constant_that_joins_wider_values_is_told() {
    for (size, told) in [(0.02, true), (4.0, false)] {
        let (graph, samples) = built(&[1, 4, 6], 6.0, &|p, x| {
            let class = p.add_constant("class", Random(3).tensor(&[1, 1, 6], size));
            let side = node(p, "side", ops::Relu, &[x], &[1, 4, 6]);
            vec![node(p, "join", ops::Concat { axis: 1 }, &[class, side], &[1, 5, 6])]
        });
        let quantized = calibrated(&graph, &samples);
        let said: Vec<String> = quantized.warnings().iter().map(ToString::to_string).collect();
        let found = said.iter().any(|w| w.starts_with("tensor `class`: is joined with wider values"));
        assert_eq!(found, told, "{size}: {said:?}");
    }
}

/// Probabilities and gates far below one, and of many classes.
#[test]
fn bounded_results_take_the_scale_of_their_values() {
    let cases: [(&str, f32, fn() -> Op); 4] = [
        ("softmax", 1.0, || ops::Softmax { axis: 1, flatten: false }.into()),
        ("tanh", 0.03, || ops::Tanh.into()),
        ("sigmoid", 1.0, || ops::Sigmoid.into()),
        ("hard_sigmoid", 1.0, || ops::HardSigmoid { alpha: 0.2, beta: 0.0 }.into()),
    ];
    for (name, scale, op) in cases {
        for classes in [3usize, 400] {
            let shape = [1, classes];
            let (graph, samples) = built(&shape, scale, &|p, x| {
                let low = match name {
                    "sigmoid" => {
                        let away = p.add_constant("away", Tensor::f32(&[1], vec![-6.0]));
                        node(p, "low", ops::Add, &[x, away], &shape)
                    }
                    "hard_sigmoid" => {
                        let less = p.add_constant("less", Tensor::f32(&[1], vec![0.05]));
                        node(p, "low", ops::Mul, &[x, less], &shape)
                    }
                    _ => x,
                };
                vec![node(p, name, op(), &[low], &shape)]
            });
            let (have, want) = both(&graph, &calibrated(&graph, &samples), &samples);
            let snr = decibels(&have[0], &want[0]);
            assert!(snr >= 30.0, "{name} of {classes}: {snr:.1} dB");
        }
    }
}

/// What only a Relu or a Clip reads needs steps where its results lie.
#[test]
fn what_a_relu_cuts_away_takes_no_steps() {
    let ends: [(&str, fn() -> Op); 2] =
        [("relu", || ops::Relu.into()), ("clip", || ops::Clip { min: Some(0.0), max: Some(6.0) }.into())];
    for (name, op) in ends {
        let (graph, samples) = built(&[1, 60], 3.0, &|p, x| vec![node(p, "y", op(), &[x], &[1, 60])]);
        let lower = |t: &Tensor| Tensor::f32(&[1, 60], t.to_f32_vec().iter().map(|v| v - 2.9).collect());
        let samples: Vec<Vec<Tensor>> = samples.iter().map(|s| vec![lower(&s[0])]).collect();
        let (have, want) = both(&graph, &calibrated(&graph, &samples), &samples);
        let snr = decibels(&have[0], &want[0]);
        assert!(snr >= 30.0, "{name}: {snr:.1} dB");
    }
}

/// A rare end of a value is kept where a reader has nothing else: behind a Relu of what others read
/// too, and in the greatest of many.
#[test]
fn a_rare_end_is_kept_for_those_who_need_it() {
    let top = 2.2f32;
    for name in ["relu", "greatest"] {
        let (graph, mut samples) = built(&[1, 4, 30, 30], 1.0, &|p, x| match name {
            "relu" => {
                let y = node(p, "y", ops::Relu, &[x], &[1, 4, 30, 30]);
                vec![y, node(p, "whole", ops::LeakyRelu { alpha: 0.5 }, &[x], &[1, 4, 30, 30])]
            }
            _ => {
                let y = node(p, "y", ops::GlobalMaxPool, &[x], &[1, 4, 1, 1]);
                vec![y, node(p, "whole", ops::Tanh, &[x], &[1, 4, 30, 30])]
            }
        });
        for (i, sample) in samples.iter_mut().enumerate() {
            let mut all = sample[0].to_f32_vec();
            // Everything far below zero but one; or near zero with one far out in each channel.
            all.iter_mut().for_each(|x| if name == "relu" { *x -= 3.0 } else { *x *= 0.5 });
            let channels = if name == "relu" { usize::from(i == 0) } else { 4 };
            (0..channels).for_each(|c| all[900 * c + 7 * i % 900] = top - 0.2 * c as f32);
            sample[0] = Tensor::f32(&[1, 4, 30, 30], all);
        }
        let (have, want) = both(&graph, &calibrated(&graph, &samples), &samples);
        for (have, want) in have.iter().zip(&want) {
            let snr = decibels(have, want);
            assert!(snr >= 30.0, "{name}: {snr:.1} dB");
        }
    }
}

/// A side of zero that holds one element of many is kept where a maximum reads what is computed from it.
#[test]
fn a_rare_side_is_kept_for_a_maximum_behind_a_product() {
    let shape = [1, 4, 30, 30];
    let (graph, mut samples) = built(&shape, 1.0, &|p, x| {
        let gate = node(p, "gate", ops::Sigmoid, &[x], &shape);
        let product = node(p, "product", ops::Mul, &[x, gate], &shape);
        vec![node(p, "y", ops::GlobalMaxPool, &[product], &[1, 4, 1, 1])]
    });
    for (i, sample) in samples.iter_mut().enumerate() {
        let mut all = sample[0].to_f32_vec();
        all.iter_mut().for_each(|x| *x = -8.0 * x.abs());
        all[7 * i % 900] = 0.4;
        sample[0] = Tensor::f32(&shape, all);
    }
    let (have, want) = both(&graph, &calibrated(&graph, &samples), &samples);
    let snr = decibels(&have[0], &want[0]);
    assert!(snr >= 22.0, "{snr:.1} dB");
}

/// As that, where a Relu reads a function of it.
#[test]
fn a_rare_side_is_kept_for_a_relu_behind_a_function() {
    let shape = [1, 4, 30, 30];
    let (graph, mut samples) = built(&shape, 1.0, &|p, x| {
        let function = node(p, "function", ops::LeakyRelu { alpha: 0.9 }, &[x], &shape);
        let whole = node(p, "whole", ops::Tanh, &[function], &shape);
        vec![node(p, "y", ops::Relu, &[function], &shape), whole]
    });
    for (i, sample) in samples.iter_mut().enumerate() {
        let mut all = sample[0].to_f32_vec();
        all.iter_mut().for_each(|x| *x = -3.0 * x.abs());
        all[7 * i % 900] = 1.5;
        sample[0] = Tensor::f32(&shape, all);
    }
    let (have, want) = both(&graph, &calibrated(&graph, &samples), &samples);
    let snr = decibels(&have[0], &want[0]);
    assert!(snr >= 35.0, "{snr:.1} dB");
}

/// What a Concat joins with far wider values keeps its own scale where others read it too, also behind a Transpose;
/// where nobody else reads it, the join costs no copy.
#[test]
fn a_join_with_wider_values_costs_its_other_readers_nothing() {
    for (moved, others) in [(false, true), (true, true), (false, false)] {
        let (graph, samples) = built(&[1, 4, 6], 3.0, &|p, x| {
            let factor = p.add_constant("factor", Tensor::f32(&[1], vec![0.004]));
            let narrow = node(p, "narrow", ops::Mul, &[x, factor], &[1, 4, 6]);
            let perm = ops::Transpose { perm: vec![0, 1, 2] };
            let joined = if moved { node(p, "moved", perm, &[narrow], &[1, 4, 6]) } else { narrow };
            let all = node(p, "all", ops::Concat { axis: 1 }, &[x, joined], &[1, 8, 6]);
            let beside =
                others.then(|| node(p, "beside", ops::LeakyRelu { alpha: 0.5 }, &[narrow], &[1, 4, 6]));
            beside.into_iter().chain([all]).collect()
        });
        let quantized = calibrated(&graph, &samples);
        let of =
            |name: &str| quantized.values().find(|(_, v)| v.name == name).expect("a value").1.quant.clone();
        assert_eq!(of("narrow") == of("all"), !others);
        let (have, want) = both(&graph, &quantized, &samples);
        for (have, want) in have.iter().zip(&want) {
            let snr = decibels(have, want);
            assert!(snr >= 35.0, "moved {moved}: {snr:.1} dB");
        }
    }
}

/// A Pad with a far number keeps its steps to itself: those who read its operand see none of them.
#[test]
fn a_far_padding_widens_no_operand() {
    let (graph, samples) = built(&[1, 2, 8, 8], 1.0, &|p, x| {
        let far =
            ops::Pad { mode: ops::PadMode::Constant, pads: vec![0, 0, 1, 1, 0, 0, 1, 1], value: -500.0 };
        let y = node(p, "y", far, &[x], &[1, 2, 10, 10]);
        vec![y, node(p, "beside", ops::Tanh, &[x], &[1, 2, 8, 8])]
    });
    let (have, want) = both(&graph, &calibrated(&graph, &samples), &samples);
    for (have, want) in have.iter().zip(&want) {
        let snr = decibels(have, want);
        assert!(snr >= 35.0, "{snr:.1} dB");
    }
}

/// Probabilities that differ little are told from each other.
#[test]
fn the_greatest_of_like_probabilities_is_found() {
    let (graph, samples) = built(&[1, 7], 0.1, &|p, x| {
        let likely = node(p, "p", ops::Softmax { axis: 1, flatten: false }, &[x], &[1, 7]);
        let found = p.add_value("y", DType::I64, &[1]);
        let most = ops::ArgMax { axis: 1, keepdims: false, select_last_index: false };
        p.add_node("most", most.into(), vec![Some(likely)], vec![found]);
        vec![found]
    });
    let (have, want) = both(&graph, &calibrated(&graph, &samples), &samples);
    let wrong = have[0].iter().zip(&want[0]).filter(|(a, b)| a != b).count();
    // Steps of a 256th would hide half of the differences.
    assert!(wrong * 5 <= samples.len(), "{wrong} of {} differ", samples.len());
}

/// The whole numbers that a Cast leaves are those of the float model: a rare end is not clipped, and
/// a saturated Sigmoid is one.
#[test]
fn whole_numbers_are_reached() {
    let (graph, mut samples) = built(&[1, 4, 30, 30], 1.0, &|p, x| {
        let gate = node(p, "gate", ops::Sigmoid, &[x], &[1, 4, 30, 30]);
        let outputs = [("whole", x), ("open", gate)].map(|(name, v)| {
            let y = p.add_value(name, DType::I32, &[1, 4, 30, 30]);
            p.add_node(name, ops::Cast { to: DType::I32 }.into(), vec![Some(v)], vec![y]);
            y
        });
        outputs.to_vec()
    });
    for sample in &mut samples {
        let mut all = sample[0].to_f32_vec();
        all.iter_mut().for_each(|x| *x *= 0.8);
        all[77] = 40.6;
        sample[0] = Tensor::f32(&[1, 4, 30, 30], all);
    }
    let (have, want) = both(&graph, &calibrated(&graph, &samples), &samples);
    assert_eq!(have, want);
}
