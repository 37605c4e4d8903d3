//! Recurrent: one direction of a GRU, an LSTM or a plain recurrent network.
//!
//! ONNX's GRU, LSTM and RNN become one of these for each direction (`onnx/expand/recurrent.rs`). Operands: the
//! sequence `[steps, batch, inputs]`, weights of inputs `[gates * hidden, inputs]` and of the state
//! `[gates * hidden, hidden]`, both biases one behind the other `[2 * gates * hidden]`, steps of each sequence
//! `[batch]` (i32), initial state and initial cell `[batch, hidden]`, peepholes `[3 * hidden]`; all but the first
//! three may be left out. Gates stand in ONNX's order: z r h, i o f c, i.

use super::check::{at_most, float, floats, operand, optional, refuse, size, tensor, value_type};
use super::product::{product, transpose};
use super::{Lowering, Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::arith::quant::Quant;
use crate::tensor::{DType, Data, Tensor};

/// What is computed at each step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// With `reset_after`, the reset gate multiplies the product with the state, else the state itself
    /// (ONNX: `linear_before_reset`).
    Gru { reset_after: bool },
    /// With `coupled`, the forget gate is one minus the input gate (ONNX: `input_forget`).
    Lstm { coupled: bool },
    Rnn,
}

impl Cell {
    /// Rows of weights for each unit of the state.
    pub fn gates(self) -> usize {
        match self {
            Cell::Gru { .. } => 3,
            Cell::Lstm { .. } => 4,
            Cell::Rnn => 1,
        }
    }
    /// How many activations it names.
    pub fn functions(self) -> usize {
        match self {
            Cell::Gru { .. } => 2,
            Cell::Lstm { .. } => 3,
            Cell::Rnn => 1,
        }
    }
    fn parse(cx: &ParseCx<'_>) -> Result<Cell> {
        Ok(match cx.str_or("cell", "")? {
            "GRU" => Cell::Gru { reset_after: cx.int_or("linear_before_reset", 0)? != 0 },
            "LSTM" => Cell::Lstm { coupled: cx.int_or("input_forget", 0)? != 0 },
            "RNN" => Cell::Rnn,
            _ => return Err(refuse("is not an operator of ONNX")),
        })
    }
}

/// A function of a gate or a state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    Relu,
    Tanh,
    Sigmoid,
    Softsign,
    Softplus,
    /// `alpha * x + beta`.
    Affine(f32, f32),
    LeakyRelu(f32),
    ThresholdedRelu(f32),
    /// `alpha * tanh(beta * x)`.
    ScaledTanh(f32, f32),
    /// `alpha * x + beta` within 0 and 1.
    HardSigmoid(f32, f32),
    Elu(f32),
}

impl Activation {
    /// The function of a name, in any case of letters, with the numbers that it takes from the front of two
    /// lists, or ONNX's defaults.
    pub fn named(
        name: &str,
        alphas: &mut impl Iterator<Item = f32>,
        betas: &mut impl Iterator<Item = f32>,
    ) -> Result<Activation> {
        let mut alpha = |default| alphas.next().unwrap_or(default);
        let mut beta = |default| betas.next().unwrap_or(default);
        Ok(match name.to_ascii_lowercase().as_str() {
            "relu" => Activation::Relu,
            "tanh" => Activation::Tanh,
            "sigmoid" => Activation::Sigmoid,
            "softsign" => Activation::Softsign,
            "softplus" => Activation::Softplus,
            "affine" => Activation::Affine(alpha(1.0), beta(0.0)),
            "leakyrelu" => Activation::LeakyRelu(alpha(0.01)),
            "thresholdedrelu" => Activation::ThresholdedRelu(alpha(1.0)),
            "scaledtanh" => Activation::ScaledTanh(alpha(1.0), beta(1.0)),
            "hardsigmoid" => Activation::HardSigmoid(alpha(0.2), beta(0.5)),
            "elu" => Activation::Elu(alpha(1.0)),
            _ => return Err(refuse(format!("`{name}` is no activation of recurrent layers"))),
        })
    }
    /// The function of `x`.
    pub fn of(self, x: f32) -> f32 {
        match self {
            Activation::Relu => x.max(0.0),
            Activation::Tanh => libm::tanhf(x),
            Activation::Sigmoid => 1.0 / (1.0 + libm::expf(-x)),
            Activation::Softsign => x / (1.0 + x.abs()),
            Activation::Softplus => x.max(0.0) + libm::log1pf(libm::expf(-x.abs())),
            Activation::Affine(alpha, beta) => alpha * x + beta,
            Activation::LeakyRelu(alpha) => if x < 0.0 { alpha * x } else { x },
            Activation::ThresholdedRelu(alpha) => if x > alpha { x } else { 0.0 },
            Activation::ScaledTanh(alpha, beta) => alpha * libm::tanhf(beta * x),
            Activation::HardSigmoid(alpha, beta) => (alpha * x + beta).clamp(0.0, 1.0),
            Activation::Elu(alpha) => if x < 0.0 { alpha * (libm::expf(x) - 1.0) } else { x },
        }
    }
}

