//! Recurrent layers of floats.
//!
//! Law: each sum goes over inputs, then over the state, in rising order, from its biases on.

use super::super::{Cx, PORTABLE};
use super::{Composite, Steps, Walk, lengths, place, results};
use crate::error::Result;
use crate::kernel::{Buf, Expr, KernelBuilder, Val, float};
use crate::ops::Recurrent;
use crate::ops::recurrent::{Activation, BIAS, CELL, Cell, PEEPHOLES, Part, R, STATE, W, X};
use crate::tensor::DType;

impl Recurrent {
    /// The function of activation `index`, limits included.
    fn activated(&self, k: &mut KernelBuilder, index: usize, x: impl Into<Expr>) -> Expr {
        let x: Expr = x.into();
        let x = self.clip.map_or(x.clone(), |clip| x.clamp(-clip, clip));
        self.function(k, index, x)
    }
    fn function(&self, k: &mut KernelBuilder, index: usize, x: Expr) -> Expr {
        let Some(&activation) = self.activations.get(index) else { return x };
        let x = k.let_("pre", x);
        match activation {
            Activation::Relu => x.max(0.0f32),
            Activation::Tanh => x.tanh(),
            Activation::Sigmoid => x.sigmoid(),
            Activation::Softsign => x / (x.abs() + 1.0f32),
            Activation::Softplus => x.max(0.0f32) + ((-x.abs()).exp() + 1.0f32).log(),
            Activation::Affine(alpha, beta) => x * alpha + beta,
            Activation::LeakyRelu(alpha) => x.lt(0.0f32).select(x * alpha, x),
            Activation::ThresholdedRelu(alpha) => x.gt(alpha).select(x, 0.0f32),
            Activation::ScaledTanh(alpha, beta) => (x * beta).tanh() * alpha,
            Activation::HardSigmoid(alpha, beta) => (x * alpha + beta).clamp(0.0f32, 1.0f32),
            Activation::Elu(alpha) => x.lt(0.0f32).select((x.exp() - 1.0f32) * alpha, x),
        }
    }
}

/// Operands and places of the kernel.
struct Sums {
    x: (Buf, Vec<usize>),
    w: Buf,
    r: Buf,
    bias: Option<Buf>,
    width: usize,
    hidden: usize,
    rows: usize,
}

impl Sums {
    /// Adds what inputs give to a row, its bias included.
    fn inputs(&self, k: &mut KernelBuilder, row: Val, (step, n): (&Expr, &Expr)) -> Val {
        let sum = k.var("sum", self.bias.map_or(float(0.0), |b| b.at(row)));
        let (x, strides) = &self.x;
        let from = k.let_("from", step * strides[0] + n * strides[1]);
        k.for_("i", 0, self.width, |k, i| {
            k.add_to(sum, self.w.at(row * self.width + i) * x.at(from + i * strides[2]));
        });
        sum
    }
    /// Adds what a state gives to a row, its bias included.
    fn state(&self, k: &mut KernelBuilder, sum: Val, row: Val, state: Buf) {
        if let Some(bias) = self.bias {
            k.add_to(sum, bias.at(row + self.rows));
        }
        k.for_("j", 0, self.hidden, |k, j| {
            k.add_to(sum, self.r.at(row * self.hidden + j) * state.at(j));
        });
    }
}

