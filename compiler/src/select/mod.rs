//! Node -> kernel variants: the calls that can compute it on a core.
//!
//! In: a node of the graph, the layouts of its values, what may be spent. Out: variants, each a list
//! of finished calls whose arguments are bound to operands, results, workspace and data of the
//! node. The schedule takes one of them, and lowering gives it places; neither asks again.
//!
//! Convolutions and products have a variant for each kernel that the core's engine offers, other
//! operators one, which uses native kernels where the core has them. The loops of a family of
//! operators stand in one file here; `table` has the operators.
//!
//! Law: all variants of a node compute the same, bit by bit. What cannot be compiled is refused here,
//! with the node's name.

mod attention;
mod composite;
mod copy;
mod coupling;
mod elementwise;
mod functions;
mod lanes;
mod layer_norm;
mod linear;
mod map;
mod normalize;
mod pair;
mod pool;
mod problem;
mod quant;
mod recurrent;
mod reduce;
mod region;
mod scale;
mod softmax;
mod table;
mod trees;
mod wide;
mod wide_norm;

use scale::{requantized, ties_to_even};

use crate::error::{Error, Result, Site};
use crate::graph::layout::Layout;
use crate::graph::{Clamp, Graph, Node, NodeId, Quant, Value, ValueId};
use crate::kernel::{Access, Buf, Kernel, KernelBuilder};
pub(crate) use crate::kernels::call::PORTABLE;
use crate::kernels::call::{Bind, Call, way};
use crate::kernels::offer::{Candidate, Want};
use crate::kernels::vector::Run;
use crate::policy::Price;
use crate::program::cost;
use crate::tensor::{DType, Data, row_major_strides};
use secateur_targets::Target;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One way to compute a node.
#[derive(Debug)]
pub(crate) struct Variant {
    /// Names what runs: the variant that an engine offered, else the native kernels that the calls
    /// reach, or `portable`. No two variants of one node share it.
    pub(crate) name: String,
    pub(crate) calls: Vec<Call>,
    /// Bytes of arena needed beside operands and results.
    pub(crate) workspace: usize,
}

impl Variant {
    /// The only variant of a node, named by what its calls run.
    fn only(calls: Vec<Call>) -> Variant {
        Variant { name: way(&calls), calls, workspace: 0 }
    }
    /// Whether result 0 may stand where operand 0 stands, whatever the operator.
    pub(crate) fn in_place(&self) -> bool {
        self.calls.iter().any(Call::in_place)
    }
    /// What it costs on a core: asked here and nowhere else.
    pub(crate) fn price(&self, target: &Target) -> Price {
        Price {
            cycles: self.calls.iter().map(|call| call.cycles(target)).sum(),
            code: self.texts().values().sum(),
            weights: self.calls.iter().map(Call::data_bytes).sum(),
        }
    }
    /// The texts of the native kernels, with their bytes.
    pub(crate) fn texts(&self) -> BTreeMap<String, usize> {
        let natives = self.calls.iter().flat_map(|c| cost::natives(&c.kernel));
        natives.map(|n| (n.text.clone(), n.bytes as usize)).collect()
    }
}

/// The variants of a node that is not a mere view; `layouts` is by value index and final. None
/// where the node writes nothing. With `portable`, only the one without native kernels.
///
/// Errors: the node cannot be compiled, or an engine failed to write a kernel that it has.
pub(crate) fn variants(
    graph: &Graph,
    node: NodeId,
    layouts: &[Option<Layout>],
    want: &Want<'_>,
    portable: bool,
) -> Result<Vec<Variant>> {
    let mut cx = Cx::new(graph, node, graph[node].clamp, layouts, want);
    cx.portable = portable;
    table::select(&mut cx).map_err(|e| e.at(graph[node].site()))?;
    if cx.offers.is_empty() {
        return Ok(vec![Variant::only(cx.calls)]);
    }
    Ok(std::mem::take(&mut cx.offers).into_iter().map(|offer| cx.named(offer)).collect())
}

