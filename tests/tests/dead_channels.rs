//! Dead-channel elimination changes no bit: programs before and after, on the same inputs.

use secateur_compiler::graph::{Clamp, Graph, Patch, Quant, ValueId};
use secateur_compiler::ops::{
    Add, Concat, Conv, Dense, GlobalAveragePool, MaxPool, Mul, Op, Pad, PadMode, Reshape, Slice, Transpose,
};
use secateur_compiler::program::Program;
use secateur_compiler::program::machine::Machine;
use secateur_compiler::tensor::{DType, Data, Tensor};
use secateur_compiler::{graph, lower, passes, quantize, schedule, targets};
use secateur_tests::{full, import, npy, zoo};

fn program(graph: &Graph) -> Program {
    let host = targets::find("host").expect("the host is known");
    let schedule = schedule::schedule(graph, &host, secateur_compiler::options::Optimize::Balanced)
        .expect("the graph is scheduled");
    lower::lower(graph, &schedule).expect("the graph is lowered")
}

fn macs(program: &Program) -> u64 {
    program.layers.iter().map(|l| l.macs).sum()
}

/// A fixed sequence of numbers.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
    fn i8(&mut self) -> i8 {
        self.below(256) as u8 as i8
    }
}

/// A random network under construction: quantized values, weights with dead rows and columns.
struct Builder<'g> {
    patch: Patch<'g>,
    numbers: Numbers,
}

impl Builder<'_> {
    fn activation(&mut self, name: &str, shape: &[usize], scale: f32, zero: i32) -> ValueId {
        let v = self.patch.add_value(name, DType::F32, shape);
        self.patch.set_quant(v, Some(Quant::per_tensor(DType::I8, scale, zero)));
        v
    }
    fn constant(&mut self, shape: &[usize], data: Data, scale: Vec<f32>) -> ValueId {
        let dtype = data.dtype();
        let v =
            self.patch.add_constant("c", Tensor::new(shape.to_vec(), data).expect("shape and data agree"));
        let zero_point = vec![0; scale.len()];
        self.patch.set_dtype(v, DType::F32);
        self.patch.set_quant(v, Some(Quant { dtype, scale, zero_point, axis: Some(0) }));
        v
    }
    /// A product layer; about a third of its rows are all zero, and of its columns.
    fn layer(&mut self, name: &str, op: Op, x: ValueId, weights: &[usize], shape: &[usize]) -> ValueId {
        let n = &mut self.numbers;
        let (rows, columns) = (weights[0], weights[1]);
        let taps: usize = weights[2..].iter().product();
        let dead_row: Vec<bool> = (0..rows).map(|_| n.below(3) == 0).collect();
        let dead_column: Vec<bool> = (0..columns).map(|_| n.below(4) == 0).collect();
        let mut w = Vec::new();
        for r in &dead_row {
            for c in &dead_column {
                w.extend((0..taps).map(|_| if *r || *c { 0 } else { n.i8() }));
            }
        }
        let bias: Vec<i32> = (0..rows).map(|_| n.below(4000) as i32 - 2000).collect();
        let scale: Vec<f32> = (0..rows).map(|_| 0.002 + n.below(100) as f32 * 1e-5).collect();
        let (relu, zero) = (n.below(2) == 0, n.below(100) as i32 - 90);
        let xq = self.patch.graph()[x].quant.clone().expect("a quantized operand").scale[0];
        let bias_scale = scale.iter().map(|s| s * xq).collect();
        let w = self.constant(weights, Data::I8(w), scale);
        let b = self.constant(&[rows], Data::I32(bias), bias_scale);
        let y = self.activation(name, shape, 0.08, if relu { -128 } else { zero });
        let node = self.patch.add_node(name, op, vec![Some(x), Some(w), Some(b)], vec![y]);
        if relu {
            self.patch.node_mut(node).clamp = Clamp { lo: 0.0, hi: f32::INFINITY };
        }
        y
    }
    fn node(
        &mut self,
        name: &str,
        op: Op,
        inputs: &[ValueId],
        shape: &[usize],
        scale: f32,
        zero: i32,
    ) -> ValueId {
        let y = self.activation(name, shape, scale, zero);
        self.patch.add_node(name, op, inputs.iter().copied().map(Some).collect(), vec![y]);
        y
    }
}