/// A layer whose values are floats.
pub(super) fn select(cx: &mut Cx<'_>, op: &Recurrent) -> Result<()> {
    let (x, hidden) = (cx.input(X)?, op.hidden);
    let rows = op.cell.gates() * hidden;
    let name = match op.cell {
        Cell::Gru { .. } => "gru_f32",
        Cell::Lstm { .. } => "lstm_f32",
        Cell::Rnn => "rnn_f32",
    };
    let mut layer = Composite::new(name.to_string());
    let (w, r) = (cx.input(W)?, cx.input(R)?);
    let row_major = |v: &super::View| v.strides == crate::tensor::row_major_strides(&v.shape);
    if !row_major(&w) || !row_major(&r) {
        return Err(cx.unsupported("run-time weights must lie row-major"));
    }
    let sums = Sums {
        x: (layer.port("x", &x, super::Access::Read), x.strides.clone()),
        w: layer.port("w", &w, super::Access::Read),
        r: layer.port("r", &r, super::Access::Read),
        bias: layer.optional(cx, "bias", BIAS)?.map(|b| b.0),
        width: x.shape[2],
        hidden,
        rows,
    };
    let lengths = lengths(&mut layer, cx)?;
    let initial = layer.optional(cx, "initial_h", STATE)?;
    let initial_cell = layer.optional(cx, "initial_c", CELL)?;
    let peepholes = layer.optional(cx, "peepholes", PEEPHOLES)?.map(|p| p.0);
    let outputs = results(&mut layer, cx, op)?;
    let h = layer.place("h", DType::F32, hidden);
    let pre = layer.place("pre", DType::F32, rows);
    let gru = matches!(op.cell, Cell::Gru { .. });
    let c = matches!(op.cell, Cell::Lstm { .. }).then(|| layer.place("c", DType::F32, hidden));
    // What multiplies the reset gate, or is multiplied by it.
    let part = gru.then(|| layer.place("part", DType::F32, hidden));

    let steps = Steps::of(op, &x, lengths, x.shape[0]);
    let mut walk = Walk {
        open: &mut |k, n| {
            let start = |k: &mut KernelBuilder, to: Buf, from: &Option<(Buf, super::View)>| {
                k.for_("u", 0, hidden, |k, u| {
                    let value = match from {
                        Some((buffer, view)) => buffer.at(place(view, n, n, u)),
                        None => float(0.0),
                    };
                    k.store(to, u, value);
                });
            };
            start(k, h, &initial);
            if let Some(c) = c {
                start(k, c, &initial_cell);
            }
        },
        chunk: &mut |_, _, _| {},
        step: &mut |k, n, (t, _)| {
            let direct = if gru { 2 * hidden } else { rows };
            k.for_("row", 0, direct, |k, row| {
                let sum = sums.inputs(k, row, (t, n));
                sums.state(k, sum, row, h);
                k.store(pre, row, sum);
            });
            if let (Cell::Gru { reset_after }, Some(part)) = (op.cell, part) {
                if !reset_after {
                    k.for_("u", 0, hidden, |k, u| {
                        let reset = op.activated(k, 0, pre.at(u + hidden));
                        k.store(part, u, reset * h.at(u));
                    });
                }
                k.for_("row", direct, rows, |k, row| {
                    let sum = sums.inputs(k, row, (t, n));
                    if reset_after {
                        let of_state = k.var("of_state", float(0.0));
                        sums.state(k, of_state, row, h);
                        k.store(part, row - direct, of_state);
                    } else {
                        sums.state(k, sum, row, part);
                    }
                    k.store(pre, row, sum);
                });
            }
            k.for_("u", 0, hidden, |k, u| {
                let gate = |g: usize| pre.at(u + g * hidden);
                let next = match (op.cell, c, part) {
                    (Cell::Gru { reset_after }, _, Some(part)) => {
                        let z = op.activated(k, 0, gate(0));
                        let z = k.let_("z", z);
                        let new = if reset_after {
                            let reset = op.activated(k, 0, gate(1));
                            gate(2) + reset * part.at(u)
                        } else {
                            gate(2)
                        };
                        let new = op.activated(k, 1, new);
                        (float(1.0) - z) * new + z * h.at(u)
                    }
                    (Cell::Lstm { coupled }, Some(c), _) => {
                        let hole = |g: usize, sum: Expr, cell: Expr| match peepholes {
                            Some(p) => sum + p.at(u + g * hidden) * cell,
                            None => sum,
                        };
                        let before = k.let_("before", c.at(u));
                        let i = op.activated(k, 0, hole(0, gate(0), before.into()));
                        let i = k.let_("i", i);
                        let f = match coupled {
                            true => float(1.0) - i,
                            false => op.activated(k, 0, hole(2, gate(2), before.into())),
                        };
                        let f = k.let_("f", f);
                        let new = op.activated(k, 1, gate(3));
                        let cell = k.let_("cell", f * before + i * new);
                        k.store(c, u, cell);
                        let o = op.activated(k, 0, hole(1, gate(1), cell.into()));
                        let o = k.let_("o", o);
                        let leaves = op.function(k, 2, cell.into());
                        o * leaves
                    }
                    _ => op.activated(k, 0, gate(0)),
                };
                k.store(h, u, next);
            });
            written(k, &outputs, &[(Part::Sequence, h)], (t, n), hidden);
        },
        pad: &mut |k, n, t| {
            for (_, buffer, view) in outputs.iter().filter(|o| o.0 == Part::Sequence) {
                k.for_("u", 0, hidden, |k, u| k.store(*buffer, place(view, t, n, u), float(0.0)));
            }
        },
        close: &mut |k, n| {
            written(k, &outputs, &[(Part::State, h), (Part::Cell, c.unwrap_or(h))], (n, n), hidden);
        },
    };
    steps.walk(&mut layer.k, &mut walk);
    cx.offers.push(layer.offer(PORTABLE)?);
    Ok(())
}

/// Copies states to the results that hold them.
fn written(
    k: &mut KernelBuilder,
    outputs: &[(Part, Buf, super::View)],
    from: &[(Part, Buf)],
    (step, n): (&Expr, &Expr),
    hidden: usize,
) {
    for (part, buffer, view) in outputs {
        if let Some((_, state)) = from.iter().find(|f| f.0 == *part) {
            k.for_("u", 0, hidden, |k, u| k.store(*buffer, place(view, step, n, u), state.at(u)));
        }
    }
}
