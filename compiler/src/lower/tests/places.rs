//! Whole graphs: values that stand over each other, ports, states.

use super::*;

#[test]
fn elementwise_chains_run_in_place_and_end_in_the_port() {
    let mut graph = Graph::default();
    let mut p = Patch::new(&mut graph);
    let x = p.add_input("x", DType::F32, &[1, 4, 2, 2]);
    let a = p.add_value("a", DType::F32, &[1, 4, 2, 2]);
    let b = p.add_value("b", DType::F32, &[1, 4, 2, 2]);
    let c = p.add_value("c", DType::F32, &[1, 16]);
    p.add_node("relu", ops::Relu.into(), vec![Some(x)], vec![a]);
    p.add_node("add", ops::Add.into(), vec![Some(a), Some(x)], vec![b]);
    p.add_node("flat", ops::Reshape { shape: vec![1, 16] }.into(), vec![Some(b)], vec![c]);
    p.add_output(c);
    let program = compiled(&graph);
    // The sum goes over its dead operand and is the output; the input still lives then.
    assert_eq!(program.arena, 2 * 64);
    assert_eq!(program.entries[0].steps.len(), 2);
    let at = |i: usize| program.buffers[i].place;
    assert_eq!([at(0), at(3)], [Place::Arena(program.inputs[0].at), Place::Arena(program.outputs[0].at)]);
    assert!(at(1) == at(2) && at(2) == at(3) && at(0) != at(1));
}

#[test]
fn inputs_constants_and_repeats_can_be_outputs() {
    let mut graph = Graph::default();
    let mut p = Patch::new(&mut graph);
    let x = p.add_input("x", DType::F32, &[2, 3]);
    let t = p.add_value("t", DType::F32, &[3, 2]);
    let y = p.add_value("y", DType::F32, &[3, 2]);
    let c = p.add_constant("c", Tensor::f32(&[2], vec![7.0, 8.0]));
    p.add_node("t", ops::Transpose { perm: vec![1, 0] }.into(), vec![Some(x)], vec![t]);
    p.add_node("r", ops::Relu.into(), vec![Some(t)], vec![y]);
    for v in [x, t, y, y, c] {
        p.add_output(v);
    }
    let input = Tensor::f32(&[2, 3], vec![1.0, -2.0, 3.0, -4.0, 5.0, -6.0]);
    let want = crate::graph::run(&graph, std::slice::from_ref(&input)).unwrap();
    assert_eq!(Machine::new(&compiled(&graph)).unwrap().run(&[input]).unwrap(), want);
}

/// Random graphs with branches, views, in-place candidates and several outputs. If two live
/// buffers shared a byte, some value would come out wrong.
#[test]
fn random_graphs_keep_live_values_apart() {
    let mut r = Random(11);
    for _ in 0..60 {
        let mut graph = Graph::default();
        let mut p = Patch::new(&mut graph);
        let shape = [1, 2 + r.below(3), 3, 4];
        let mut live: Vec<ValueId> = vec![p.add_input("x", DType::F32, &shape)];
        if r.below(2) == 0 {
            live.push(p.add_input("x2", DType::F32, &shape));
        }
        for step in 0..4 + r.below(14) {
            let recent = live.len().min(4);
            let a = live[live.len() - 1 - r.below(recent)];
            let same: Vec<ValueId> =
                live.iter().copied().filter(|v| p.graph()[*v].shape == p.graph()[a].shape).collect();
            let b = r.pick(&same);
            let rank = p.graph()[a].shape.len();
            let (op, operands): (Op, Vec<ValueId>) = match r.below(9) {
                0 | 1 => (ops::Add.into(), vec![a, b]),
                2 => (ops::Sub.into(), vec![b, a]),
                3 => (ops::LeakyRelu { alpha: 0.5 }.into(), vec![a]),
                4 | 5 => (ops::Transpose { perm: r.order(rank) }.into(), vec![a]),
                6 => {
                    let s = &p.graph()[a].shape;
                    let shape = vec![s[0] * s[1], s[2..].iter().product()];
                    (
                        ops::Reshape { shape: if rank == 4 { shape } else { vec![1, s[0], s[1], 1] } }.into(),
                        vec![a],
                    )
                }
                7 => {
                    let op = ops::MaxPool {
                        kernel: vec![2; 2],
                        strides: vec![1; 2],
                        pads: vec![0, 0, 1, 1],
                        dilations: vec![1; 2],
                        ceil_mode: false,
                    };
                    if rank != 4 { continue } else { (op.into(), vec![a]) }
                }
                _ => (ops::Concat { axis: rank - 1 }.into(), vec![a, b]),
            };
            let types = {
                let g = p.graph();
                let of =
                    |v: &ValueId| Some(ops::Operand { dtype: DType::F32, shape: &g[*v].shape, data: None });
                op.infer(&operands.iter().map(of).collect::<Vec<_>>()).unwrap()
            };
            if types[0].shape.iter().product::<usize>() > 2000 {
                continue;
            }
            let y = p.add_value(&format!("v{step}"), DType::F32, &types[0].shape);
            p.add_node(&format!("n{step}"), op, operands.into_iter().map(Some).collect(), vec![y]);
            live.push(y);
        }
        for _ in 0..1 + r.below(3) {
            let v = r.pick(&live);
            p.add_output(v);
        }
        let last = live[live.len() - 1];
        p.add_output(last);
        let inputs: Vec<Tensor> =
            graph.inputs().iter().map(|v| r.tensor(DType::F32, &graph[*v].shape)).collect();
        let program = compiled(&graph);
        assert!(program.arena_lower_bound <= program.arena);
        let want = crate::graph::run(&graph, &inputs).unwrap();
        let got = Machine::new(&program).unwrap().run(&inputs).unwrap();
        assert_eq!(want, got, "{}", crate::graph::print(&graph));
    }
}

