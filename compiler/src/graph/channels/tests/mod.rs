//! Groups of small graphs, written out, and what is refused.

mod random;

use super::*;
use crate::graph::{Patch, Quant, print, verify};
use crate::ops::*;
use crate::passes::testing::Build;
use crate::tensor::{DType, Data, Tensor};
use std::collections::BTreeSet;

fn conv(kernel: usize, group: usize) -> Conv {
    Conv { strides: vec![1, 1], pads: vec![kernel / 2; 4], dilations: vec![1, 1], group }
}

/// A convolution with a bias, called `name`.
fn layer(b: &mut Build, name: &str, x: ValueId, rows: usize, kernel: usize, group: usize) -> ValueId {
    let columns = b.graph()[x].shape[1] / group;
    let w = b.noise(&format!("{name}.w"), &[rows, columns, kernel, kernel]);
    let bias = b.noise(&format!("{name}.b"), &[rows]);
    b.node(name, conv(kernel, group), &[x, w, bias])
}

/// A group in words: values with the indices that leave, then constants by node and operand, `r`
/// for rows, `c` for columns and `p` for parameters, with axis and indices; why it is fixed.
fn text(graph: &Graph, group: &Group) -> String {
    let mut words: Vec<String> =
        group.members.iter().map(|(v, indices)| format!("{}{indices:?}", graph[*v].name)).collect();
    words.extend(group.parts.iter().map(|s| {
        let role = ["r", "c", "p"][s.role as usize];
        format!("{}.{} {role}{}{:?}", graph[s.node].name, s.input, s.axis, s.indices)
    }));
    words.extend(group.fixed.iter().map(|f| format!("fixed by {}: {}", f.site, f.why)));
    words.join("; ")
}

#[track_caller]
fn group_at(graph: &Graph, value: ValueId, index: usize) -> (Channels, GroupId) {
    verify(graph).expect("the test builds a valid graph");
    let channels = Channels::of(graph);
    let id = channels.group_of(value, index).unwrap_or_else(|| panic!("{:?}", channels.along(value)));
    (channels, id)
}

/// The group of a value's channel is as written.
#[track_caller]
fn check(b: &Build, value: ValueId, index: usize, expected: &str) {
    let (channels, id) = group_at(b.graph(), value, index);
    let expected = expected.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(text(b.graph(), channels.group(id)), expected);
}

/// The graph without groups, given by a channel of each; it must be well formed.
#[track_caller]
fn without(graph: &Graph, leave: &[(ValueId, usize)]) -> Graph {
    let channels = Channels::of(graph);
    let leave: BTreeSet<GroupId> =
        leave.iter().map(|&(v, i)| channels.group_of(v, i).expect("a channel")).collect();
    let mut smaller = graph.clone();
    remove(&mut Patch::new(&mut smaller), &channels, &leave).expect("the groups can leave");
    verify(&smaller).unwrap_or_else(|e| panic!("{e}\n{}", print(&smaller)));
    smaller
}

#[test]
fn an_addition_couples_a_residual_block() {
    let mut b = Build::new();
    let x = b.input("x", &[1, 3, 4, 4]);
    let a = layer(&mut b, "a", x, 4, 3, 1);
    let inner = layer(&mut b, "inner", a, 5, 1, 1);
    let back = layer(&mut b, "back", inner, 4, 1, 1);
    let sum = b.node("sum", Add, &[a, back]);
    let r = b.node("r", Relu, &[sum]);
    let y = layer(&mut b, "y", r, 2, 1, 1);
    b.output(y);
    let whole =
        "a[2]; back[2]; sum[2]; r[2]; a.1 r0[2]; a.2 r0[2]; inner.1 c1[2]; back.1 r0[2]; back.2 r0[2];
                 y.1 c1[2]";
    check(&b, a, 2, whole);
    check(&b, r, 2, whole);
    check(&b, inner, 4, "inner[4]; inner.1 r0[4]; inner.2 r0[4]; back.1 c1[4]");
    let smaller = without(b.graph(), &[(a, 2), (a, 0), (inner, 1)]);
    assert_eq!(smaller[sum].shape, [1, 2, 4, 4]);
    assert_eq!(smaller[inner].shape, [1, 4, 4, 4]);
}

