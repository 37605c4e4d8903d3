//! Writes ONNX files field by field, so that tests can build models that no exporter would.
//!
//! Messages are byte vectors in protobuf wire format; field numbers are those of `onnx.proto`.

/// A protobuf message under construction.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message(pub Vec<u8>);

impl Message {
    pub fn new() -> Self {
        Self::default()
    }
    fn raw_varint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.0.push((v & 0x7f) as u8 | 0x80);
            v >>= 7;
        }
        self.0.push(v as u8);
    }
    pub fn int(mut self, field: u64, v: i64) -> Self {
        self.raw_varint(field << 3);
        self.raw_varint(v as u64);
        self
    }
    pub fn float(mut self, field: u64, v: f32) -> Self {
        self.raw_varint(field << 3 | 5);
        self.0.extend(v.to_le_bytes());
        self
    }
    pub fn bytes(mut self, field: u64, v: &[u8]) -> Self {
        self.raw_varint(field << 3 | 2);
        self.raw_varint(v.len() as u64);
        self.0.extend(v);
        self
    }
    pub fn str(self, field: u64, v: &str) -> Self {
        self.bytes(field, v.as_bytes())
    }
    pub fn message(self, field: u64, v: &Message) -> Self {
        self.bytes(field, &v.0)
    }
    pub fn messages(self, field: u64, all: &[Message]) -> Self {
        all.iter().fold(self, |m, v| m.message(field, v))
    }
}

/// Element type numbers of ONNX.
pub const FLOAT: i64 = 1;
pub const UINT8: i64 = 2;
pub const INT8: i64 = 3;
pub const UINT16: i64 = 4;
pub const INT16: i64 = 5;
pub const INT32: i64 = 6;
pub const INT64: i64 = 7;
pub const STRING: i64 = 8;
pub const BOOL: i64 = 9;

/// A dimension of a declared shape.
#[derive(Debug, Clone, Copy)]
pub enum Dim<'a> {
    Is(i64),
    Named(&'a str),
    Unknown,
}

/// Fixed dimensions.
pub fn dims(sizes: &[i64]) -> Vec<Dim<'static>> {
    sizes.iter().map(|&d| Dim::Is(d)).collect()
}

/// A declared input or output.
pub fn port(name: &str, elem: i64, shape: &[Dim<'_>]) -> Message {
    let dims: Vec<Message> = shape
        .iter()
        .map(|d| match d {
            Dim::Is(n) => Message::new().int(1, *n),
            Dim::Named(n) => Message::new().str(2, n),
            Dim::Unknown => Message::new(),
        })
        .collect();
    let shape = Message::new().messages(1, &dims);
    let tensor = Message::new().int(1, elem).message(2, &shape);
    Message::new().str(1, name).message(2, &Message::new().message(1, &tensor))
}

/// A tensor whose elements stand in `raw_data`.
pub fn tensor(name: &str, elem: i64, shape: &[i64], raw: &[u8]) -> Message {
    let m = shape.iter().fold(Message::new(), |m, &d| m.int(1, d));
    m.int(2, elem).str(8, name).bytes(9, raw)
}

pub fn floats(name: &str, shape: &[i64], data: &[f32]) -> Message {
    let raw: Vec<u8> = data.iter().flat_map(|v| v.to_le_bytes()).collect();
    tensor(name, FLOAT, shape, &raw)
}

pub fn ints(name: &str, shape: &[i64], data: &[i64]) -> Message {
    let raw: Vec<u8> = data.iter().flat_map(|v| v.to_le_bytes()).collect();
    tensor(name, INT64, shape, &raw)
}

/// Attributes.
pub fn attr_int(name: &str, v: i64) -> Message {
    Message::new().str(1, name).int(3, v).int(20, 2)
}
pub fn attr_float(name: &str, v: f32) -> Message {
    Message::new().str(1, name).float(2, v).int(20, 1)
}
pub fn attr_str(name: &str, v: &str) -> Message {
    Message::new().str(1, name).str(4, v).int(20, 3)
}
pub fn attr_ints(name: &str, v: &[i64]) -> Message {
    v.iter().fold(Message::new().str(1, name), |m, &i| m.int(8, i)).int(20, 7)
}
pub fn attr_tensor(name: &str, v: &Message) -> Message {
    Message::new().str(1, name).message(5, v).int(20, 4)
}

/// A node of the default domain.
pub fn node(name: &str, op: &str, inputs: &[&str], outputs: &[&str], attrs: &[Message]) -> Message {
    let m = inputs.iter().fold(Message::new(), |m, i| m.str(1, i));
    let m = outputs.iter().fold(m, |m, o| m.str(2, o));
    m.str(3, name).str(4, op).messages(5, attrs)
}

/// The parts of a model.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pub nodes: Vec<Message>,
    pub initializers: Vec<Message>,
    pub inputs: Vec<Message>,
    pub outputs: Vec<Message>,
    /// Version of the default operator set; 0 stands for 13.
    pub opset: i64,
}

impl Model {
    pub fn graph(&self) -> Message {
        Message::new()
            .messages(1, &self.nodes)
            .str(2, "test")
            .messages(5, &self.initializers)
            .messages(11, &self.inputs)
            .messages(12, &self.outputs)
    }
    /// The bytes of the file.
    pub fn bytes(&self) -> Vec<u8> {
        let opset = if self.opset == 0 { 13 } else { self.opset };
        wrap(&self.graph(), opset).0
    }
}

/// A model around a graph.
pub fn wrap(graph: &Message, opset: i64) -> Message {
    let import = Message::new().str(1, "").int(2, opset);
    Message::new().int(1, 8).message(7, graph).message(8, &import)
}
