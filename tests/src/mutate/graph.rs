//! Mutations that know what an ONNX graph is: chains of nodes, fans of them, sizes at both ends,
//! tensors that hold as much as their new shape says, odd numbers in weights.
//!
//! In: a model as fields. Out: another one, which often still means something, so that it gets
//! past the importer and deep into the compiler.

use super::{Field, Kind, Random, Value};

/// Sizes at which something changes, or nothing fits any more.
const SIZES: [u64; 20] =
    [0, 1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 33, 64, 130, 1000, 1 << 16, 1 << 22, 1 << 31, u64::MAX];

/// Floats at which something changes.
const FLOATS: [f32; 12] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::MAX,
    f32::MIN_POSITIVE,
    1e-42,
    -3e20,
    0.1,
];

/// Operators that take one value: put into a chain they make sense after anything.
const UNARY: [&str; 12] = [
    "Relu",
    "LeakyRelu",
    "HardSigmoid",
    "HardSwish",
    "Sigmoid",
    "Tanh",
    "Sqrt",
    "Softmax",
    "Flatten",
    "GlobalAveragePool",
    "LogSoftmax",
    "Identity",
];

/// How many times a part is repeated: few times, or so often that quadratic work shows.
const TIMES: [usize; 6] = [1, 2, 3, 8, 60, 400];

fn text(value: &str) -> Value {
    Value::Bytes(value.as_bytes().to_vec())
}

fn field(number: u64, value: Value) -> Field {
    Field { number, value }
}

fn inside(field: &mut Field) -> Option<&mut Vec<Field>> {
    match &mut field.value {
        Value::Message(_, fields) => Some(fields),
        _ => None,
    }
}

fn string(fields: &[Field], number: u64) -> Option<String> {
    fields.iter().find(|f| f.number == number).and_then(|f| match &f.value {
        Value::Bytes(b) => Some(String::from_utf8_lossy(b).into_owned()),
        _ => None,
    })
}

/// The places in `fields` of messages of a kind.
fn places(fields: &[Field], kind: Kind) -> Vec<usize> {
    let of_kind = |f: &Field| matches!(&f.value, Value::Message(k, _) if *k == kind);
    (0..fields.len()).filter(|&i| of_kind(&fields[i])).collect()
}

fn pick(from: &[usize], random: &mut Random) -> Option<usize> {
    (!from.is_empty()).then(|| from[random.below(from.len())])
}

/// Names of all values that nodes give.
fn given(graph: &[Field]) -> Vec<String> {
    let nodes = places(graph, Kind::Node).into_iter();
    let outputs = nodes.filter_map(|i| match &graph[i].value {
        Value::Message(_, node) => string(node, 2),
        _ => None,
    });
    outputs.collect()
}

fn node(op: &str, inputs: &[&str], output: &str) -> Field {
    let mut fields: Vec<Field> = inputs.iter().map(|i| field(1, text(i))).collect();
    fields.extend([field(2, text(output)), field(3, text(output)), field(4, text(op))]);
    field(1, Value::Message(Kind::Node, fields))
}

/// Makes `name` the only output of the graph, without a claim of its type.
fn finish(graph: &mut Vec<Field>, name: &str) {
    graph.retain(|f| f.number != 12);
    graph.push(field(12, Value::Message(Kind::Port, vec![field(1, text(name))])));
}

/// Nodes of one operator, or copies of one that stands there, one after the other.
fn chain(graph: &mut Vec<Field>, random: &mut Random) {
    let Some(mut last) = given(graph).pop() else { return };
    let copied = if random.below(2) == 0 { pick(&places(graph, Kind::Node), random) } else { None };
    let op = UNARY[random.below(UNARY.len())];
    for _ in 0..TIMES[random.below(TIMES.len())] {
        let name = format!("v{}", random.number());
        let mut next = match copied {
            Some(i) => graph[i].clone(),
            None => node(op, &[""], ""),
        };
        let Some(fields) = inside(&mut next) else { return };
        for (number, value) in [(1, &last), (2, &name), (3, &name)] {
            if let Some(f) = fields.iter_mut().find(|f| f.number == number) {
                f.value = text(value);
            }
        }
        graph.push(next);
        last = name;
    }
    finish(graph, &last);
}

