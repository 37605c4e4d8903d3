//! The importer on models written field by field, and on every model of the zoo.

use secateur_compiler::error::Site;
use secateur_compiler::graph::{Graph, print, run, verify};
use secateur_compiler::onnx::{import, import_bound, survey};
use secateur_compiler::options::{Number, Numbers, Options};
use secateur_compiler::tensor::Tensor;
use secateur_tests::onnx::{
    Dim, FLOAT, Model, attr_int, attr_ints, attr_str, attr_tensor, dims, floats, ints, node, port, tensor,
    wrap,
};
use secateur_tests::{full, seeds};
use std::collections::BTreeMap;

fn read(model: &Model) -> Graph {
    let graph = import(&model.bytes(), &BTreeMap::new()).unwrap_or_else(|e| panic!("{e}"));
    verify(&graph).unwrap_or_else(|e| panic!("{e}\n{}", print(&graph)));
    graph
}

/// The text form of what a model becomes, without its header.
#[track_caller]
fn becomes(model: &Model, expected: &str) {
    let text = print(&read(model));
    let lines: Vec<&str> = text.lines().skip(1).map(str::trim).collect();
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    assert_eq!(lines, expected, "\n{text}");
}

#[test]
fn every_seed_is_read() {
    for (name, model) in seeds::all() {
        let graph = import(&model.bytes(), &BTreeMap::new()).unwrap_or_else(|e| panic!("{name}: {e}"));
        verify(&graph).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn shape_arithmetic_folds_away() {
    becomes(
        &seeds::network(),
        "in  %x: f32[1x2x8]
         %a: f32[1x4x8] = Conv { strides: [1], pads: [1, 1], dilations: [1], group: 1 }(%x, const %w: f32[4x2x3], const %b: f32[4])  # conv
         %r: f32[1x4x8] = Relu(%a)  # relu
         %p: f32[1x4x4] = MaxPool { kernel: [2], strides: [2], pads: [0, 0], dilations: [1], ceil_mode: false }(%r)  # pool
         %f: f32[1x16] = Reshape { shape: [1, 16] }(%p)  # reshape
         %y: f32[1x3] = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true }(%f, const %fw: f32[3x16], const %fb: f32[3])  # fc
         out %y",
    );
}

#[test]
fn expanded_fills_fold_away() {
    // Shape, slice, cast, fill and expand, as PyTorch spells `torch.ones(x.shape[1:]) * 2`.
    let model = Model {
        nodes: vec![
            node("shape", "Shape", &["x"], &["s"], &[]),
            node("slice", "Slice", &["s", "one", "end"], &["tail"], &[]),
            node("cast", "Cast", &["tail"], &["t"], &[attr_int("to", 7)]),
            node(
                "fill",
                "ConstantOfShape",
                &["t"],
                &["f"],
                &[attr_tensor("value", &floats("", &[1], &[2.0]))],
            ),
            node("expand", "Expand", &["f", "s"], &["e"], &[]),
            node("add", "Add", &["x", "e"], &["y"], &[]),
        ],
        initializers: vec![ints("one", &[1], &[1]), ints("end", &[1], &[i64::MAX])],
        inputs: vec![port("x", FLOAT, &dims(&[2, 3]))],
        outputs: vec![port("y", FLOAT, &dims(&[2, 3]))],
        opset: 13,
    };
    becomes(
        &model,
        "in  %x: f32[2x3]
         %y: f32[2x3] = Add(%x, const %e: f32[2x3])  # add
         out %y",
    );
    let graph = read(&model);
    let (_, e) = graph.values().find(|(_, v)| v.name == "e").expect("a folded value");
    assert_eq!(e.constant().map(|t| t.to_f32_vec()), Some(vec![2.0; 6]));
}

#[test]
fn nodes_in_any_order_with_any_names() {
    let model = Model {
        nodes: vec![
            node("", "Relu", &["a;b:0/c"], &["y"], &[]),
            node("n", "Relu", &["1 %\"x\""], &["a;b:0/c"], &[]),
            node("n", "Relu", &["1 %\"x\""], &["z"], &[]),
        ],
        inputs: vec![port("1 %\"x\"", FLOAT, &dims(&[2]))],
        outputs: vec![port("y", FLOAT, &[Dim::Unknown])],
        ..Model::default()
    };
    becomes(
        &model,
        "in  %1 %\"x\": f32[2]
         %a;b:0/c: f32[2] = Relu(%1 %\"x\")  # n
         %y: f32[2] = Relu(%a;b:0/c)  # Relu:y
         %z: f32[2] = Relu(%1 %\"x\")  # n.1
         out %y",
    );
}

#[test]
fn an_input_with_an_initializer_is_a_constant() {
    let model = Model {
        nodes: vec![node("add", "Add", &["x", "c"], &["y"], &[])],
        initializers: vec![floats("c", &[2], &[1.0, 2.0])],
        inputs: vec![port("x", FLOAT, &dims(&[2])), port("c", FLOAT, &dims(&[2]))],
        outputs: vec![port("y", FLOAT, &dims(&[2]))],
        ..Model::default()
    };
    becomes(&model, "in  %x: f32[2]\n %y: f32[2] = Add(%x, const %c: f32[2])  # add\n out %y");
}

#[test]
fn operands_left_out() {
    let mut model = Model {
        nodes: vec![node("conv", "Conv", &["x", "w", ""], &["y"], &[])],
        initializers: vec![floats("w", &[1, 1, 2], &[1.0, 2.0])],
        inputs: vec![port("x", FLOAT, &dims(&[1, 1, 4]))],
        outputs: vec![seeds::untyped("y")],
        ..Model::default()
    };
    let conv = "Conv { strides: [1], pads: [0, 0], dilations: [1], group: 1 }(%x, const %w: f32[1x1x2])";
    becomes(&model, &format!("in  %x: f32[1x1x4]\n %y: f32[1x1x3] = {conv}  # conv\n out %y"));
    model.nodes = vec![node("clip", "Clip", &["x", "", "six"], &["y"], &[])];
    model.initializers = vec![floats("six", &[], &[6.0])];
    becomes(
        &model,
        "in  %x: f32[1x1x4]\n %y: f32[1x1x4] = Clip { min: None, max: Some(6.0) }(%x)  # clip\n out %y",
    );
}

#[test]
fn halves_and_doubles_become_floats() {
    let model = Model {
        nodes: vec![node("a", "Add", &["x", "h"], &["s"], &[]), node("b", "Add", &["s", "d"], &["y"], &[])],
        initializers: vec![
            tensor("h", 10, &[2], &[0x00, 0x3c, 0x00, 0xc0]),
            tensor("d", 11, &[1], &0.1f64.to_le_bytes()),
        ],
        inputs: vec![port("x", 10, &dims(&[2]))],
        outputs: vec![port("y", 11, &dims(&[2]))],
        ..Model::default()
    };
    let graph = read(&model);
    let constant = |name: &str| {
        let (_, v) = graph.values().find(|(_, v)| v.name == name).expect("an initializer");
        v.constant().and_then(|t| t.as_f32().map(<[f32]>::to_vec))
    };
    assert_eq!(constant("h"), Some(vec![1.0, -2.0]));
    assert_eq!(constant("d"), Some(vec![0.1]));
}

fn symbolic(shape: &[Dim<'_>], given: &[(&str, usize)]) -> Result<Vec<usize>, String> {
    let model = Model {
        nodes: vec![node("r", "Relu", &["x"], &["y"], &[])],
        inputs: vec![port("x", FLOAT, shape)],
        outputs: vec![seeds::untyped("y")],
        ..Model::default()
    };
    let given = given.iter().map(|(n, v)| (n.to_string(), *v)).collect();
    let graph = import(&model.bytes(), &given).map_err(|e| e.to_string())?;
    Ok(graph[graph.inputs()[0]].shape.clone())
}

#[test]
fn symbolic_dimensions_come_from_the_caller() {
    let (batch, time) = (Dim::Named("N"), Dim::Named("T"));
    assert_eq!(symbolic(&[batch, Dim::Is(3), batch], &[]), Ok(vec![1, 3, 1]));
    assert_eq!(symbolic(&[Dim::Unknown, Dim::Is(3)], &[]), Ok(vec![1, 3]));
    assert_eq!(symbolic(&[Dim::Named("?"), Dim::Is(3)], &[]), Ok(vec![1, 3]));
    assert_eq!(symbolic(&[batch, time], &[("T", 5), ("N", 2)]), Ok(vec![2, 5]));
    assert_eq!(symbolic(&[batch, Dim::Unknown], &[("x[1]", 7)]), Ok(vec![1, 7]));
    let message = |shape: &[Dim<'_>], given: &[(&str, usize)]| symbolic(shape, given).expect_err("refused");
    let text = message(&[batch, time], &[]);
    assert!(text.contains("tensor `x`") && text.contains("--dim 'T=N'"), "{text}");
    let text = message(&[batch, Dim::Unknown], &[]);
    assert!(text.contains("--dim 'x[1]=N'"), "{text}");
    let text = message(&[batch, time], &[("t", 5)]);
    assert!(text.contains("no dimension `t`") && text.contains("N, T"), "{text}");
    let text = message(&[batch, time], &[("T", 0)]);
    assert!(text.contains("at least 1"), "{text}");
}

#[test]
fn opsets_from_7_to_28() {
    for (opset, fits) in [(6, false), (7, true), (28, true), (29, false)] {
        let model = Model {
            nodes: vec![node("r", "Relu", &["x"], &["y"], &[])],
            inputs: vec![port("x", FLOAT, &dims(&[2]))],
            outputs: vec![seeds::untyped("y")],
            opset,
            ..Model::default()
        };
        assert_eq!(import(&model.bytes(), &BTreeMap::new()).is_ok(), fits, "opset {opset}");
    }
}

#[test]
fn attributes_and_inputs_say_the_same_across_opsets() {
    // Axes moved from an attribute to an input in opset 13 (Squeeze) and 18 (ReduceMean).
    for (op, moved) in [("Squeeze", 13), ("ReduceMean", 18)] {
        let model = |opset: i64| Model {
            nodes: vec![if opset < moved {
                node("n", op, &["x"], &["y"], &[attr_ints("axes", &[1])])
            } else {
                node("n", op, &["x", "axes"], &["y"], &[])
            }],
            initializers: vec![ints("axes", &[1], &[1])],
            inputs: vec![port("x", FLOAT, &dims(&[2, 1, 3]))],
            outputs: vec![seeds::untyped("y")],
            opset,
        };
        assert_eq!(print(&read(&model(moved - 1))), print(&read(&model(moved))), "{op}");
    }
}

/// Which models of the zoo are refused, and operators that the refusal must name.
const REFUSED: &[(&str, &[&str])] = &[];

/// Of a refused model the layers are known that come before the refused node, and those behind it where the model says
/// what it gives.
#[test]
fn a_refused_model_is_known_as_far_as_shapes_are() {
    let model = Model {
        nodes: vec![
            node("before", "Relu", &["x"], &["a"], &[]),
            node("odd", "Frobnicate", &["a"], &["b"], &[]),
            node("behind", "Neg", &["b"], &["y"], &[]),
        ],
        inputs: vec![port("x", FLOAT, &dims(&[2, 3]))],
        outputs: vec![port("y", FLOAT, &dims(&[4]))],
        ..Model::default()
    };
    let silent = model.bytes();
    let told = wrap(&model.graph().messages(13, &[port("b", FLOAT, &dims(&[4]))]), 13).0;
    for (bytes, names, known) in [(silent, &["before"][..], &[][..]), (told, &["before", "behind"], &["b"])] {
        assert!(import(&bytes, &BTreeMap::new()).unwrap_err().to_string().contains("Frobnicate"));
        let (graph, taken) = survey(&bytes, &Options::default()).expect("a survey");
        verify(&graph).unwrap_or_else(|e| panic!("{e}\n{}", print(&graph)));
        let found: Vec<&str> = graph.nodes().map(|(_, n)| n.name.as_str()).collect();
        assert_eq!(found, names);
        let taken: Vec<&str> = taken.iter().map(|&v| graph[v].name.as_str()).collect();
        assert_eq!(taken, known);
    }
}

/// What models of the zoo leave open: elements of a window of sound, and samples a second where they ask for them.
const OPEN: &[(&str, usize, Option<i64>)] = &[
    ("field/silero_half.onnx", 512, None),
    ("field/silero_op18_ifless.onnx", 576, Some(16000)),
    ("third_party/silero_vad_if_op15/model.onnx", 512, Some(16000)),
];

#[test]
fn every_model_of_the_zoo_is_read_or_refused_by_operator() {
    for (name, path) in secateur_tests::zoo_models() {
        let bytes = std::fs::read(&path).expect("a readable model");
        let (mut sizes, mut bind) = (BTreeMap::new(), BTreeMap::new());
        let open = OPEN.iter().find(|(n, ..)| *n == name);
        if let Some((_, window, rate)) = open {
            sizes.insert("sequence".to_string(), *window);
            bind.extend(rate.map(|rate| ("sr".to_string(), Numbers(vec![Number::Whole(rate)]))));
        }
        let result = import_bound(&bytes, &sizes, &bind);
        if full() {
            println!("{name}: {}", result.as_ref().map_or_else(ToString::to_string, |_| "read".into()));
        }
        match (REFUSED.iter().find(|(n, _)| *n == name), result) {
            (None, Ok(graph)) => verify(&graph).unwrap_or_else(|e| panic!("{name}: {e}")),
            // Real files by others: what is refused is refused with a place and a way out.
            (None, Err(e)) if name.starts_with("field/") && open.is_none() => {
                assert!(!e.helps().is_empty() && e.site != Site::Whole, "{name}: {e}");
            }
            (None, Err(e)) => panic!("{name}: {e}"),
            (Some(_), Ok(_)) => panic!("{name} is listed as refused, but was read"),
            (Some((_, ops)), Err(e)) => {
                let text = e.to_string();
                for op in *ops {
                    // One node, or several of a kind.
                    let named = [format!("({op})"), format!("{op} \u{d7}")].iter().any(|w| text.contains(w));
                    assert!(named, "{name}: `{op}` is not named in\n{text}");
                }
            }
        }
    }
}

/// Lengths and places of Resize are of single precision, as in onnxruntime: seven tenths of ten are seven elements, and
/// the fourth of six tenths is the sixth of the operand.
#[test]
fn resize_counts_in_single_precision() {
    let resized = |from: i64, scale: f32, coordinates: &str| {
        let places = [attr_str("coordinate_transformation_mode", coordinates), attr_str("mode", "nearest")];
        let attrs = [&places[..], &[attr_str("nearest_mode", "floor")]].concat();
        let graph = read(&Model {
            opset: 19,
            nodes: vec![node("n", "Resize", &["x", "", "scales"], &["y"], &attrs)],
            initializers: vec![floats("scales", &[2], &[1.0, scale])],
            inputs: vec![port("x", FLOAT, &dims(&[1, from]))],
            outputs: vec![seeds::untyped("y")],
        });
        let x = Tensor::f32(&[1, from as usize], (0..from).map(|i| i as f32).collect());
        let y = run(&graph, &[x]).unwrap_or_else(|e| panic!("{e}"));
        (y[0].to_f32_vec(), graph.warnings().len())
    };
    assert_eq!(resized(10, 0.7, "asymmetric"), (vec![0.0, 1.0, 2.0, 4.0, 5.0, 7.0, 8.0], 0));
    assert_eq!(resized(7, 0.6, "asymmetric"), (vec![0.0, 1.0, 3.0, 5.0], 0));
    // The standard aligns by the length that a scale gives, onnxruntime by the whole one: that is told.
    assert_eq!(resized(11, 1.1, "align_corners").1, 1);
}
