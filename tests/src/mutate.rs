//! Mutations of ONNX files for the fuzzer: of bytes, and of fields with the lengths around them
//! kept right, which get past the wire format and deep into the compiler.

mod graph;

/// xorshift64* (Vigna 2016): the cases depend on nothing but the seed.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    /// A number below `n`; 0 for 0.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.number() >> 11) as usize % n }
    }
}

/// Bytes that stand for extremes in varints, lengths and tags.
const EXTREMES: [u8; 12] = [0, 1, 2, 3, 7, 8, 0x0b, 0x12, 0x7f, 0x80, 0xfe, 0xff];

/// One change of bytes somewhere; `other` is a file to splice from.
pub fn bytes(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    if bytes.is_empty() {
        bytes.push(random.number() as u8);
        return;
    }
    let at = random.below(bytes.len());
    let len = 1 + random.below(8.min(bytes.len() - at));
    match random.below(9) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.number() as u8,
        2 => bytes[at] = EXTREMES[random.below(EXTREMES.len())],
        3 => bytes[at] = bytes[at].wrapping_add(if random.below(2) == 0 { 1 } else { 255 }),
        4 => {
            bytes.drain(at..at + len);
        }
        5 => {
            let copy = bytes[at..at + len].to_vec();
            bytes.splice(at..at, copy);
        }
        // A varint of -1, or a huge one, in the place of a byte.
        6 => {
            bytes.splice(at..=at, [[0xff; 9].as_slice(), &[random.below(2) as u8]].concat());
        }
        7 => bytes.truncate(at),
        _ => {
            let from = random.below(other.len());
            let run = 1 + random.below(64.min(other.len() - from));
            bytes.splice(at..at + len, other[from..from + run].iter().copied());
        }
    }
}

/// A field of a message, submessages taken apart.
#[derive(Debug, Clone)]
struct Field {
    number: u64,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    Number(u64),
    Fixed(Vec<u8>),
    Bytes(Vec<u8>),
    Message(Kind, Vec<Field>),
}

/// Messages whose fields are worth changing one by one.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Port,
    Type,
    TensorType,
    Shape,
    Flat,
}

fn inner(kind: Kind, number: u64) -> Option<Kind> {
    Some(match (kind, number) {
        (Kind::Model, 7) => Kind::Graph,
        (Kind::Model, 8) | (Kind::Shape, 1) => Kind::Flat,
        (Kind::Graph, 1) => Kind::Node,
        (Kind::Graph, 5) | (Kind::Attribute, 5) => Kind::Tensor,
        (Kind::Graph, 11 | 12) => Kind::Port,
        (Kind::Node, 5) => Kind::Attribute,
        (Kind::Port, 2) => Kind::Type,
        (Kind::Type, 1) => Kind::TensorType,
        (Kind::TensorType, 2) => Kind::Shape,
        _ => return None,
    })
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn parse(kind: Kind, bytes: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let tag = varint(bytes, &mut at)?;
        let number = tag >> 3;
        let take = |at: &mut usize, len: usize| {
            let part = bytes.get(*at..at.checked_add(len)?)?.to_vec();
            *at += len;
            Some(part)
        };
        let value = match tag & 7 {
            0 => Value::Number(varint(bytes, &mut at)?),
            1 => Value::Fixed(take(&mut at, 8)?),
            5 => Value::Fixed(take(&mut at, 4)?),
            2 => {
                let len = usize::try_from(varint(bytes, &mut at)?).ok()?;
                let body = take(&mut at, len)?;
                match inner(kind, number).and_then(|k| Some((k, parse(k, &body)?))) {
                    Some((k, fields)) => Value::Message(k, fields),
                    None => Value::Bytes(body),
                }
            }
            _ => return None,
        };
        fields.push(Field { number, value });
    }
    Some(fields)
}