/// Many nodes on one value, and one that takes all of theirs.
fn fan(graph: &mut Vec<Field>, random: &mut Random) {
    let Some(from) = given(graph).pop() else { return };
    let op = UNARY[random.below(UNARY.len())];
    let names: Vec<String> =
        (0..TIMES[random.below(TIMES.len())]).map(|i| format!("f{i}_{}", random.number())).collect();
    for name in &names {
        graph.push(node(op, &[&from], name));
    }
    let joined = format!("j{}", random.number());
    let mut join = match random.below(2) {
        0 => node("Concat", &names.iter().map(String::as_str).collect::<Vec<_>>(), &joined),
        _ => node("Add", &[&names[0], names.last().unwrap_or(&from)], &joined),
    };
    if let Some(fields) = inside(&mut join) {
        let axis = vec![field(1, text("axis")), field(3, Value::Number(1)), field(20, Value::Number(2))];
        fields.push(field(5, Value::Message(Kind::Attribute, axis)));
    }
    graph.push(join);
    finish(graph, &joined);
}

/// Another size for a dimension of a port; tensors and attributes keep theirs.
fn port(graph: &mut [Field], random: &mut Random) {
    let Some(at) = pick(&places(graph, Kind::Port), random) else { return };
    let mut fields = &mut graph[at];
    // Port, type, tensor type, shape.
    for kind in [Kind::Type, Kind::TensorType, Kind::Shape] {
        let Some(list) = inside(fields) else { return };
        let Some(&next) = places(list, kind).first() else { return };
        fields = &mut list[next];
    }
    let Some(dims) = inside(fields) else { return };
    let size = field(1, Value::Number(SIZES[random.below(SIZES.len())]));
    let dim = field(1, Value::Message(Kind::Flat, vec![size]));
    match random.below(4) {
        0 => dims.push(dim),
        1 => drop(dims.pop()),
        _ if !dims.is_empty() => {
            let i = random.below(dims.len());
            dims[i] = dim;
        }
        _ => {}
    }
}

/// Another shape for a tensor, or other numbers in it; what it holds fits its shape.
fn tensor(graph: &mut [Field], random: &mut Random) {
    let Some(at) = pick(&places(graph, Kind::Tensor), random) else { return };
    let Some(tensor) = inside(&mut graph[at]) else { return };
    let mut dims: Vec<u64> = tensor
        .iter()
        .filter_map(|f| match (f.number, &f.value) {
            (1, Value::Number(n)) => Some(*n),
            _ => None,
        })
        .collect();
    let ty = tensor.iter().find_map(|f| match (f.number, &f.value) {
        (2, Value::Number(n)) => Some(*n),
        _ => None,
    });
    let size = match ty {
        Some(2 | 3 | 9) => 1,
        Some(4 | 5) => 2,
        Some(7 | 11 | 13) => 8,
        _ => 4,
    };
    if random.below(2) == 0 && !dims.is_empty() {
        let i = random.below(dims.len());
        dims[i] = SIZES[random.below(SIZES.len())];
    }
    let bytes = dims.iter().fold(size, |a: u64, &b| a.saturating_mul(b));
    let old = tensor.iter().find_map(|f| match (f.number, &f.value) {
        (9, Value::Bytes(b)) if !b.is_empty() => Some(b.clone()),
        _ => None,
    });
    tensor.retain(|f| ![1, 4, 5, 7, 9].contains(&f.number));
    tensor.extend(dims.into_iter().map(|d| field(1, Value::Number(d))));
    let old = old.unwrap_or_else(|| 0.25f32.to_le_bytes().to_vec());
    let mut data: Vec<u8> = old.iter().copied().cycle().take(bytes.min(1 << 18) as usize).collect();
    if random.below(3) == 0 && data.len() >= 4 {
        let odd = FLOATS[random.below(FLOATS.len())].to_le_bytes();
        let all = random.below(2) == 0;
        let one = random.below(data.len() / 4);
        for (i, word) in data.chunks_exact_mut(4).enumerate() {
            if all || i == one {
                word.copy_from_slice(&odd);
            }
        }
    }
    tensor.push(field(9, Value::Bytes(data)));
}