#[test]
fn states_stand_first_and_survive() {
    let mut graph = Graph::default();
    let mut p = Patch::new(&mut graph);
    let x = p.add_input("x", DType::F32, &[2, 3]);
    let s = p.add_input("s", DType::F32, &[3]);
    let a = p.add_value("a", DType::F32, &[2, 3]);
    let b = p.add_value("b", DType::F32, &[3, 2]);
    let y = p.add_value("y", DType::F32, &[3, 2]);
    let next = p.add_value("next", DType::F32, &[3]);
    p.add_node("add", ops::Add.into(), vec![Some(x), Some(s)], vec![a]);
    p.add_node("turn", ops::Transpose { perm: vec![1, 0] }.into(), vec![Some(a)], vec![b]);
    p.add_node("double", ops::Add.into(), vec![Some(b), Some(b)], vec![y]);
    p.add_node("more", ops::Add.into(), vec![Some(s), Some(s)], vec![next]);
    p.add_output(next);
    p.add_output(y);
    p.tie(s, 0, Tensor::f32(&[3], vec![1.0, 2.0, 3.0]));
    let program = compiled(&graph);
    let place = program.buffers[program.states[0].buffer.0 as usize].place;
    assert_eq!(place, Place::State(0));
    assert_eq!((program.inputs.len(), program.outputs.len()), (1, 1));
    let input = Tensor::f32(&[2, 3], vec![0.0; 6]);
    let mut machine = Machine::new(&program).unwrap();
    for _ in 0..2 {
        for scale in [2.0, 4.0, 8.0] {
            let got = machine.run(std::slice::from_ref(&input)).unwrap();
            assert_eq!(got[0].to_f32_vec(), [1.0, 1.0, 2.0, 2.0, 3.0, 3.0].map(|v| v * scale));
        }
        machine.init();
    }
}

/// Random graphs of which some inputs are states: whatever order, views and places the schedule finds, each state
/// is what the run before gave it, to all who read it.
#[test]
fn random_states_hold_what_the_run_before_gave() {
    let mut r = Random(29);
    for _ in 0..120 {
        let mut graph = Graph::default();
        let mut p = Patch::new(&mut graph);
        let shape = [1, 2, 3];
        let x = p.add_input("x", DType::F32, &shape);
        let count = 1 + r.below(3);
        let states: Vec<ValueId> =
            (0..count).map(|i| p.add_input(&format!("s{i}"), DType::F32, &shape)).collect();
        let mut live: Vec<ValueId> = states.clone();
        live.push(x);
        for step in 0..3 + r.below(9) {
            let (a, b) = (r.pick(&live), r.pick(&live));
            let y = p.add_value(&format!("v{step}"), DType::F32, &shape);
            let half = ops::LeakyRelu { alpha: 0.5 };
            let (op, operands): (Op, Vec<ValueId>) = match r.below(5) {
                0 => (ops::Add.into(), vec![a, b]),
                1 => (ops::Sub.into(), vec![a, b]),
                2 => (half.into(), vec![a]),
                _ => (ops::Reshape { shape: shape.to_vec() }.into(), vec![a]),
            };
            p.add_node(&format!("n{step}"), op, operands.into_iter().map(Some).collect(), vec![y]);
            live.push(y);
        }
        let computed: Vec<ValueId> = live[count + 1..].to_vec();
        let nexts: Vec<ValueId> = states.iter().map(|_| r.pick(&computed)).collect();
        let shown = [r.pick(&computed), live[live.len() - 1]];
        nexts.iter().chain(&shown).for_each(|&v| p.add_output(v));
        for (i, &s) in states.iter().enumerate() {
            let init = (0..6).map(|k| (k + i) as f32 - 2.0).collect();
            p.tie(s, 0, Tensor::f32(&shape, init));
        }
        crate::graph::verify(&graph).unwrap();
        let program = compiled(&graph);
        let (mut machine, mut steps) = (Machine::new(&program).unwrap(), crate::graph::Steps::new(&graph));
        for _ in 0..4 {
            let input = r.tensor(DType::F32, &shape);
            let want = steps.run(std::slice::from_ref(&input)).unwrap();
            let got = machine.run(&[input]).unwrap();
            assert_eq!(want, got, "{}", crate::graph::print(&graph));
        }
    }
}

/// An input that is an output is copied as it is: no node's activation is applied to it, and no
/// node need stand first in the graph.
#[test]
fn a_copied_input_takes_no_activation_from_a_node() {
    for first_removed in [false, true] {
        let mut graph = Graph::default();
        let mut p = Patch::new(&mut graph);
        let x = p.add_input("x", DType::F32, &[4]);
        let y = p.add_value("y", DType::F32, &[4]);
        let quant = Some(Quant::per_tensor(DType::I8, 0.5, 0));
        p.set_quant(x, quant.clone());
        p.set_quant(y, quant);
        if first_removed {
            let gone = p.add_node("gone", ops::Relu.into(), vec![Some(x)], vec![y]);
            p.remove_node(gone);
        }
        let id = p.add_node("double", ops::Add.into(), vec![Some(x), Some(x)], vec![y]);
        p.node_mut(id).clamp = Clamp { lo: 0.0, hi: f32::INFINITY };
        p.add_output(y);
        p.add_output(x);
        let program = compiled(&graph);
        let input = Tensor::new(vec![4], Data::I8(vec![-128, -1, 3, 127])).unwrap();
        let got = Machine::new(&program).unwrap().run(std::slice::from_ref(&input)).unwrap();
        assert_eq!(got[1], input);
        assert_eq!(got[0].to_i64_vec(), [0, 0, 6, 127]);
    }
}
