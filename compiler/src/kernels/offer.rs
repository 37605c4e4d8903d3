//! Engines: how a core's native kernels spell convolutions, dense layers and their kin.
//!
//! In: sizes and a product, what may be spent. Out: the ways there are, each a finished call with
//! the workspace it needs; none where no native kernel fits and the portable loops stay. The
//! schedule asks, weighs and names one; lowering asks again and takes the one that was named.
//!
//! Laws: every way computes exactly what the portable loops compute, bit by bit. The kernels of
//! a way carry native texts for the core of the target and for no other. The same question
//! gets the same answer.

use crate::error::Result;
use crate::kernel::Native;
use crate::kernels::call::{Role, Spelled};
use crate::kernels::problem::Geometry;
use crate::kernels::problem::Rows;
use crate::kernels::product::Product;
use crate::kernels::vector::Run;
use crate::options::Optimize;
use crate::program::cost;
use secateur_targets::Target;
use std::collections::BTreeMap;

/// Bytes of widened rows above which a row of outputs is cut into tiles, unless memory is short.
pub(crate) const ROWS_LIMIT: usize = 4096;

/// The way that spends code of its own on a product that a function shared by all layers can do
/// too: not for models whose code is large already.
pub(crate) const UNROLLED: &str = "rows_unrolled";

/// One way to spell a node with native kernels.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// Names the way (`gemm`, `winograd`); no two ways of one node share it.
    pub(crate) way: &'static str,
    pub(crate) call: Spelled,
    /// Bytes of arena needed beside operands and result.
    pub(crate) workspace: usize,
}

impl Candidate {
    /// Whether the result may stand where operand 0 stands.
    pub(crate) fn in_place(&self) -> bool {
        self.call.args.contains(&Role::ResultInPlace)
    }
    /// Bytes of coefficients in flash.
    pub(crate) fn weights(&self) -> usize {
        let data = self.call.args.iter().filter_map(|a| match a {
            Role::Data { data, .. } => Some(data.len() * data.dtype().size()),
            _ => None,
        });
        data.sum()
    }
    /// Cycles of one call that the target's cost table predicts; 0 where there is no table.
    pub(crate) fn cycles(&self, target: &Target) -> f64 {
        target.core.cost.as_ref().map_or(0.0, |c| cost::count(&self.call.kernel).cycles(c))
    }
    /// Bytes of machine code of the native kernels, each once.
    pub(crate) fn code(&self) -> usize {
        cost::native_bytes(&self.call.kernel)
    }
    /// Those kernels' texts, with their bytes.
    pub(crate) fn texts(&self) -> BTreeMap<String, usize> {
        let natives = cost::natives(&self.call.kernel).into_iter();
        natives.map(|n| (n.text.clone(), n.bytes as usize)).collect()
    }
}

/// What a way may spend, and on which core.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Want<'a> {
    pub(crate) target: &'a Target,
    pub(crate) optimize: Optimize,
    /// Bytes of widened input rows, where cutting a row of outputs into tiles can keep it.
    pub(crate) rows_limit: usize,
}

/// The native kernels of one kind of core. Every method may give no way or several.
pub(crate) trait Engine: Sync {
    /// Convolutions over one or two axes, grouped and depthwise ones included.
    fn conv(&self, _g: &Geometry, _product: &Product, _want: &Want<'_>) -> Result<Vec<Candidate>> {
        Ok(Vec::new())
    }
    /// Dense layers and pointwise convolutions.
    fn dense(&self, _rows: &Rows, _product: &Product, _want: &Want<'_>) -> Result<Vec<Candidate>> {
        Ok(Vec::new())
    }
    /// Native texts of an innermost loop without weights, for parameters as [`Run`] has them.
    fn run(&self, _run: &Run, _target: &Target) -> Result<Vec<Native>> {
        Ok(Vec::new())
    }
}