/// The calls that copy a value, which lies row-major, to result 0 at the end of a run: a constant for an output of
/// the model that nothing computes, or operand 0 for what is kept.
pub(crate) fn copied(graph: &Graph, value: ValueId, want: &Want<'_>) -> Result<Variant> {
    let from = &graph[value];
    // The copy belongs to no node.
    let node = NodeId(u32::MAX);
    let mut cx = Cx::new(graph, node, Clamp::NONE, &[], want);
    let (arg, elem) = match from.constant() {
        Some(tensor) => (cx.constant(from.name.clone(), tensor.data().clone(), 1), tensor.dtype()),
        None => (Bind::Operand(0), from.stored()),
    };
    let (shape, strides) = (from.shape.clone(), row_major_strides(&from.shape));
    let from = View { arg, elem, shape, strides, quant: from.quant.clone() };
    let to = View { arg: Bind::Result(0), ..from.clone() };
    copy::relayout(&mut cx, &from, &to)?;
    Ok(Variant::only(cx.calls))
}

/// An operand or result as a kernel sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct View {
    pub(crate) arg: Bind,
    /// Type in memory.
    pub(crate) elem: DType,
    /// Logical shape, and the stride of each logical axis in elements.
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: Vec<usize>,
    pub(crate) quant: Option<Quant>,
}

impl View {
    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Elements from the first to the last, both included: what a kernel's buffer must hold.
    pub(crate) fn span(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        1 + self.shape.iter().zip(&self.strides).map(|(&n, &s)| (n - 1) * s).sum::<usize>()
    }
    /// Declares the buffer parameter that this is passed for.
    pub(crate) fn param(&self, k: &mut KernelBuilder, name: &str, access: Access) -> Buf {
        k.buffer(name, self.elem, self.span(), access)
    }
    /// Scale and zero point of a value quantized per tensor.
    pub(crate) fn affine(&self) -> Option<(f32, i32)> {
        match &self.quant {
            Some(q) if q.axis.is_none() => Some((*q.scale.first()?, *q.zero_point.first()?)),
            _ => None,
        }
    }
    /// The integers between which a quantized result lies under a fused activation.
    /// Quantization is monotone, so clamping before it or after it is the same.
    pub(crate) fn limits(&self, clamp: Clamp) -> (i32, i32) {
        let (lo, hi) = self.elem.range().map_or((i32::MIN, i32::MAX), |(lo, hi)| {
            (lo.max(i32::MIN.into()) as i32, hi.min(i32::MAX.into()) as i32)
        });
        let Some((scale, zero)) = self.affine() else { return (lo, hi) };
        let stored = |real: f32| quantize(real, scale, zero, lo, hi);
        (stored(clamp.lo), stored(clamp.hi))
    }
}

/// `round_half_even(real / scale) + zero`, saturated: ONNX's QuantizeLinear in f32.
pub(crate) fn quantize(real: f32, scale: f32, zero: i32, lo: i32, hi: i32) -> i32 {
    let steps = libm::rintf(real / scale);
    if steps.is_nan() {
        return zero.clamp(lo, hi);
    }
    (f64::from(steps) + f64::from(zero)).clamp(lo.into(), hi.into()) as i32
}

/// One node, and the calls that compute it so far.
#[derive(Debug)]
pub(crate) struct Cx<'a> {
    graph: &'a Graph,
    layouts: &'a [Option<Layout>],
    want: Want<'a>,
    node: NodeId,
    clamp: Clamp,
    calls: Vec<Call>,
    /// Whether native kernels are left out.
    portable: bool,
    /// What the core's engine offers instead of `calls`.
    offers: Vec<Candidate>,
}

