//! What becomes of scores: a function over all of them, or a second one beside a single one.

use super::super::build::{Builder, int};
use crate::error::Result;
use crate::ops::check::refuse;
use std::f32::consts::SQRT_2;

/// What scores become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transform {
    None,
    Softmax,
    Logistic,
    /// A softmax that leaves zeros where they are.
    SoftmaxZero,
    Probit,
}

impl Transform {
    /// By the attribute `post_transform`.
    pub(super) fn named(b: &Builder<'_>) -> Result<Transform> {
        Ok(match b.cx.str_or("post_transform", "NONE")? {
            "NONE" => Transform::None,
            "SOFTMAX" => Transform::Softmax,
            "LOGISTIC" => Transform::Logistic,
            "SOFTMAX_ZERO" => Transform::SoftmaxZero,
            "PROBIT" => Transform::Probit,
            other => return Err(refuse(format!("has the post_transform `{other}`"))),
        })
    }

    /// By the number that later versions write.
    pub(super) fn numbered(number: i64) -> Result<Transform> {
        Ok(match number {
            0 => Transform::None,
            3 => Transform::SoftmaxZero,
            4 => Transform::Probit,
            1 | 2 => {
                let why =
                    "SOFTMAX is 1 and LOGISTIC 2 in the standard, and the other way round in onnxruntime";
                return Err(refuse(format!("has the post_transform {number}: {why}"))
                    .help("write the function as a node of its own behind this one"));
            }
            other => return Err(refuse(format!("has the post_transform {other}"))),
        })
    }

    fn word(self) -> &'static str {
        match self {
            Transform::None => "NONE",
            Transform::Softmax => "SOFTMAX",
            Transform::Logistic => "LOGISTIC",
            Transform::SoftmaxZero => "SOFTMAX_ZERO",
            Transform::Probit => "PROBIT",
        }
    }

    /// Scores `[rows, n]`, n at least 2.
    pub(super) fn of_many(self, b: &mut Builder<'_>, x: &str) -> String {
        match self {
            Transform::None => x.to_string(),
            Transform::Softmax => b.with("Softmax", &[x], vec![int("axis", 1)]),
            Transform::Logistic => b.op("Sigmoid", &[x]),
            Transform::SoftmaxZero => softmax_zero(b, x),
            Transform::Probit => probit(b, x),
        }
    }

    /// One score a row, `[rows, 1]`, of a regression: only PROBIT changes it in onnxruntime.
    pub(super) fn of_one(self, b: &mut Builder<'_>, x: &str) -> String {
        match self {
            Transform::None => x.to_string(),
            Transform::Probit => probit(b, x),
            other => {
                b.ignored(other);
                x.to_string()
            }
        }
    }

    /// One score a row, `[rows, 1]`, as two: that of the other class, and it. `shares`: it is a share of one.
    pub(super) fn of_pair(self, b: &mut Builder<'_>, x: &str, shares: bool) -> Result<String> {
        let (x, other) = match self {
            Transform::Probit => {
                let why = "has one score for two classes and the post_transform PROBIT, which defines no second one";
                return Err(refuse(why));
            }
            Transform::Logistic => {
                let turned = b.op("Neg", &[x]);
                (b.op("Sigmoid", &[x]), b.op("Sigmoid", &[&turned]))
            }
            _ if shares => {
                let one = b.float(1.0);
                (x.to_string(), b.op("Sub", &[&one, x]))
            }
            _ => (x.to_string(), b.op("Neg", &[x])),
        };
        Ok(b.concat(&[&other, &x], 1))
    }
}

impl Builder<'_> {
    /// Says that a transform is not applied.
    pub(super) fn ignored(&mut self, transform: Transform) {
        let message = format!(
            "the post_transform {} is not applied, as onnxruntime applies none here",
            transform.word()
        );
        self.warn(message, "write the function as a node of its own behind this one");
    }
}

/// `exp(x - max) / sum`, in which zeros do not count and stay zeros.
fn softmax_zero(b: &mut Builder<'_>, x: &str) -> String {
    let most = b.reduce("ReduceMax", x, &[1]);
    let distance = b.op("Sub", &[x, &most]);
    let term = b.op("Exp", &[&distance]);
    let (size, least) = (b.op("Abs", &[x]), b.float(1e-7));
    let counts = b.op("Greater", &[&size, &least]);
    let none = b.float(0.0);
    let counted = b.op("Where", &[&counts, &term, &none]);
    let sum = b.reduce("ReduceSum", &counted, &[1]);
    let turned = b.op("Neg", &[&most]);
    let scale = b.op("Exp", &[&turned]);
    let small = b.op("Mul", &[x, &scale]);
    let value = b.op("Where", &[&counts, &term, &small]);
    b.op("Div", &[&value, &sum])
}

/// The inverse of the normal distribution, by the approximation that onnxruntime has (Winitzki).
fn probit(b: &mut Builder<'_>, x: &str) -> String {
    /// 2 / (3.14159 * 0.147) and 1 / 0.147.
    const OFFSET: f32 = 4.330_750_5;
    const FACTOR: f32 = 6.802_721;
    let [one, two, none] = [1.0, 2.0, 0.0].map(|v| b.float(v));
    let doubled = b.op("Mul", &[x, &two]);
    let y = b.op("Sub", &[&doubled, &one]);
    let (less, more) = (b.op("Sub", &[&one, &y]), b.op("Add", &[&one, &y]));
    let product = b.op("Mul", &[&less, &more]);
    let log = b.op("Log", &[&product]);
    let (half, offset, factor) = (b.float(0.5), b.float(OFFSET), b.float(FACTOR));
    let part = b.op("Mul", &[&log, &half]);
    let v = b.op("Add", &[&part, &offset]);
    let w = b.op("Mul", &[&log, &factor]);
    let square = b.op("Mul", &[&v, &v]);
    let inner = b.op("Sub", &[&square, &w]);
    let root = b.op("Sqrt", &[&inner]);
    // `root - v` without losing the digits that both share.
    let (turned, both) = (b.op("Neg", &[&w]), b.op("Add", &[&root, &v]));
    let (near, far) = (b.op("Div", &[&turned, &both]), b.op("Sub", &[&root, &v]));
    let shared = b.op("Greater", &[&v, &none]);
    let rest = b.op("Where", &[&shared, &near, &far]);
    let size = b.op("Sqrt", &[&rest]);
    let negative = b.op("Less", &[&y, &none]);
    let (minus, plus) = (b.float(-SQRT_2), b.float(SQRT_2));
    let sign = b.op("Where", &[&negative, &minus, &plus]);
    b.op("Mul", &[&sign, &size])
}