/// Another number in an attribute.
fn attribute(node: &mut [Field], random: &mut Random) {
    let Some(at) = pick(&places(node, Kind::Attribute), random) else { return };
    let Some(fields) = inside(&mut node[at]) else { return };
    let numbers: Vec<usize> = (0..fields.len())
        .filter(|&i| matches!(fields[i].value, Value::Number(_)) && fields[i].number != 20)
        .collect();
    let small = SIZES[random.below(10)];
    let size = if random.below(2) == 0 { small } else { SIZES[random.below(SIZES.len())] };
    let all = random.below(4) == 0;
    let Some(one) = pick(&numbers, random) else { return };
    for i in numbers.into_iter().filter(|&i| all || i == one) {
        fields[i].value = Value::Number(size);
    }
}

/// Another source for an input of a node.
fn rewire(graph: &mut [Field], random: &mut Random) {
    let mut names = given(graph);
    for f in graph.iter() {
        if let (5 | 11, Value::Message(_, fields)) = (f.number, &f.value) {
            names.extend(string(fields, if f.number == 5 { 8 } else { 1 }));
        }
    }
    let Some(at) = pick(&places(graph, Kind::Node), random) else { return };
    let Some(node) = inside(&mut graph[at]) else { return };
    let inputs: Vec<usize> = (0..node.len()).filter(|&i| node[i].number == 1).collect();
    if let Some(i) = pick(&inputs, random)
        && !names.is_empty()
    {
        node[i].value = text(&names[random.below(names.len())]);
    }
}

/// Nodes, tensors and ports of another model behind ours, fed by our last value.
fn append(graph: &mut Vec<Field>, donor: &[Field], random: &mut Random) {
    let Some(last) = given(graph).pop() else { return };
    let suffix = format!("_{}", random.below(1 << 20));
    let first = donor.iter().find(|f| f.number == 11).and_then(|f| match &f.value {
        Value::Message(_, port) => string(port, 1),
        _ => None,
    });
    let rename = |value: &Value| match value {
        Value::Bytes(b) if Some(b.as_slice()) == first.as_deref().map(str::as_bytes) => text(&last),
        Value::Bytes(b) if !b.is_empty() => Value::Bytes([b.as_slice(), suffix.as_bytes()].concat()),
        other => other.clone(),
    };
    let mut end = None;
    for f in donor {
        let mut f = f.clone();
        let names: &[u64] = match f.number {
            1 => &[1, 2, 3],
            5 => &[8],
            _ => continue,
        };
        let Some(fields) = inside(&mut f) else { continue };
        for part in fields.iter_mut().filter(|p| names.contains(&p.number)) {
            part.value = rename(&part.value);
        }
        end = string(fields, 2).filter(|_| f.number == 1).or(end);
        graph.push(f);
    }
    if let Some(end) = end {
        finish(graph, &end);
    }
}

/// One change of a model's graph; `false` if there is nothing to change.
pub(super) fn change(model: &mut [Field], donor: &[Field], random: &mut Random) -> bool {
    let Some(graph) = model.iter_mut().find(|f| f.number == 7).and_then(inside) else { return false };
    match random.below(12) {
        0 => chain(graph, random),
        1 => fan(graph, random),
        2 | 3 => port(graph, random),
        4 | 5 => tensor(graph, random),
        6 | 7 => rewire(graph, random),
        8 | 9 => {
            let nodes = places(graph, Kind::Node);
            if let Some(node) = pick(&nodes, random).and_then(|i| inside(&mut graph[i])) {
                attribute(node, random);
            }
        }
        _ => {
            let theirs = donor.iter().find(|f| f.number == 7);
            if let Some(Value::Message(_, theirs)) = theirs.map(|f| &f.value) {
                append(graph, theirs, random);
            }
        }
    }
    true
}
