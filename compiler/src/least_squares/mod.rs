//! Each layer with weights as a least-squares problem: what calibration gives it to read, and what it should
//! give.
//!
//! In: a layer of a float graph, its inputs and wanted outputs by sample. Out: second moments ([`Moments`]),
//! from them the weights that give these outputs best ([`Solver`]), some of them zero where pruning asks for
//! it, or all of them multiples of a step where quantization does ([`round()`]). Law: no chance and no library that
//! picks instructions by machine: the same samples give the same bits everywhere.

mod cholesky;
mod layers;
mod matrix;
mod moments;
mod round;
mod solve;
pub(crate) mod steps;

pub use layers::{Layer, Reads, layers, rows};
pub use matrix::{Matrix, Sizes};
pub use moments::{Moments, Rows};
pub use round::{Steps, round};
pub use solve::Solver;

use crate::error::Result;
use crate::graph::Graph;
use crate::tensor::Tensor;

/// The least-squares problem of one group of a layer: what it reads, and what it should give.
pub fn problem(
    graph: &Graph,
    layer: &Layer,
    group: usize,
    read: &[Tensor],
    want: &[Tensor],
) -> Result<(Moments, Matrix, Solver)> {
    let (columns, outputs) = (layer.sizes.columns(), layer.sizes.rows);
    let moments = Moments::of(&rows(graph, layer, group, read, want)?, columns, outputs);
    let weights = layer.weights_in(graph);
    let per_group = layer.sizes.weights();
    let trained = Matrix::from_onnx(layer.sizes, &weights[group * per_group..(group + 1) * per_group]);
    let solver = Solver::new(&moments, &trained).map_err(|e| e.at(graph[layer.node].site()))?;
    Ok((moments, trained, solver))
}
