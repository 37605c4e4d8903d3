//! Engines: how a core's native kernels spell convolutions, dense layers and their kin.
//!
//! In: sizes and a product, what may be spent. Out: the ways there are, each a finished call with
//! the workspace it needs; none where no native kernel fits and the portable loops stay. The
//! schedule asks, weighs and keeps one.
//!
//! Laws: every way computes exactly what the portable loops compute, bit by bit. The kernels of
//! a way carry native texts for the core of the target and for no other. The same question
//! gets the same answer.

use crate::arith::requant::{HIGH_SHIFT, Multiplier, Output, Requant, Shift};
use crate::call::{Bind, Call};
use crate::epilogue::Finish;
use crate::error::Result;
use crate::kernel::{Expr, Kernel, Native};
use crate::library::Library;
use crate::policy::Policy;
use crate::problem::{Geometry, Rows};
use crate::product::Product;
use crate::recurrent::Units;
use crate::softmax::Row;
use crate::tensor::{DType, Data};
use crate::vector::Run;
use secateur_targets::{Core, Target};
use std::sync::Arc;

/// Bytes of widened rows above which a row of outputs is cut into tiles, unless memory is short.
pub const ROWS_LIMIT: usize = 4096;

/// The way that spends code of its own on a product that a function shared by all layers can do
/// too: not for models whose code is large already.
pub const UNROLLED: &str = "rows_unrolled";

/// Products whose weights take four bits each.
pub const DENSE4: &str = "dense4";

/// Ways that leave zeros out are called this and how zeros lie: `blocks4x4`.
pub const SPARSE: &str = "blocks";

/// How weights are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    All,
    /// Those that are not zero, or blocks of which one is not.
    Sparse,
}

impl Weights {
    /// Ways to keep those of a product that may pay.
    pub fn of(product: &Product) -> impl Iterator<Item = Weights> {
        let sparse = product.zeros().then_some(Weights::Sparse);
        [Weights::All].into_iter().chain(sparse)
    }
}

/// One way to spell a node with native kernels.
#[derive(Debug)]
pub struct Candidate {
    /// Names the way (`gemm`, `winograd`); no two ways of one node share it.
    pub way: &'static str,
    pub call: Call,
    /// Bytes of arena needed beside operands and result.
    pub workspace: usize,
}

impl Candidate {
    /// Whether the result may stand where operand 0 stands.
    pub fn in_place(&self) -> bool {
        self.call.in_place()
    }
}

/// What a way may spend, and on which core.
#[derive(Debug, Clone, Copy)]
pub struct Want<'a> {
    /// The kernels made so far, and the target.
    pub library: &'a Library<'a>,
    pub policy: Policy<'a>,
    /// Bytes of widened input rows, where cutting a row of outputs into tiles can keep it.
    pub rows_limit: usize,
}

impl<'a> Want<'a> {
    pub fn target(&self) -> &'a Target {
        self.library.target()
    }
    pub fn core(&self) -> &'a Core {
        self.library.core()
    }
}

/// Weights that the run brings: int8, of which lower ones than [`Live::least`] count as that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Live {
    /// Elements from one input's weight to the next one's, and from one output's to the next one's.
    pub strides: [usize; 2],
    /// Zero points of the inputs, and of the weights.
    pub x_zp: i32,
    pub w_zp: i32,
    /// -128, or -127, with which some kernels are faster.
    pub least: i32,
    /// From sums to results, and what these are: `I8` or `I16`.
    pub by: Multiplier,
    pub out: Output,
    pub result: DType,
}

impl Live {
    /// A product of these sizes with the greatest weights: a stream that holds its sums holds all. `None` where native
    /// kernels do not end as [`Live::by`] does.
    pub fn greatest(&self, rows: &Rows) -> Option<Product> {
        let (inputs, outputs) = (rows.inputs.len, rows.outputs.len);
        let requant = Requant { m: vec![self.by.m; outputs], shift: Shift::Layer(self.by.s), out: self.out };
        let finish = if self.result == DType::I16 { Finish::Wide } else { Finish::Int };
        let (low, high) = (self.least - self.w_zp, 127 - self.w_zp);
        let far = if low.abs() > high { low } else { high };
        (self.by.s >= HIGH_SHIFT).then(|| Product {
            weights: Data::I32(vec![far; inputs * outputs]),
            bias: Data::I32(vec![0; outputs]),
            x_zp: self.x_zp,
            operand: DType::I8,
            finish: finish(requant),
        })
    }
    /// A weight as products read it.
    pub fn weight(&self, stored: Expr) -> Expr {
        let weight = if self.least > i8::MIN.into() { stored.max(self.least) } else { stored };
        if self.w_zp == 0 { weight } else { weight - self.w_zp }
    }
}

/// A product of such weights: a kernel `(weights, stream)` lays them as the product reads them, once for all rows.
#[derive(Debug)]
pub struct Loaded {
    pub pack: Arc<Kernel>,
    /// Type and number of the stream's elements.
    pub stream: (DType, usize),
    /// The product, whose operand 1 is the stream.
    pub product: Candidate,
}

impl Loaded {
    /// Of a product with weights in flash, of which `pack` lays others in their place.
    pub fn new(pack: Arc<Kernel>, stream: (DType, usize), mut product: Candidate) -> Loaded {
        for arg in &mut product.call.args {
            if matches!(arg, Bind::Data { .. }) {
                *arg = Bind::Operand(1);
            }
        }
        Loaded { pack, stream, product }
    }
}

/// The native kernels of one kind of core. Every method may give no way or several.
pub trait Engine: Sync {
    /// Convolutions over one or two axes, grouped and depthwise ones included.
    fn conv(&self, _g: &Geometry, _product: &Product, _want: &Want<'_>) -> Result<Vec<Candidate>> {
        Ok(Vec::new())
    }
    /// Dense layers and pointwise convolutions.
    fn dense(&self, _rows: &Rows, _product: &Product, _want: &Want<'_>) -> Result<Vec<Candidate>> {
        Ok(Vec::new())
    }
    /// Convolutions whose inputs or results take sixteen bits.
    fn wide_conv(&self, _g: &Geometry, _product: &Product, _want: &Want<'_>) -> Result<Vec<Candidate>> {
        Ok(Vec::new())
    }
    /// Dense layers and pointwise convolutions whose inputs or results take sixteen bits.
    fn wide(&self, _rows: &Rows, _product: &Product, _want: &Want<'_>) -> Result<Vec<Candidate>> {
        Ok(Vec::new())
    }
    /// Products of int8 inputs whose weights the run brings.
    fn live(&self, _rows: &Rows, _live: &Live, _want: &Want<'_>) -> Result<Option<Loaded>> {
        Ok(None)
    }
    /// Native texts of a recurrent layer's units.
    fn units(&self, _units: &Units, _target: &Target) -> Result<Option<Native>> {
        Ok(None)
    }
    /// Native texts of a row of a Softmax.
    fn softmax(&self, _row: &Row, _target: &Target) -> Result<Option<Native>> {
        Ok(None)
    }
    /// Native texts of an innermost loop without weights, for parameters as [`Run`] has them.
    fn run(&self, _run: &Run, _target: &Target) -> Result<Vec<Native>> {
        Ok(Vec::new())
    }
}