impl Builder<'_> {
    /// What may stand between a map of twelve channels and what reads it, in turns.
    fn middle(&mut self, turn: u64, x: ValueId, size: usize) -> ValueId {
        let conv = |group: usize| -> Op {
            Conv { strides: vec![1, 1], pads: vec![0; 4], dilations: vec![1, 1], group }.into()
        };
        let quant = self.patch.graph()[x].quant.clone().expect("a quantized map");
        let (scale, zero) = (quant.scale[0], quant.zero_point[0]);
        let shape = |channels: usize| [1, channels, size, size];
        match turn % 4 {
            0 => x,
            1 => self.layer("grouped", conv(3), x, &[12, 4, 1, 1], &shape(12)),
            2 => {
                // Channels are cut out, joined and padded: they keep their bits at other indices.
                let cut = Slice { starts: vec![0, 2, 0, 0], steps: vec![1; 4], sizes: shape(8).to_vec() };
                let cut = self.node("cut", cut.into(), &[x], &shape(8), scale, zero);
                let joined =
                    self.node("joined", Concat { axis: 1 }.into(), &[cut, x], &shape(20), scale, zero);
                let pads = vec![0, 1, 0, 0, 0, 2, 0, 0];
                let pad = Pad { mode: PadMode::Constant, pads, value: 0.0 };
                let wide = self.node("wide", pad.into(), &[joined], &shape(23), scale, zero);
                self.layer("mixed", conv(1), wide, &[12, 23, 1, 1], &shape(12))
            }
            _ => {
                let mean = self.node("pooled", GlobalAveragePool.into(), &[x], &[1, 12, 1, 1], scale, zero);
                let gate = self.layer("gate", conv(1), mean, &[12, 12, 1, 1], &[1, 12, 1, 1]);
                self.node("gated", Mul.into(), &[x, gate], &shape(12), 0.05, -9)
            }
        }
    }
}

fn random_network(seed: u64) -> Graph {
    let mut graph = Graph::default();
    let mut b = Builder { patch: Patch::new(&mut graph), numbers: Numbers(seed) };
    let x = b.patch.add_input("x", DType::F32, &[1, 3, 6, 6]);
    b.patch.set_quant(x, Some(Quant::per_tensor(DType::I8, 0.05, 7)));
    let conv = |pad: usize, group: usize| -> Op {
        Conv { strides: vec![1, 1], pads: vec![pad; 4], dilations: vec![1, 1], group }.into()
    };
    let a = b.layer("a", conv(1, 1), x, &[8, 3, 3, 3], &[1, 8, 6, 6]);
    let pad = b.numbers.below(2) as usize;
    let size = 4 + 2 * pad;
    let d = b.layer("depthwise", conv(pad, 8), a, &[8, 1, 3, 3], &[1, 8, size, size]);
    let p = b.layer("pointwise", conv(0, 1), d, &[12, 8, 1, 1], &[1, 12, size, size]);
    let q = b.layer("other", conv(0, 1), d, &[12, 8, 1, 1], &[1, 12, size, size]);
    let sum = b.node("sum", Add.into(), &[p, q], &[1, 12, size, size], 0.2, -20);
    let sum_quant = b.patch.graph()[sum].quant.clone().expect("just given");
    let (scale, zero) = (sum_quant.scale[0], sum_quant.zero_point[0]);
    let half = size / 2;
    let pool = MaxPool {
        kernel: vec![2, 2],
        strides: vec![2, 2],
        pads: vec![0; 4],
        dilations: vec![1, 1],
        ceil_mode: false,
    };
    let pooled = b.node("pool", pool.into(), &[sum], &[1, 12, half, half], scale, zero);
    let pooled = b.middle(seed, pooled, half);
    let quant = b.patch.graph()[pooled].quant.clone().expect("a quantized map");
    let (scale, zero) = (quant.scale[0], quant.zero_point[0]);
    let flat = if b.numbers.below(2) == 0 {
        let mean = b.node("mean", GlobalAveragePool.into(), &[pooled], &[1, 12, 1, 1], 0.1, 3);
        b.node("flat", Reshape { shape: vec![1, 12] }.into(), &[mean], &[1, 12], 0.1, 3)
    } else {
        // Channels last and flattened: channel c is every twelfth column of the dense layer.
        let last = Transpose { perm: vec![0, 2, 3, 1] };
        let moved = b.node("moved", last.into(), &[pooled], &[1, half, half, 12], scale, zero);
        let n = half * half * 12;
        b.node("flat", Reshape { shape: vec![1, n] }.into(), &[moved], &[1, n], scale, zero)
    };
    let columns = b.patch.graph()[flat].shape[1];
    let y = b.layer("y", Dense.into(), flat, &[5, columns], &[1, 5]);
    b.patch.add_output(y);
    graph
}