#[test]
fn what_is_coupled_with_an_output_is_fixed() {
    let mut b = Build::new();
    let x = b.input("x", &[1, 3, 4, 4]);
    let a = layer(&mut b, "a", x, 4, 3, 1);
    let back = layer(&mut b, "back", a, 4, 1, 1);
    let sum = b.node("sum", Add, &[a, back]);
    b.output(sum);
    check(
        &b,
        a,
        1,
        "a[1]; back[1]; sum[1]; a.1 r0[1]; a.2 r0[1]; back.1 r0[1]; back.2 r0[1]; back.1 c1[1];
         fixed by tensor `sum`: it is an output of the model",
    );
    let (channels, id) = group_at(b.graph(), a, 1);
    let mut graph = b.graph().clone();
    let refused = remove(&mut Patch::new(&mut graph), &channels, &BTreeSet::from([id]));
    let text = refused.expect_err("it is fixed").to_string();
    assert!(text.contains("`sum`") && text.contains("an output"), "{text}");
    assert_eq!(&graph, b.graph());
}

#[test]
fn what_is_coupled_with_an_input_is_fixed() {
    let mut b = Build::new();
    let x = b.input("x", &[1, 4, 4, 4]);
    let a = layer(&mut b, "a", x, 4, 3, 1);
    let sum = b.node("sum", Add, &[a, x]);
    let y = layer(&mut b, "y", sum, 2, 1, 1);
    b.output(y);
    let (channels, id) = group_at(b.graph(), sum, 0);
    let fixed = channels.group(id).fixed.clone().expect("it is fixed");
    assert_eq!(fixed.site, crate::error::Site::Value("x".into()));
    assert!(channels.along(x).is_err());
}

#[test]
fn depthwise_filters_go_with_their_channel() {
    let mut b = Build::new();
    let x = b.input("x", &[1, 3, 4, 4]);
    let a = layer(&mut b, "a", x, 4, 1, 1);
    let d = layer(&mut b, "d", a, 4, 3, 4);
    let p = b.node("p", GlobalAveragePool, &[d]);
    let y = layer(&mut b, "y", p, 2, 1, 1);
    b.output(y);
    check(&b, d, 3, "a[3]; d[3]; p[3]; a.1 r0[3]; a.2 r0[3]; d.1 r0[3]; d.2 r0[3]; y.1 c1[3]");
    let smaller = without(b.graph(), &[(d, 3), (d, 1)]);
    let Op::Conv(conv) = &smaller[smaller.producer(d).expect("a node")].op else { panic!("a convolution") };
    assert_eq!(conv.group, 2);
}

#[test]
fn a_grouped_convolution_loses_whole_groups() {
    let mut b = Build::new();
    let x = b.input("x", &[1, 3, 4, 4]);
    let a = layer(&mut b, "a", x, 6, 1, 1);
    let g = layer(&mut b, "g", a, 9, 3, 3);
    let y = layer(&mut b, "y", g, 2, 1, 1);
    b.output(y);
    let second = "a[2, 3]; g[3, 4, 5]; a.1 r0[2, 3]; a.2 r0[2, 3]; g.1 r0[3, 4, 5]; g.2 r0[3, 4, 5];
                  y.1 c1[3, 4, 5]";
    check(&b, a, 2, second);
    check(&b, g, 5, second);
    let smaller = without(b.graph(), &[(a, 2)]);
    assert_eq!((&smaller[a].shape[..2], &smaller[g].shape[..2]), (&[1, 4][..], &[1, 6][..]));
}

#[test]
fn a_concat_moves_indices() {
    let mut b = Build::new();
    let x = b.input("x", &[1, 3, 4, 4]);
    let left = layer(&mut b, "left", x, 2, 1, 1);
    let right = layer(&mut b, "right", x, 3, 1, 1);
    let fill = b.noise("fill", &[1, 2, 4, 4]);
    let all = b.node("all", Concat { axis: 1 }, &[left, fill, right]);
    let y = layer(&mut b, "y", all, 2, 1, 1);
    b.output(y);
    check(&b, right, 1, "right[1]; all[5]; right.1 r0[1]; right.2 r0[1]; y.1 c1[5]");
    check(&b, all, 3, "all[3]; all.1 p1[1]; y.1 c1[3]");
    let smaller = without(b.graph(), &[(right, 1), (all, 3)]);
    assert_eq!(smaller[all].shape, [1, 5, 4, 4]);
}