/// What a result holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The state after each step, `[steps, batch, hidden]`; zeros behind the end of a sequence.
    Sequence,
    /// The state after the last step, `[batch, hidden]`.
    State,
    /// An LSTM's cell after the last step, `[batch, hidden]`.
    Cell,
}

/// The greatest values that were seen inside of a layer, from which its integers take their scales.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spans {
    /// Of products with inputs or state, bias included.
    pub sums: f32,
    /// Of an LSTM's cell.
    pub cell: f32,
    /// Of the state at the beginning.
    pub start: f32,
    /// Of the state after each step.
    pub state: f32,
}

/// What the products of one step of a sequence read, and the sums that they give, their biases included.
#[derive(Debug)]
pub struct Step<'a> {
    pub x: &'a [f32],
    pub from_inputs: &'a [f32],
    /// The state before the step.
    pub h: &'a [f32],
    /// The same times the reset gate, where the product of the last gate reads that.
    pub reset: Option<&'a [f32]>,
    pub from_state: &'a [f32],
}

/// The most bits behind the point with which `most` fits sixteen bits.
pub(crate) fn fraction(most: f64) -> i32 {
    let (_, exponent) = libm::frexp(most.max(1e-6) / 32767.0 * 32768.0);
    15 - exponent
}

/// The most of [`Recurrent::headroom`].
const MOST_HEADROOM: u32 = 6;

/// The greatest initial state that counts as within -1..=1.
pub(crate) const MOST_STATE: f32 = 1.0 + 1.0 / 128.0;

impl Spans {
    pub fn join(self, other: Spans) -> Spans {
        Spans {
            sums: self.sums.max(other.sums),
            cell: self.cell.max(other.cell),
            start: self.start.max(other.start),
            state: self.state.max(other.state),
        }
    }
}

/// One direction of a recurrent layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Recurrent {
    pub cell: Cell,
    /// Units of the state.
    pub hidden: usize,
    /// From the last step to the first.
    pub reverse: bool,
    /// The greatest absolute value that an activation is given.
    pub clip: Option<f32>,
    /// As many as the cell takes.
    pub activations: Vec<Activation>,
    /// The results that there are, in this order.
    pub parts: Vec<Part>,
    /// What integers have to hold; none until samples told, and in layers that only floats compute.
    pub spans: Option<Spans>,
}

/// Positions of operands.
pub(crate) const X: usize = 0;
pub(crate) const W: usize = 1;
pub(crate) const R: usize = 2;
pub(crate) const BIAS: usize = 3;
pub(crate) const LENGTHS: usize = 4;
pub(crate) const STATE: usize = 5;
pub(crate) const CELL: usize = 6;
pub(crate) const PEEPHOLES: usize = 7;

