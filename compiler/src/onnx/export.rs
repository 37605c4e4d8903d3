//! A graph -> an ONNX file of the same meaning: the float model, or with QuantizeLinear and DequantizeLinear
//! around what is stored as integers.
//!
//! In: a graph after passes. Out: the bytes of a file that reads and gives real values by the names of the
//! model's ports. An activation that stands in its node becomes a Relu or a Clip, a dense layer a Gemm. Law: what
//! has no spelling in standard ONNX is refused by name, all of it at once.

mod recurrent;
mod trees;
mod unfuse;

use super::write::{OPSET, Writer, element, float, int, ints, signed, string};
use crate::error::{Error, Result, Site};
use crate::graph::{Graph, NodeId, Quant, ValueId};
use crate::ops::{Attr, AveragePool, Joining, MaxPool, Op, Operand, PadMode, Reducing, ValueType};
use crate::tensor::{DType, Data, Tensor};
use std::collections::BTreeSet;

/// Writes a graph; `about` says in the file where it comes from.
///
/// Errors: operators, types and ports that standard ONNX has no words for.
pub fn export(graph: &Graph, about: &str) -> Result<Vec<u8>> {
    let graph = &*unfuse::unfused(graph)?;
    let mut out = Export { graph, w: Writer::default(), names: vec![None; graph.values().count()] };
    out.ports()?;
    let mut refused = Vec::new();
    // What reads a result of a refused node is refused with it, and says nothing of its own.
    let mut missing = BTreeSet::new();
    for id in graph.topological() {
        let node = &graph[id];
        let told = node.inputs.iter().flatten().any(|v| missing.contains(v));
        let error = if told { None } else { out.node(id).err().map(|e| e.at(node.site())) };
        if told || error.is_some() {
            missing.extend(node.outputs.iter().copied());
        }
        refused.extend(error);
    }
    if let Some(error) = Error::join(refused) {
        return Err(error);
    }
    out.w.finish(&graph.name, about)
}

struct Export<'a> {
    graph: &'a Graph,
    w: Writer,
    /// By value, the name of the tensor of its real numbers, once that is written.
    names: Vec<Option<String>>,
}

fn refuse<T>(why: impl Into<String>) -> Result<T> {
    Err(Error::model(Site::Whole, why).help("leave `onnx` out of `--emit`"))
}

/// Scalars that an operator reads as a constant.
fn scalar(dtype: DType, value: f64) -> Result<Tensor> {
    let data = match dtype {
        DType::F32 => Data::F32(vec![value as f32]),
        _ => Data::from_i64(dtype, &[value as i64]),
    };
    Tensor::new(Vec::new(), data)
}