#[test]
fn a_concat_along_another_axis_couples() {
    let mut b = Build::new();
    let x = b.input("x", &[1, 3, 4, 4]);
    let up = layer(&mut b, "up", x, 2, 1, 1);
    let down = layer(&mut b, "down", x, 2, 1, 1);
    let all = b.node("all", Concat { axis: 2 }, &[up, down]);
    let y = layer(&mut b, "y", all, 2, 1, 1);
    b.output(y);
    check(
        &b,
        all,
        1,
        "up[1]; down[1]; all[1]; up.1 r0[1]; up.2 r0[1]; down.1 r0[1]; down.2 r0[1]; y.1 c1[1]",
    );
}

#[test]
fn a_flattened_channel_is_a_block_of_columns() {
    for trans_b in [true, false] {
        let mut b = Build::new();
        let x = b.input("x", &[1, 3, 2, 2]);
        let a = layer(&mut b, "a", x, 4, 1, 1);
        let f = b.node("f", Flatten { axis: 1 }, &[a]);
        let w = b.noise("w", if trans_b { &[5, 16] } else { &[16, 5] });
        let bias = b.noise("bias", &[1, 5]);
        let h = b.node("h", Gemm { alpha: 0.5, beta: 2.0, trans_a: false, trans_b }, &[f, w, bias]);
        let v = b.noise("v", &[5, 2]);
        let y = b.node("y", MatMul, &[h, v]);
        b.output(y);
        let axis = usize::from(trans_b);
        check(&b, a, 2, &format!("a[2]; f[8, 9, 10, 11]; a.1 r0[2]; a.2 r0[2]; h.1 c{axis}[8, 9, 10, 11]"));
        check(&b, h, 1, &format!("h[1]; h.1 r{}[1]; h.2 r1[1]; y.1 c0[1]", 1 - axis));
        let smaller = without(b.graph(), &[(a, 2), (h, 1)]);
        assert_eq!((&smaller[f].shape[..], &smaller[h].shape[..]), (&[1, 12][..], &[1, 4][..]));
    }
}

#[test]
fn channels_follow_a_transpose() {
    let mut b = Build::new();
    let x = b.input("x", &[1, 3, 2, 2]);
    let a = layer(&mut b, "a", x, 4, 1, 1);
    let last = b.node("last", Transpose { perm: vec![0, 2, 3, 1] }, &[a]);
    let scale = b.noise("scale", &[4]);
    let scaled = b.node("scaled", Mul, &[last, scale]);
    let f = b.node("f", Reshape { shape: vec![1, 16] }, &[scaled]);
    let w = b.noise("w", &[5, 16]);
    let y = b.node("y", Dense, &[f, w]);
    let first = b.node("first", Transpose { perm: vec![0, 3, 1, 2] }, &[scaled]);
    let z = layer(&mut b, "z", first, 2, 1, 1);
    b.output(y);
    b.output(z);
    check(
        &b,
        last,
        1,
        "a[1]; last[1]; scaled[1]; f[1, 5, 9, 13]; first[1]; a.1 r0[1]; a.2 r0[1]; scaled.1 p0[1];
         y.1 c1[1, 5, 9, 13]; z.1 c1[1]",
    );
    let smaller = without(b.graph(), &[(f, 5)]);
    assert_eq!((&smaller[last].shape[..], &smaller[f].shape[..]), (&[1, 2, 2, 3][..], &[1, 12][..]));
}