impl Recurrent {
    /// Bits by which the state stays below one: what products read of it is scaled up by so many.
    pub fn headroom(&self) -> u32 {
        let most = self.spans.map_or(1.0, |s| 1.05 * s.state.max(s.start));
        (0..MOST_HEADROOM).take_while(|&bits| most <= libm::ldexpf(0.5, -(bits as i32))).count() as u32
    }
    /// The state as products read it: eight bits, symmetric.
    pub fn state_quant(&self) -> Quant {
        Quant::per_tensor(DType::I8, libm::ldexpf(1.0, -7 - self.headroom() as i32), 0)
    }
    /// Bits behind the point of an LSTM's cell of sixteen bits; those of the state are 15.
    pub fn cell_bits(&self) -> u32 {
        fraction(1.05 * f64::from(self.spans.map_or(0.0, |s| s.cell))).clamp(7, 15) as u32
    }
    /// Whether integers can compute it: the activations are those that bound the state to -1..=1.
    pub fn bounded(&self) -> bool {
        use Activation::{Sigmoid, Tanh};
        match self.cell {
            Cell::Gru { .. } => self.activations == [Sigmoid, Tanh],
            Cell::Lstm { .. } => self.activations == [Sigmoid, Tanh, Tanh],
            Cell::Rnn => self.activations == [Tanh],
        }
    }
    /// What integers need to know of this layer, from what samples saw; none where floats compute it: where a
    /// state may leave -1..=1, or a weight is known only when it runs (`constant`, by position).
    pub fn integers(&self, seen: Spans, constant: &dyn Fn(usize) -> Option<bool>) -> Option<Spans> {
        let known = |i: usize| constant(i).unwrap_or(true);
        let weights = [W, R, BIAS, PEEPHOLES].into_iter().all(known);
        (self.bounded() && weights && seen.start <= MOST_STATE).then_some(seen)
    }
    fn activation(&self, index: usize, x: f32) -> f32 {
        let x = self.clip.map_or(x, |clip| x.clamp(-clip, clip));
        self.activations.get(index).map_or(x, |a| a.of(x))
    }

    /// Whether the reset gate multiplies the state before its last product.
    pub fn reset_first(&self) -> bool {
        self.cell == Cell::Gru { reset_after: false }
    }

    /// The results, and the greatest values inside.
    pub fn trace(&self, inputs: &[Option<&Tensor>]) -> Result<(Vec<Tensor>, Spans)> {
        self.trace_steps(inputs, &mut |_| {})
    }