fn write_varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push((v & 0x7f) as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

fn write(fields: &[Field]) -> Vec<u8> {
    let mut out = Vec::new();
    for field in fields {
        let (wire, body) = match &field.value {
            Value::Number(v) => {
                write_varint(&mut out, field.number << 3);
                write_varint(&mut out, *v);
                continue;
            }
            Value::Fixed(b) => (if b.len() == 8 { 1 } else { 5 }, b.clone()),
            Value::Bytes(b) => (2, b.clone()),
            Value::Message(_, fields) => (2, write(fields)),
        };
        write_varint(&mut out, field.number << 3 | wire);
        if wire == 2 {
            write_varint(&mut out, body.len() as u64);
        }
        out.extend(body);
    }
    out
}

fn count(fields: &[Field]) -> usize {
    let inside = |f: &Field| if let Value::Message(_, fields) = &f.value { count(fields) } else { 0 };
    fields.iter().map(|f| 1 + inside(f)).sum()
}

/// The list that holds field number `n` in depth-first order, and its index there.
fn find(fields: &mut Vec<Field>, mut n: usize) -> Option<(&mut Vec<Field>, usize)> {
    for i in 0..fields.len() {
        if n == 0 {
            return Some((fields, i));
        }
        n -= 1;
        let inside = if let Value::Message(_, f) = &fields[i].value { count(f) } else { 0 };
        if n < inside {
            let Value::Message(_, f) = &mut fields[i].value else { return None };
            return find(f, n);
        }
        n -= inside;
    }
    None
}

/// All short strings of a file: names of values, nodes and operators, to be mixed up.
fn strings(fields: &[Field], out: &mut Vec<Vec<u8>>) {
    for field in fields {
        match &field.value {
            Value::Bytes(b) if b.len() < 24 => out.push(b.clone()),
            Value::Message(_, f) => strings(f, out),
            _ => {}
        }
    }
}

/// One change of a field of a file that parses; of bytes, if it does not.
pub fn fields(file: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let Some(mut tree) = parse(Kind::Model, file) else { return bytes(file, other, random) };
    let mut words = Vec::new();
    strings(&tree, &mut words);
    let donor = parse(Kind::Model, other).unwrap_or_default();
    let total = count(&tree);
    let Some((list, i)) = find(&mut tree, random.below(total)) else { return };
    match random.below(8) {
        0 => {
            list.remove(i);
        }
        1 => list.insert(i, list[i].clone()),
        2 => {
            let j = random.below(list.len());
            list.swap(i, j);
        }
        3 => {
            // A part of another file in the place of one of its kind.
            let mut donor = donor;
            let n = count(&donor);
            if let Some((from, k)) = find(&mut donor, random.below(n))
                && let (Value::Message(a, _), Value::Message(b, _)) = (&from[k].value, &list[i].value)
                && a == b
            {
                list[i].value = from[k].value.clone();
            }
        }
        _ => match &mut list[i].value {
            Value::Number(v) => {
                let small = random.below(9) as u64;
                let steps = [
                    small,
                    v.wrapping_add(1),
                    v.wrapping_sub(1),
                    (small as i64).wrapping_neg() as u64,
                    v.wrapping_mul(2),
                    1 << random.below(64),
                    u64::MAX >> random.below(64),
                    random.number(),
                ];
                *v = steps[random.below(steps.len())];
            }
            Value::Bytes(b) if b.len() < 24 && random.below(2) == 0 => {
                let n = random.below(words.len());
                *b = words.get(n).cloned().unwrap_or_default();
            }
            Value::Fixed(b) | Value::Bytes(b) => bytes(b, other, random),
            Value::Message(..) => {}
        },
    }
    *file = write(&tree);
}

/// One change that keeps a graph a graph; of a field, if there is none.
pub fn graph(file: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let donor = parse(Kind::Model, other).unwrap_or_default();
    let tree = parse(Kind::Model, file);
    match tree.and_then(|mut tree| graph::change(&mut tree, &donor, random).then_some(tree)) {
        Some(tree) => *file = write(&tree),
        None => fields(file, other, random),
    }
}

/// How many parts a file has that [`without`] can leave out.
pub fn parts(file: &[u8]) -> usize {
    parse(Kind::Model, file).map_or(0, |tree| count(&tree))
}

/// A file less one of its fields, with all that stands inside.
pub fn without(file: &[u8], n: usize) -> Option<Vec<u8>> {
    let mut tree = parse(Kind::Model, file)?;
    let (list, i) = find(&mut tree, n)?;
    list.remove(i);
    Some(write(&tree))
}