#[test]
fn constants_lose_channels_unless_they_are_broadcast_along_them() {
    let mut b = Build::new();
    let x = b.input("x", &[1, 3, 2, 4]);
    let a = layer(&mut b, "a", x, 4, 1, 1);
    let column = b.noise("column", &[4, 1, 1]);
    let whole = b.noise("whole", &[1, 4, 2, 4]);
    let one = b.noise("one", &[1]);
    // As many as there are channels, but along the last axis.
    let wide = b.noise("wide", &[4]);
    let p = b.node("p", Add, &[a, column]);
    let q = b.node("q", Sub, &[whole, p]);
    let r = b.node("r", Mul, &[q, one]);
    let s = b.node("s", Add, &[r, wide]);
    let [scale, bias, mean, variance] = ["scale", "bias", "mean", "variance"].map(|n| b.noise(n, &[4]));
    let n = b.node("n", BatchNormalization { epsilon: 2.0 }, &[s, scale, bias, mean, variance]);
    let y = layer(&mut b, "y", n, 2, 1, 1);
    b.output(y);
    check(
        &b,
        n,
        3,
        "a[3]; p[3]; q[3]; r[3]; s[3]; n[3]; a.1 r0[3]; a.2 r0[3]; p.1 p0[3]; q.0 p1[3]; n.1 p0[3]; n.2 p0[3];
         n.3 p0[3]; n.4 p0[3]; y.1 c1[3]",
    );
    let smaller = without(b.graph(), &[(a, 0)]);
    assert_eq!(smaller[n].shape, [1, 3, 2, 4]);
}

#[test]
fn a_gate_is_coupled_and_a_mask_is_fixed() {
    let mut b = Build::new();
    let x = b.input("x", &[1, 3, 4, 4]);
    let a = layer(&mut b, "a", x, 4, 1, 1);
    let pooled = b.node("pooled", GlobalAveragePool, &[a]);
    let gate = layer(&mut b, "gate", pooled, 4, 1, 1);
    let open = b.node("open", Sigmoid, &[gate]);
    let gated = b.node("gated", Mul, &[a, open]);
    let mask = layer(&mut b, "mask", gated, 1, 1, 1);
    let masked = b.node("masked", Mul, &[gated, mask]);
    let y = layer(&mut b, "y", masked, 2, 1, 1);
    b.output(y);
    check(
        &b,
        masked,
        1,
        "a[1]; pooled[1]; gate[1]; open[1]; gated[1]; masked[1]; a.1 r0[1]; a.2 r0[1]; gate.1 r0[1]; gate.2 r0[1];
         gate.1 c1[1]; mask.1 c1[1]; y.1 c1[1]",
    );
    let (channels, id) = group_at(b.graph(), mask, 0);
    let fixed = channels.group(id).fixed.clone().expect("one channel stands for all");
    assert!(fixed.site.to_string().contains("masked") && fixed.why.contains("broadcasts"), "{fixed:?}");
    without(b.graph(), &[(a, 1), (a, 2)]);
}

#[test]
fn splits_slices_and_pads_are_adjusted() {
    let mut b = Build::new();
    let x = b.input("x", &[1, 3, 4, 4]);
    let a = layer(&mut b, "a", x, 6, 1, 1);
    let parts = b.results(&["left", "right"], Split { axis: 1, sizes: vec![2, 4] }, &[a]);
    let slice = Slice { starts: vec![0, 1, 0, 0], steps: vec![1, 1, 2, 1], sizes: vec![1, 2, 2, 4] };
    let cut = b.node("cut", slice, &[parts[1]]);
    let pad = Pad { mode: PadMode::Constant, pads: vec![0, 2, 1, 0, 0, 1, 0, 0], value: 0.0 };
    let wide = b.node("wide", pad, &[cut]);
    let y = layer(&mut b, "y", wide, 2, 1, 1);
    let z = layer(&mut b, "z", parts[0], 2, 1, 1);
    b.output(y);
    b.output(z);
    check(&b, a, 3, "a[3]; right[1]; cut[0]; wide[2]; a.1 r0[3]; a.2 r0[3]; y.1 c1[2]");
    check(&b, a, 2, "a[2]; right[0]; a.1 r0[2]; a.2 r0[2]");
    check(&b, wide, 1, "wide[1]; y.1 c1[1]");
    let smaller = without(b.graph(), &[(a, 0), (a, 2), (a, 3), (wide, 1), (wide, 4)]);
    let op = |v: ValueId| smaller[smaller.producer(v).expect("a node")].op.clone();
    assert_eq!(op(parts[0]), Split { axis: 1, sizes: vec![1, 2] }.into());
    let Op::Slice(slice) = op(cut) else { panic!("a slice") };
    assert_eq!((slice.starts[1], slice.sizes[1]), (0, 1));
    let Op::Pad(pad) = op(wide) else { panic!("a pad") };
    assert_eq!(pad.pads, [0, 1, 1, 0, 0, 0, 0, 0]);
}