    /// The same, and `seen` is told each step of each sequence of the batch as it is computed.
    pub fn trace_steps(
        &self,
        inputs: &[Option<&Tensor>],
        seen: &mut dyn FnMut(&Step<'_>),
    ) -> Result<(Vec<Tensor>, Spans)> {
        let types = super::check::infer_tensors(self, inputs)?;
        let x = tensor(inputs, X)?;
        let (x_values, w, r) = (floats(x)?, floats(tensor(inputs, W)?)?, floats(tensor(inputs, R)?)?);
        let given = |i: usize| inputs.get(i).copied().flatten();
        let (steps, batch, width) = (x.shape()[0], x.shape()[1], x.shape()[2]);
        let (hidden, rows) = (self.hidden, self.cell.gates() * self.hidden);
        let bias = given(BIAS).map(floats).transpose()?;
        let peepholes = given(PEEPHOLES).map(floats).transpose()?;
        let lengths = given(LENGTHS).map(Tensor::to_i64_vec);
        let mut state = given(STATE).map_or(Ok(vec![0.0; batch * hidden]), |t| floats(t).map(<[f32]>::to_vec))?;
        let mut cell = given(CELL).map_or(Ok(vec![0.0; batch * hidden]), |t| floats(t).map(<[f32]>::to_vec))?;
        let mut sequence = vec![0.0f32; steps * batch * hidden];
        let most = |values: &[f32]| values.iter().fold(0f32, |most, v| most.max(v.abs()));
        let mut spans = Spans { sums: 0.0, cell: most(&cell), start: most(&state), state: most(&state) };

        let mut from_inputs = vec![0.0f32; steps * batch * rows];
        if width > 0 {
            product((steps * batch, width, rows), x_values, transpose(w, width), &mut from_inputs);
        }
        let of_inputs = |row: usize| bias.map_or(0.0, |b| b[row]);
        let of_state = |row: usize| bias.map_or(0.0, |b| b[rows + row]);
        let dot = |row: usize, state: &[f32]| -> f32 {
            r[row * hidden..(row + 1) * hidden].iter().zip(state).map(|(a, b)| a * b).sum()
        };
        for n in 0..batch {
            let length = lengths.as_ref().map_or(steps, |l| l[n].clamp(0, steps as i64) as usize);
            let own = n * hidden..(n + 1) * hidden;
            for step in 0..length {
                let at = if self.reverse { length - 1 - step } else { step };
                let gx = &from_inputs[(at * batch + n) * rows..][..rows];
                let h = state[own.clone()].to_vec();
                let c = cell[own.clone()].to_vec();
                let gx: Vec<f32> = gx.iter().enumerate().map(|(j, v)| v + of_inputs(j)).collect();
                let direct = if self.reset_first() { 2 * hidden } else { rows };
                let mut gh: Vec<f32> = (0..direct).map(|j| dot(j, &h) + of_state(j)).collect();
                let reset = self.reset_first().then(|| -> Vec<f32> {
                    (0..hidden).map(|u| self.activation(0, gx[hidden + u] + gh[hidden + u]) * h[u]).collect()
                });
                if let Some(reset) = &reset {
                    gh.extend((direct..rows).map(|j| dot(j, reset) + of_state(j)));
                }
                let read = &x_values[(at * batch + n) * width..][..width];
                seen(&Step { x: read, from_inputs: &gx, h: &h, reset: reset.as_deref(), from_state: &gh });
                spans.sums = gx.iter().chain(&gh).fold(spans.sums, |most, v| most.max(v.abs()));
                for u in 0..hidden {
                    let sum = |gate: usize| gx[gate * hidden + u] + gh[gate * hidden + u];
                    let hole = |gate: usize, c: f32| peepholes.map_or(0.0, |p| p[gate * hidden + u] * c);
                    let next = match self.cell {
                        Cell::Gru { reset_after } => {
                            let z = self.activation(0, sum(0));
                            let new = if reset_after {
                                gx[2 * hidden + u] + self.activation(0, sum(1)) * gh[2 * hidden + u]
                            } else {
                                sum(2)
                            };
                            let new = self.activation(1, new);
                            (1.0 - z) * new + z * h[u]
                        }
                        Cell::Lstm { coupled } => {
                            let i = self.activation(0, sum(0) + hole(0, c[u]));
                            let f = if coupled { 1.0 - i } else { self.activation(0, sum(2) + hole(2, c[u])) };
                            let c = f * c[u] + i * self.activation(1, sum(3));
                            cell[n * hidden + u] = c;
                            spans.cell = spans.cell.max(c.abs());
                            let o = self.activation(0, sum(1) + hole(1, c));
                            // What leaves the cell is no sum, and is not clipped.
                            o * self.activations.get(2).map_or(c, |a| a.of(c))
                        }
                        Cell::Rnn => self.activation(0, sum(0)),
                    };
                    state[n * hidden + u] = next;
                    spans.state = spans.state.max(next.abs());
                    sequence[(at * batch + n) * hidden + u] = next;
                }
            }
        }
        let parts = self.parts.iter().zip(&types);
        let results = parts.map(|(part, ty)| {
            let values = match part {
                Part::Sequence => sequence.clone(),
                Part::State => state.clone(),
                Part::Cell => cell.clone(),
            };
            Tensor::new(ty.shape.clone(), Data::F32(values))
        });
        Ok((results.collect::<Result<_>>()?, spans))
    }
}

impl Operator for Recurrent {
    const NAME: &'static str = "Recurrent";
    const OURS: bool = true;
    const OPERANDS: usize = 8;