impl<'a> Cx<'a> {
    fn new(
        graph: &'a Graph,
        node: NodeId,
        clamp: Clamp,
        layouts: &'a [Option<Layout>],
        want: &Want<'a>,
    ) -> Self {
        Cx {
            graph,
            layouts,
            want: *want,
            node,
            clamp,
            calls: Vec::new(),
            portable: false,
            offers: Vec::new(),
        }
    }
    /// An error that names this node.
    fn unsupported(&self, why: &str) -> Error {
        let node = self.graph.nodes.get(self.node.index()).and_then(Option::as_ref);
        Error::model(node.map_or(Site::Whole, Node::site), why)
    }
    /// A result of something that knows no node, with an error that names this one.
    fn here<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|e| e.at(self.node().site()))
    }
    fn node(&self) -> &'a Node {
        &self.graph[self.node]
    }
    /// The native kernel of an innermost loop, where the core has one that may be used.
    fn native(&self, run: Run) -> Result<Option<Arc<Kernel>>> {
        if self.portable { Ok(None) } else { run.kernel(self.want.library) }
    }
    /// The activation fused into the node; none in a copy that belongs to no node.
    fn clamp(&self) -> Clamp {
        self.clamp
    }
    /// Operand `i` as a value; `None` when it is left out.
    fn operand(&self, i: usize) -> Option<&'a Value> {
        self.node().inputs.get(i).copied().flatten().map(|v| &self.graph[v])
    }
    /// Operand `i` as a value; refuses when it is left out.
    fn need(&self, i: usize) -> Result<&'a Value> {
        self.operand(i).ok_or_else(|| self.unsupported(&format!("operand {i} is missing")))
    }
    /// Result 0 as a value.
    fn result(&self) -> Result<&'a Value> {
        let first = self.node().outputs.first();
        first.map(|&v| &self.graph[v]).ok_or_else(|| self.unsupported("has no result"))
    }
    /// Operand `i` as kernels see it. A constant is read as it is, row-major: for packed weights
    /// take [`Cx::need`] and [`Cx::constant`].
    fn input(&self, i: usize) -> Result<View> {
        let id = self.node().inputs.get(i).copied().flatten();
        let id = id.ok_or_else(|| self.unsupported(&format!("operand {i} is missing")))?;
        Ok(self.view(id, Bind::Operand(i)))
    }
    /// Result `i` as kernels see it.
    fn output(&self, i: usize) -> Result<View> {
        let id = *self.node().outputs.get(i).ok_or_else(|| self.unsupported("a result is missing"))?;
        Ok(self.view(id, Bind::Result(i)))
    }
    fn view(&self, id: ValueId, arg: Bind) -> View {
        let value = &self.graph[id];
        let layout = self.layouts.get(id.index()).and_then(Option::as_ref);
        let strides = match value.constant() {
            Some(_) => row_major_strides(&value.shape),
            None => layout.map_or_else(|| row_major_strides(&value.shape), |l| l.strides(&value.shape)),
        };
        let elem = value.constant().map_or(value.stored(), |t| t.dtype());
        View { arg, elem, shape: value.shape.clone(), strides, quant: value.quant.clone() }
    }
    /// Read-only data, aligned to `align` bytes and at least to its element.
    fn constant(&self, name: impl Into<Cow<'static, str>>, data: Data, align: usize) -> Bind {
        let align = align.max(data.dtype().size());
        Bind::Data { name: name.into(), data, align }
    }
    /// Appends a call of a kernel under construction.
    fn step(&mut self, k: KernelBuilder, args: Vec<Bind>) -> Result<()> {
        self.calls.push(Call { kernel: k.finish()?, args });
        Ok(())
    }
    /// An engine's offer as a variant of this node, its data named after the node.
    fn named(&self, offer: Candidate) -> Variant {
        let calls = vec![self.owned(offer.call)];
        Variant { name: offer.way.to_owned(), calls, workspace: offer.workspace }
    }
    /// A call with its data named after the node.
    fn owned(&self, mut call: Call) -> Call {
        for arg in &mut call.args {
            if let Bind::Data { name, .. } = arg {
                *name = format!("{} {name}", self.node().name).into();
            }
        }
        call
    }
}