#[test]
fn random_networks_keep_every_bit() {
    let (mut smaller, mut before_all, mut after_all) = (0, 0, 0);
    // Channels of a value of all networks that have it, and those that are left.
    let channels = |graph: &Graph, name: &str| {
        graph.values().find(|(_, v)| v.name == name).map_or(0, |(_, v)| v.shape[1])
    };
    let names = ["cut", "joined", "wide", "gated"];
    let (mut whole, mut left) = ([0; 4], [0; 4]);
    for seed in 0..60 {
        let graph = random_network(seed);
        graph::verify(&graph).expect("the network is well formed");
        let mut pruned = graph.clone();
        passes::run_quantized(&mut pruned, &mut |_, _| {}).expect("the passes run");
        let (before, after) = (program(&graph), program(&pruned));
        smaller += usize::from(macs(&after) < macs(&before));
        for (i, name) in names.iter().enumerate() {
            whole[i] += channels(&graph, name);
            left[i] += channels(&pruned, name);
        }
        before_all += macs(&before);
        after_all += macs(&after);
        let (mut a, mut b) = (Machine::new(&before).expect("sound"), Machine::new(&after).expect("sound"));
        let mut numbers = Numbers(seed + 1000);
        for i in 0..6 {
            let x: Vec<i8> = match i {
                0 => vec![-128; 108],
                1 => vec![127; 108],
                _ => (0..108).map(|_| numbers.i8()).collect(),
            };
            let x = Tensor::new(vec![1, 3, 6, 6], Data::I8(x)).expect("108 elements");
            let (y, z) = (a.run(std::slice::from_ref(&x)).expect("runs"), b.run(&[x]).expect("runs"));
            assert_eq!(y, z, "seed {seed}:\n{}\nbecame\n{}", graph::print(&graph), graph::print(&pruned));
        }
    }
    println!("{smaller} of 60 networks shrank, {before_all} -> {after_all} MACs");
    for (i, name) in names.iter().enumerate() {
        println!("{name}: {} of {} channels are left", left[i], whole[i]);
        assert!(left[i] > 0 && left[i] < whole[i], "{name}: {} of {}", left[i], whole[i]);
    }
    assert!(smaller > 50 && after_all * 4 < before_all * 3, "{smaller}, {before_all} -> {after_all}");
}

#[test]
fn half_of_the_reference_person_detector_is_dead() {
    let Some(zoo) = zoo() else { return };
    let folder = zoo.join("third_party/mlperf_vww_mobilenetv1");
    let mut graph = import(&folder.join("model_int8_qdq.onnx"));
    passes::run(&mut graph, &mut |_, _| {}).expect("the passes run");
    quantize::settle(&mut graph).expect("the model settles");
    let before = program(&graph);
    passes::run_quantized(&mut graph, &mut |_, _| {}).expect("the passes run");
    let after = program(&graph);
    println!("{} -> {} MACs", macs(&before), macs(&after));
    assert_eq!(macs(&before), 7_489_664);
    assert!(macs(&after) <= 3_750_000, "{} MACs remain", macs(&after));

    let x = npy(&folder.join("test_xq.npy"));
    let Data::I8(all) = x.data() else { panic!("quantized inputs") };
    let (mut a, mut b) = (Machine::new(&before).expect("sound"), Machine::new(&after).expect("sound"));
    let samples = if full() { x.shape()[0] } else { 8 };
    for (i, one) in all.chunks(x.len() / x.shape()[0]).take(samples).enumerate() {
        let one = Tensor::new(before.inputs[0].shape.clone(), Data::I8(one.to_vec())).expect("one sample");
        assert_eq!(
            a.run(std::slice::from_ref(&one)).expect("runs"),
            b.run(&[one]).expect("runs"),
            "sample {i}"
        );
    }
}