impl Export<'_> {
    /// Names of inputs and outputs are the model's own.
    fn ports(&mut self) -> Result<()> {
        let graph = self.graph;
        // ONNX has no word for what is kept: a state is an input again, and its next value an output.
        let inputs = || graph.inputs().iter().chain(graph.states());
        for &v in inputs().chain(graph.outputs()) {
            let value = &graph[v];
            if !self.w.take(&value.name) {
                let site = Site::Value(value.name.clone());
                return Err(Error::model(site, "is more than one port, which is not written as ONNX"));
            }
        }
        for &v in inputs() {
            let value = &graph[v];
            self.w.input(&value.name, value.dtype, &value.shape);
            let name = match &value.quant {
                None => value.name.clone(),
                Some(quant) => {
                    let real = self.w.fresh(&format!("{}_real", value.name));
                    self.stored(&value.name, &value.name, quant, &real)?;
                    real
                }
            };
            self.names[v.index()] = Some(name);
        }
        for &v in graph.outputs() {
            let value = &graph[v];
            self.w.output(&value.name, value.dtype, &value.shape);
            if value.constant().is_some() {
                let kept = self.real(v)?;
                let name = value.name.clone();
                self.w.node("Identity", &name, &[kept], std::slice::from_ref(&name), Vec::new());
            }
        }
        Ok(())
    }

    /// A real tensor, stored as integers and read again as `real`.
    fn stored(&mut self, from: &str, like: &str, quant: &Quant, real: &str) -> Result<()> {
        let scales = self.scales(like, quant)?;
        let axis: Vec<_> = quant.axis.map(|a| int("axis", a as i64)).into_iter().collect();
        let inputs = [&[from.to_owned()], scales.as_slice()].concat();
        let q = self.w.step("QuantizeLinear", &format!("{like}_q"), &inputs, axis.clone());
        let inputs = [&[q], scales.as_slice()].concat();
        self.w.node("DequantizeLinear", real, &inputs, &[real.to_owned()], axis);
        Ok(())
    }

    /// Scale and zero point; integers of 32 bits have none of the latter.
    fn scales(&mut self, like: &str, quant: &Quant) -> Result<Vec<String>> {
        if !matches!(quant.dtype, DType::I8 | DType::U8 | DType::I32) {
            return refuse(format!(
                "is stored as {}, which operator set {OPSET} does not quantize",
                quant.dtype.name()
            ));
        }
        let shape = if quant.axis.is_some() { vec![quant.scale.len()] } else { Vec::new() };
        let scale = Tensor::new(shape.clone(), Data::F32(quant.scale.clone()))?;
        let mut names = vec![self.w.kept(&format!("{like}_scale"), &scale)];
        let zeros: Vec<i64> = quant.zero_point.iter().map(|&z| z.into()).collect();
        if quant.dtype != DType::I32 {
            let zero = Tensor::new(shape, Data::from_i64(quant.dtype, &zeros))?;
            names.push(self.w.kept(&format!("{like}_zero_point"), &zero));
        } else if zeros.iter().any(|&z| z != 0) {
            return refuse("has 32-bit integers with a zero point");
        }
        Ok(names)
    }

    /// The name of a value's real numbers; constants are written when they are first read.
    fn real(&mut self, v: ValueId) -> Result<String> {
        if let Some(name) = &self.names[v.index()] {
            return Ok(name.clone());
        }
        let value = &self.graph[v];
        let Some(tensor) = value.constant() else {
            return refuse(format!("reads `{}`, which nothing computes", value.name));
        };
        let name = match &value.quant {
            None => self.w.kept(&value.name, tensor),
            Some(quant) => {
                let kept = self.w.kept(&format!("{}_q", value.name), tensor);
                let scales = self.scales(&value.name, quant)?;
                let axis = quant.axis.map(|a| int("axis", a as i64)).into_iter().collect();
                self.w.step("DequantizeLinear", &value.name, &[&[kept], scales.as_slice()].concat(), axis)
            }
        };
        self.names[v.index()] = Some(name.clone());
        Ok(name)
    }

    fn node(&mut self, id: NodeId) -> Result<()> {
        let graph = self.graph;
        let node = &graph[id];
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for v in &node.inputs {
            inputs.push(v.map_or(Ok(String::new()), |v| self.real(v))?);
        }
        while inputs.last().is_some_and(String::is_empty) {
            inputs.pop();
        }
        // Each result: computed, limited, stored.
        let mut computed = Vec::with_capacity(node.outputs.len());
        let mut later = Vec::new();
        for &v in &node.outputs {
            let value = &graph[v];
            let port = graph.outputs().contains(&v);
            let real = if port { value.name.clone() } else { self.w.fresh(&value.name) };
            let limited = match &value.quant {
                None => real.clone(),
                Some(_) => self.w.fresh(&format!("{}_exact", value.name)),
            };
            let plain = if node.clamp.is_none() {
                limited.clone()
            } else {
                self.w.fresh(&format!("{}_free", value.name))
            };
            computed.push(plain.clone());
            later.push((v, plain, limited, real));
        }
        self.operator(id, inputs, &computed)?;
        for (v, plain, limited, real) in later {
            let value = &graph[v];
            if !node.clamp.is_none() {
                self.limit(&plain, &limited, value.dtype, [node.clamp.lo, node.clamp.hi].map(f64::from))?;
            }
            if let Some(quant) = &value.quant {
                self.stored(&limited, &value.name, quant, &real)?;
            }
            self.names[v.index()] = Some(real);
        }
        Ok(())
    }

    /// A Relu or a Clip.
    fn limit(&mut self, from: &str, to: &str, dtype: DType, [lo, hi]: [f64; 2]) -> Result<()> {
        if lo == 0.0 && hi == f64::INFINITY {
            self.w.node("Relu", to, &[from.to_owned()], &[to.to_owned()], Vec::new());
            return Ok(());
        }
        let mut inputs = vec![from.to_owned()];
        for (word, end) in [("min", lo), ("max", hi)] {
            inputs.push(match end.is_finite() {
                true => self.w.kept(&format!("{to}_{word}"), &scalar(dtype, end)?),
                false => String::new(),
            });
        }
        while inputs.last().is_some_and(String::is_empty) {
            inputs.pop();
        }
        self.w.node("Clip", to, &inputs, &[to.to_owned()], Vec::new());
        Ok(())
    }

    /// One operator, in the words of operator set 17.
    fn operator(&mut self, id: NodeId, mut inputs: Vec<String>, outputs: &[String]) -> Result<()> {
        let graph = self.graph;
        let node = &graph[id];
        let shape = |i: usize| node.inputs.get(i).copied().flatten().map_or(&[][..], |v| &graph[v].shape[..]);
        let (x, name) = (shape(0), node.name.as_str());
        let dtype = node.inputs.first().copied().flatten().map_or(DType::F32, |v| graph[v].dtype);
        let flag = |name: &str, on: bool| int(name, on.into());
        // Whether a pool has another result where its size is not rounded up: readers differ on windows that
        // begin behind the input, so a size that comes out even is written as such.
        let rounds_up = |even: &Op| {
            let x = Operand { dtype, shape: x, data: None };
            let same = |types: Vec<ValueType>| types[0].shape == graph[node.outputs[0]].shape;
            !even.infer(&[Some(x)]).is_ok_and(same)
        };
        let (mut op, mut attributes) = (node.op.name(), Vec::new());
        match &node.op {
            Op::Conv(c) => {
                attributes = vec![ints("strides", &c.strides), ints("pads", &c.pads)];
                attributes.extend([ints("dilations", &c.dilations), int("group", c.group as i64)]);
            }
            Op::Gemm(g) => {
                attributes = vec![float("alpha", g.alpha), float("beta", g.beta)];
                attributes.extend([flag("transA", g.trans_a), flag("transB", g.trans_b)]);
            }
            Op::Dense(_) if x.len() == 2 => (op, attributes) = ("Gemm", vec![int("transB", 1)]),
            Op::Dense(_) => return self.dense(name, &inputs, outputs),
            Op::Recurrent(layer) => return self.recurrent(layer, name, inputs, outputs),
            Op::LeakyRelu(l) => attributes = vec![float("alpha", l.alpha)],
            Op::HardSigmoid(h) => attributes = vec![float("alpha", h.alpha), float("beta", h.beta)],
            Op::Clip(c) => {
                let ends = [c.min.unwrap_or(f64::NEG_INFINITY), c.max.unwrap_or(f64::INFINITY)];
                return self.limit(&inputs[0], &outputs[0], dtype, ends);
            }
            Op::BatchNormalization(b) => attributes = vec![float("epsilon", b.epsilon)],
            Op::AveragePool(p) if p.dilations.iter().any(|&d| d != 1) => {
                return refuse(format!("has dilations, which operator set {OPSET} does not have"));
            }
            Op::AveragePool(p) => {
                attributes =
                    vec![ints("kernel_shape", &p.kernel), ints("strides", &p.strides), ints("pads", &p.pads)];
                let up = p.ceil_mode && rounds_up(&AveragePool { ceil_mode: false, ..p.clone() }.into());
                attributes.extend([flag("ceil_mode", up), flag("count_include_pad", p.count_include_pad)]);
            }
            Op::MaxPool(p) => {
                attributes =
                    vec![ints("kernel_shape", &p.kernel), ints("strides", &p.strides), ints("pads", &p.pads)];
                let up = p.ceil_mode && rounds_up(&MaxPool { ceil_mode: false, ..p.clone() }.into());
                attributes.extend([ints("dilations", &p.dilations), flag("ceil_mode", up)]);
            }
            Op::ReduceMean(r) => attributes = vec![ints("axes", &r.axes), flag("keepdims", r.keepdims)],
            Op::Softmax(s) if s.flatten => return self.flattened(op, name, x, s.axis, &inputs, outputs),
            Op::LogSoftmax(s) if s.flatten => return self.flattened(op, name, x, s.axis, &inputs, outputs),
            Op::Softmax(s) => attributes = vec![int("axis", s.axis as i64)],
            Op::LogSoftmax(s) => attributes = vec![int("axis", s.axis as i64)],
            Op::Reshape(r) => inputs.push(self.w.integers(&format!("{name}_shape"), &signed(&r.shape))?),
            Op::Expand(e) => inputs.push(self.w.integers(&format!("{name}_shape"), &signed(&e.shape))?),
            Op::Flatten(f) => attributes = vec![int("axis", f.axis as i64)],
            Op::Squeeze(s) => inputs.push(self.w.integers(&format!("{name}_axes"), &signed(&s.axes))?),
            Op::Unsqueeze(u) => inputs.push(self.w.integers(&format!("{name}_axes"), &signed(&u.axes))?),
            Op::Transpose(t) => attributes = vec![ints("perm", &t.perm)],
            Op::Concat(c) => attributes = vec![int("axis", c.axis as i64)],
            Op::Gather(g) => attributes = vec![int("axis", g.axis as i64)],
            Op::Split(s) => {
                attributes = vec![int("axis", s.axis as i64)];
                inputs.push(self.w.integers(&format!("{name}_split"), &signed(&s.sizes))?);
            }
            Op::Slice(s) => {
                let ends = s.starts.iter().zip(&s.steps).zip(&s.sizes).map(|((&start, &step), &size)| {
                    let end = start as i64 + step * size as i64;
                    // Before the first place is no number: negative ones count from the end.
                    if end < 0 { i64::MIN + 1 } else { end }
                });
                let (ends, axes): (Vec<i64>, Vec<usize>) = (ends.collect(), (0..x.len()).collect());
                for (word, values) in [
                    ("starts", signed(&s.starts)),
                    ("ends", ends),
                    ("axes", signed(&axes)),
                    ("steps", s.steps.clone()),
                ] {
                    inputs.push(self.w.integers(&format!("{name}_{word}"), &values)?);
                }
            }
            Op::Pad(p) => {
                let mode = match p.mode {
                    PadMode::Constant => "constant",
                    PadMode::Edge => "edge",
                    PadMode::Reflect => "reflect",
                    PadMode::Wrap => return refuse(format!("wraps, which operator set {OPSET} does not")),
                };
                attributes = vec![string("mode", mode)];
                inputs.push(self.w.integers(&format!("{name}_pads"), &p.pads)?);
                if p.mode == PadMode::Constant {
                    inputs.push(self.w.kept(&format!("{name}_value"), &scalar(dtype, p.value)?));
                }
            }
            Op::Cast(c) => attributes = vec![int("to", element(c.to).into())],
            Op::ArgMax(a) => {
                attributes = vec![int("axis", a.axis as i64), flag("keepdims", a.keepdims)];
                attributes.push(flag("select_last_index", a.select_last_index));
            }
            Op::QuantizeLinear(q) => {
                if inputs.len() < 3 && q.dtype != DType::U8 {
                    return refuse("has no zero point that says its type");
                }
                attributes = q.axis.map(|a| int("axis", a as i64)).into_iter().collect();
            }
            Op::DequantizeLinear(q) => {
                attributes = q.axis.map(|a| int("axis", a as i64)).into_iter().collect()
            }
            // The same real numbers, stored otherwise.
            Op::Requantize(_) | Op::Dropout(_) => op = "Identity",
            Op::Map(map) => {
                if matches!(
                    map.function,
                    "Gelu" | "Mish" | "Swish" | "BitwiseAnd" | "BitwiseNot" | "BitwiseOr" | "BitwiseXor"
                ) {
                    return refuse(format!("is an operator that operator set {OPSET} does not have"));
                }
                for (name, value) in &map.attrs {
                    attributes.push(match value {
                        Attr::Float(v) => float(name, *v),
                        Attr::Int(v) => int(name, *v),
                        Attr::Str(v) => string(name, v),
                        _ => continue,
                    });
                }
                for (i, t) in map.tail.iter().enumerate() {
                    inputs.push(self.w.kept(&format!("{name}_operand_{i}"), t));
                }
            }
            Op::Reduce(r) if r.function == Reducing::Sum => {
                attributes = vec![flag("keepdims", r.keepdims), int("noop_with_empty_axes", 1)];
                inputs.push(self.w.integers(&format!("{name}_axes"), &signed(&r.axes))?);
            }
            Op::Reduce(r) if r.axes.is_empty() => op = "Identity",
            Op::Reduce(r) => attributes = vec![ints("axes", &r.axes), flag("keepdims", r.keepdims)],
            Op::Scan(s) if s.product => {
                return refuse(format!("is an operator that operator set {OPSET} does not have"));
            }
            Op::Scan(s) => {
                attributes = vec![flag("exclusive", s.exclusive), flag("reverse", s.reverse)];
                inputs.push(self.w.integers(&format!("{name}_axis"), &[s.axis as i64])?);
            }
            Op::TopK(t) => {
                attributes = vec![int("axis", t.axis as i64), flag("largest", t.largest)];
                inputs.push(self.w.integers(&format!("{name}_k"), &[t.k as i64])?);
            }
            Op::ScatterFlat(s) => {
                op = "ScatterElements";
                let word = match s.reduction {
                    Joining::Replace => "none",
                    Joining::Add => "add",
                    Joining::Mul => "mul",
                    Joining::Max | Joining::Min => {
                        return refuse(format!(
                            "takes the greater or the lesser, which operator set {OPSET} does not"
                        ));
                    }
                };
                attributes = vec![string("reduction", word)];
            }
            Op::Attention(_) | Op::Chain(_) | Op::Normalization(_) => {
                return refuse("is fused, and was not written in its parts");
            }
            Op::TreeEnsemble(trees) => {
                return self.trees(trees, name, &inputs, outputs);
            }
            Op::PairwiseCoupling(_) => {
                return refuse(
                    "finds probabilities by iteration, which the default operator set has no word for",
                );
            }
            Op::Constant(_) | Op::Shape(_) | Op::ConstantOfShape(_) => {
                return refuse("computes what is known before the model runs, and is not written");
            }
            Op::MatMul(_)
            | Op::Add(_)
            | Op::Sub(_)
            | Op::Mul(_)
            | Op::Div(_)
            | Op::Relu(_)
            | Op::HardSwish(_)
            | Op::Sigmoid(_)
            | Op::Tanh(_)
            | Op::Sqrt(_)
            | Op::GlobalAveragePool(_)
            | Op::GlobalMaxPool(_)
            | Op::Identity(_) => {}
        }
        if op == "Identity" && outputs.len() > 1 {
            return refuse("has a second result, which is not written");
        }
        // Where the elements stand is no choice of TopK's, read or not.
        let unread = matches!(node.op, Op::TopK(_)) && outputs.len() == 1;
        let mut outputs = outputs.to_vec();
        outputs.extend(unread.then(|| self.w.fresh(&format!("{name}_indices"))));
        self.w.node(op, name, &inputs, &outputs, attributes);
        Ok(())
    }

    /// A dense layer over operands that Gemm does not take.
    fn dense(&mut self, name: &str, inputs: &[String], outputs: &[String]) -> Result<()> {
        let turned =
            self.w.step("Transpose", &format!("{name}_weights"), &inputs[1..2], vec![ints("perm", &[1, 0])]);
        let operands = [inputs[0].clone(), turned];
        match inputs.get(2) {
            None => self.w.node("MatMul", name, &operands, outputs, Vec::new()),
            Some(bias) => {
                let product = self.w.step("MatMul", &format!("{name}_product"), &operands, Vec::new());
                self.w.node("Add", name, &[product, bias.clone()], outputs, Vec::new());
            }
        }
        Ok(())
    }

    /// An operator over all axes from one on, as one axis.
    fn flattened(
        &mut self,
        op: &str,
        name: &str,
        shape: &[usize],
        axis: usize,
        inputs: &[String],
        outputs: &[String],
    ) -> Result<()> {
        let flat = self.w.step("Flatten", &format!("{name}_flat"), inputs, vec![int("axis", axis as i64)]);
        let done = self.w.step(op, &format!("{name}_rows"), &[flat], vec![int("axis", 1)]);
        let back = self.w.integers(&format!("{name}_shape"), &signed(shape))?;
        self.w.node("Reshape", name, &[done, back], outputs, Vec::new());
        Ok(())
    }
}
