//! Pruning: zeros for the weights that a layer needs least, and new values for those that stay.
//!
//! In: a float graph and unlabelled calibration samples. Out: the same graph with zeros in a pattern.
//! Each layer is a least-squares problem ([`solve`]) over what it reads once everything before it is pruned,
//! towards what it gives in the dense network (Frantar and Alistarh, Optimal Brain Compression,
//! 2022, with the dense network's outputs as targets). [`obs`] says which groups of weights cost least.
//! Law: no labels, no gradients, no chance: the same samples give the same bits on every machine.

pub mod groups;
pub mod layers;
pub mod moments;
pub mod obs;
pub mod scores;
pub mod solve;

#[cfg(test)]
mod tests;