#[test]
fn what_mixes_channels_fixes_them_with_a_reason() {
    type Mix = (&'static str, fn(&mut Build, ValueId) -> ValueId);
    let mixes: [Mix; 6] = [
        ("normalizes over", |b, a| b.node("m", Softmax { axis: 1, flatten: false }, &[a])),
        ("mean over", |b, a| b.node("m", ReduceMean { axes: vec![1], keepdims: true }, &[a])),
        ("splits the channels", |b, a| b.node("m", Reshape { shape: vec![1, 2, 2, 16] }, &[a])),
        ("by a step", |b, a| {
            let sizes = vec![1, 2, 4, 4];
            b.node("m", Slice { starts: vec![0; 4], steps: vec![1, 2, 1, 1], sizes }, &[a])
        }),
        ("sums over axis 3", |b, a| {
            let w = b.noise("m.w", &[4, 3]);
            b.node("m", MatMul, &[a, w])
        }),
        ("nothing is known", |b, a| b.node("m", Expand { shape: vec![2, 4, 4, 4] }, &[a])),
    ];
    for (why, mix) in mixes {
        let mut b = Build::new();
        let x = b.input("x", &[1, 3, 4, 4]);
        let a = layer(&mut b, "a", x, 4, 1, 1);
        let y = mix(&mut b, a);
        b.output(y);
        let (channels, id) = group_at(b.graph(), a, 1);
        let fixed = channels.group(id).fixed.clone().expect(why);
        assert!(fixed.site.to_string().contains("`m`") && fixed.why.contains(why), "{why}: {fixed:?}");
    }
}

#[test]
fn a_value_keeps_a_channel() {
    let mut b = Build::new();
    let x = b.input("x", &[1, 3, 4, 4]);
    let left = layer(&mut b, "left", x, 1, 1, 1);
    let right = layer(&mut b, "right", x, 3, 1, 1);
    let all = b.node("all", Concat { axis: 1 }, &[left, right]);
    let y = layer(&mut b, "y", all, 2, 1, 1);
    b.output(y);
    let (channels, id) = group_at(b.graph(), left, 0);
    assert_eq!(channels.group(id).fixed, None);
    let mut graph = b.graph().clone();
    let refused = remove(&mut Patch::new(&mut graph), &channels, &BTreeSet::from([id]));
    let text = refused.expect_err("nothing is left").to_string();
    assert!(text.contains("node `left` (Conv)") && text.contains("no channel"), "{text}");
    assert_eq!(&graph, b.graph());
}

#[test]
fn scales_go_along_and_others_keep_a_shared_constant() {
    let mut b = Build::new();
    let x = b.input("x", &[1, 2, 1, 1]);
    let integers = Tensor::new(vec![3, 2, 1, 1], Data::I8(vec![1, 2, 3, 4, 5, 6])).expect("six of them");
    let w = b.patch().add_constant("w", integers);
    let quant =
        Quant { dtype: DType::I8, scale: vec![0.1, 0.2, 0.3], zero_point: vec![0, 1, 2], axis: Some(0) };
    b.patch().set_dtype(w, DType::F32);
    b.patch().set_quant(w, Some(quant));
    let a = b.node("a", conv(1, 1), &[x, w]);
    let z = b.node("z", conv(1, 1), &[x, w]);
    let y = layer(&mut b, "y", a, 2, 1, 1);
    b.output(y);
    b.output(z);
    let smaller = without(b.graph(), &[(a, 1)]);
    let weights = |v: ValueId| {
        let id = smaller.producer(v).expect("a node");
        &smaller[smaller[id].inputs[1].expect("weights")]
    };
    assert_eq!(weights(a).constant().expect("a constant").to_i64_vec(), [1, 2, 5, 6]);
    let quant = weights(a).quant.clone().expect("scales");
    assert_eq!((quant.scale, quant.zero_point), (vec![0.1, 0.3], vec![0, 2]));
    assert_eq!(weights(z).shape, [3, 2, 1, 1]);
}