    fn name(&self) -> &'static str {
        match self.cell {
            Cell::Gru { .. } => "GRU",
            Cell::Lstm { .. } => "LSTM",
            Cell::Rnn => "RNN",
        }
    }

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let cell = Cell::parse(cx)?;
        let names: Vec<String> = match cx.attrs.get("activations") {
            Some(super::Attr::Strs(names)) => names.clone(),
            _ => return Err(refuse("has no activations")),
        };
        let list = |name: &str| match cx.attrs.get(name) {
            Some(super::Attr::Floats(v)) => v.clone(),
            _ => Vec::new(),
        };
        let (mut alphas, mut betas) =
            (list("activation_alpha").into_iter(), list("activation_beta").into_iter());
        let activations: Vec<Activation> = names
            .iter()
            .map(|name| Activation::named(name, &mut alphas, &mut betas))
            .collect::<Result<_>>()?;
        if activations.len() != cell.functions() {
            return Err(refuse(format!("has {} activations, and takes {}", names.len(), cell.functions())));
        }
        let clip = cx.float_or("clip", 0.0)?;
        if clip.is_nan() || clip < 0.0 {
            return Err(refuse(format!("`clip` is {clip}")));
        }
        let all = [Part::Sequence, Part::State, Part::Cell];
        let results = if matches!(cell, Cell::Lstm { .. }) { 3 } else { 2 };
        Ok(Recurrent {
            cell,
            hidden: size(cx.int_or("hidden_size", 0)?, "hidden_size")?,
            reverse: cx.int_or("reverse", 0)? != 0,
            clip: (clip > 0.0).then_some(clip),
            activations,
            parts: all[..results].to_vec(),
            spans: None,
        })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, Self::OPERANDS)?;
        let x = operand(inputs, X)?;
        float(x, "the input")?;
        let &[steps, batch, width] = x.shape else {
            return Err(refuse(format!("an input of shape {:?} is no sequence", x.shape)));
        };
        let (hidden, rows) = (self.hidden, self.cell.gates() * self.hidden);
        let wanted: [(usize, &str, Vec<usize>); 7] = [
            (W, "weights of inputs", vec![rows, width]),
            (R, "weights of the state", vec![rows, hidden]),
            (BIAS, "the bias", vec![2 * rows]),
            (LENGTHS, "lengths of sequences", vec![batch]),
            (STATE, "the initial state", vec![batch, hidden]),
            (CELL, "the initial cell", vec![batch, hidden]),
            (PEEPHOLES, "peepholes", vec![3 * hidden]),
        ];
        for (at, what, shape) in wanted {
            let Some(given) = optional(inputs, at) else {
                if at <= R {
                    return Err(refuse(format!("{what} are missing")));
                }
                continue;
            };
            if at == LENGTHS {
                if given.dtype != DType::I32 {
                    return Err(refuse(format!("{what} have type {} instead of int32", given.dtype)));
                }
            } else {
                float(given, what)?;
            }
            if given.shape != shape {
                return Err(refuse(format!("{what} have shape {:?} instead of {shape:?}", given.shape)));
            }
            if at >= CELL && !matches!(self.cell, Cell::Lstm { .. }) {
                return Err(refuse(format!("has no use for {what}")));
            }
        }
        self.parts
            .iter()
            .map(|part| {
                let shape = match part {
                    Part::Sequence => vec![steps, batch, hidden],
                    Part::State | Part::Cell => vec![batch, hidden],
                };
                value_type(x.dtype, shape)
            })
            .collect()
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Ok(self.trace(inputs)?.0)
    }

    fn macs(&self, inputs: &[Option<Operand<'_>>], _outputs: &[ValueType]) -> u64 {
        let Some(Some(x)) = inputs.first() else { return 0 };
        let &[steps, batch, width] = x.shape else { return 0 };
        let rows = self.cell.gates() * self.hidden;
        super::check::product([steps, batch, rows, width + self.hidden].iter())
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Recurrent(self))
    }
}
