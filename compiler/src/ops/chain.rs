//! Element-wise operators of one run-time value, one after the other: GELU, SiLU, Mish and whatever else models
//! spell by several nodes, as one function.
//!
//! Law: ours alone; `passes::fuse_chain` makes it. It means what its steps mean, in their order, so that fusing
//! changes no bit of a float model.

use super::check::{floats, infer_tensors, refuse, tensor};
use super::{Lowering, Op, Operand, Operator, ValueType, unary};
use crate::error::Result;
use crate::tensor::{Data, Tensor};

/// Where a step gets an operand from.
#[derive(Debug, Clone, PartialEq)]
pub enum Link {
    /// The operand of the chain.
    Input,
    /// The result of an earlier step.
    Step(usize),
    /// A number.
    Number(f32),
}

/// An operator of a chain, and what it reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub op: Op,
    pub links: Vec<Link>,
}

/// A function of one float, as steps; the last one gives the result.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    pub steps: Vec<Step>,
}

impl Operator for Chain {
    const NAME: &'static str = "Chain";
    const OURS: bool = true;
    const ELEMENTWISE: bool = true;

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        unary::infer(inputs)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        infer_tensors(self, inputs)?;
        let x = tensor(inputs, 0)?;
        let n = x.len();
        let flat = Tensor::f32(&[n], floats(x)?.to_vec());
        let mut results: Vec<Tensor> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let numbers: Vec<Option<Tensor>> = step
                .links
                .iter()
                .map(|l| if let Link::Number(v) = l { Some(Tensor::f32(&[], vec![*v])) } else { None })
                .collect();
            let operands: Vec<Option<&Tensor>> = step
                .links
                .iter()
                .zip(&numbers)
                .map(|(link, number)| match link {
                    Link::Input => Some(&flat),
                    Link::Step(i) => results.get(*i),
                    Link::Number(_) => number.as_ref(),
                })
                .collect();
            let mut of = step.op.eval(&operands)?;
            results.push(of.pop().ok_or_else(|| refuse("has a step without a result"))?);
        }
        let last = results.pop().ok_or_else(|| refuse("has no steps"))?;
        Ok(vec![Tensor::new(x.shape().to_vec(), Data::F32(floats(&last)?.to_vec()))?])
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Chain(self))
    }
}
