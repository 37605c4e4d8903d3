//! Functions of the element-wise operators in the loop language.
//!
//! In: a function's name and attributes, its arguments as scalars. Out: one expression, with what it needs
//! before it. Law: only what the loop language has, so that evaluator, C and Rust give the same bits; within
//! some units in the last place of the function itself.

use super::elementwise::wrapped;
use crate::kernel::{Expr, KernelBuilder, Val, float, int, long};
use crate::ops::Map;
use crate::tensor::DType;

const HALF_PI: f32 = std::f32::consts::FRAC_PI_2;
const LN_2: f32 = std::f32::consts::LN_2;

/// The function of one element; `types` are those of the arguments.
pub(super) fn apply(k: &mut KernelBuilder, op: &Map, args: &[Expr], types: &[DType]) -> Expr {
    let elem = types[0];
    let x = args[0].clone();
    let many = |k: &mut KernelBuilder, f: &dyn Fn(&Val, &Expr) -> Expr| {
        args[1..].iter().fold(x.clone(), |value, next| {
            let value = k.let_("joined", value);
            f(&value, next)
        })
    };
    let pair =
        |f: &dyn Fn(Expr, Expr) -> Expr| f(ordered(args[0].clone(), elem), ordered(args[1].clone(), elem));
    match op.function {
        "Equal" => pair(&|a, b| a.equals(b)),
        "Less" => pair(&|a, b| a.lt(b)),
        "LessOrEqual" => pair(&|a, b| a.le(b)),
        "Greater" => pair(&|a, b| a.gt(b)),
        "GreaterOrEqual" => pair(&|a, b| a.ge(b)),
        "And" => x.and(args[1].clone()),
        "Or" => x.or(args[1].clone()),
        "Xor" => x ^ args[1].clone(),
        "Not" => x ^ int(1),
        "Where" => x.select(args[1].clone(), args[2].clone()),
        // The first of two, unless the second is beyond it; what is no number stays.
        "Max" | "Min" => many(k, &|a, b| {
            let (p, q) = (ordered(a.into(), elem), ordered(b.clone(), elem));
            let first = if op.function == "Max" { p.gt(q) } else { p.lt(q) };
            let first = if elem.is_float() { a.differs(a).or(first) } else { first };
            first.select(a, b)
        }),
        "Sum" => many(k, &|a, b| match elem.is_float() {
            true => Expr::from(a) + b,
            false => wrapped(a.i64() + b.i64(), elem),
        }),
        "Mean" => many(k, &|a, b| Expr::from(a) + b) / args.len() as f32,
        "Mod" if elem.is_float() => {
            let rest: Expr = remainder(k, &x, &args[1]);
            let rest: Expr = k.let_("remainder", rest).into();
            let other = rest.differs(0.0f32).and(rest.lt(0.0f32).differs(args[1].lt(0.0f32)));
            match op.int("fmod", 0) {
                0 => other.select(rest.clone() + args[1].clone(), rest),
                _ => rest,
            }
        }
        "Mod" => modulo(k, &x, &args[1], elem, op.int("fmod", 0) != 0),
        "Pow" => power(k, &x, &args[1], types),
        "PRelu" => x.lt(0.0f32).select(x.clone() * args[1].clone(), x),
        "BitwiseAnd" => x & args[1].clone(),
        "BitwiseOr" => x | args[1].clone(),
        "BitwiseXor" => x ^ args[1].clone(),
        "BitwiseNot" => wrapped(x.i64() ^ long(-1), elem),
        "BitShift" => shift(k, &x, &args[1], elem, op.word("direction") == "LEFT"),
        "Neg" if !elem.is_float() => wrapped(-x.i64(), elem),
        "Abs" if !elem.is_float() => match signed(elem) {
            true => wrapped(x.lt(zero(elem)).select(-x.i64(), x.i64()), elem),
            false => x,
        },
        "Sign" if !elem.is_float() => {
            let x = ordered(x, elem);
            let none = ordered(zero(elem), elem);
            wrapped((x.gt(&none) - x.lt(none)).i64(), elem)
        }
        _ => real(k, op, &x),
    }
}

fn signed(elem: DType) -> bool {
    !matches!(elem, DType::U8 | DType::U16 | DType::U32 | DType::U64)
}

fn zero(elem: DType) -> Expr {
    wrapped(long(0), elem)
}

/// Unsigned integers of 64 bits lie in signed ones: turned so that they compare as what they are.
fn ordered(x: Expr, elem: DType) -> Expr {
    if elem == DType::U64 { x ^ long(i64::MIN) } else { x }
}

/// `c0 + s * (c1 + s * (c2 + ...))`.
fn polynomial(s: &Expr, coefficients: &[f32]) -> Expr {
    let mut terms = coefficients.iter().rev();
    let last = float(terms.next().copied().unwrap_or(0.0));
    terms.fold(last, |sum, &c| s.clone() * sum + c)
}

/// Functions of one float.
fn real(k: &mut KernelBuilder, op: &Map, x: &Expr) -> Expr {
    let x = x.clone();
    let let_ = |k: &mut KernelBuilder, name: &str, value: Expr| -> Expr { k.let_(name, value).into() };
    let alpha = op.float("alpha", 1.0);
    match op.function {
        "Neg" => -x,
        "Abs" => x.abs(),
        "Sign" => x.gt(0.0f32).select(1.0f32, x.lt(0.0f32).select(-1.0f32, x)),
        "Ceil" => -(-x).floor(),
        "Floor" => x.floor(),
        "Round" => x.round(),
        "Reciprocal" => float(1.0) / x,
        "Exp" => x.exp(),
        "Log" => x.log(),
        "IsNaN" => x.differs(x.clone()),
        "IsInf" => {
            let (up, down) = (op.int("detect_positive", 1) != 0, op.int("detect_negative", 1) != 0);
            let at = |on: bool, end: f32| if on { x.equals(end) } else { int(0) };
            at(up, f32::INFINITY).or(at(down, f32::NEG_INFINITY))
        }
        "Erf" => erf(k, &x),
        "Gelu" if op.word("approximate") == "tanh" => {
            let inner = (x.clone() + x.clone() * x.clone() * x.clone() * 0.044_715f32) * 0.797_884_6f32;
            x * 0.5f32 * (inner.tanh() + 1.0f32)
        }
        "Gelu" => {
            let inner = let_(k, "inner", x.clone() * std::f32::consts::FRAC_1_SQRT_2);
            x * 0.5f32 * (erf(k, &inner) + 1.0f32)
        }
        "Swish" => x.clone() * (x * alpha).sigmoid(),
        "Softplus" => softplus(k, &x),
        "Softsign" => x.clone() / (x.abs() + 1.0f32),
        "Mish" => x.clone() * softplus(k, &x).tanh(),
        "Elu" => x.lt(0.0f32).select((x.exp() - 1.0f32) * alpha, x),
        "Celu" => x.lt(0.0f32).select(((x.clone() / alpha).exp() - 1.0f32) * alpha, x),
        "Selu" => {
            let (alpha, gamma) = (op.float("alpha", 1.673_263_2), op.float("gamma", 1.050_701));
            x.le(0.0f32).select((x.exp() - 1.0f32) * alpha, x) * gamma
        }
        "ThresholdedRelu" => x.gt(alpha).select(x, 0.0f32),
        "Shrink" => {
            let (bias, lambd) = (op.float("bias", 0.0), op.float("lambd", 0.5));
            let above = x.gt(lambd).select(x.clone() - bias, 0.0f32);
            x.lt(-lambd).select(x + bias, above)
        }
        "Sin" => trigonometric(k, &x, 0),
        "Cos" => trigonometric(k, &x, 1),
        "Tan" => {
            let sine = trigonometric(k, &x, 0);
            let sine = let_(k, "sine", sine);
            sine / trigonometric(k, &x, 1)
        }
        "Atan" => arctangent(k, &x),
        "Asin" => {
            let side = let_(k, "side", ((float(1.0) - x.clone()) * (x.clone() + 1.0f32)).sqrt());
            let slope = let_(k, "slope", x / side);
            arctangent(k, &slope)
        }
        "Acos" => {
            let slope = let_(k, "slope", ((float(1.0) - x.clone()) / (x + 1.0f32)).sqrt());
            arctangent(k, &slope) * 2.0f32
        }
        "Sinh" | "Cosh" => {
            // In two halves, so that nothing overflows before the result does.
            let half = let_(k, "half", (x.abs() * 0.5f32).exp());
            let large = half.clone() * (half.clone() * 0.5f32);
            let small = float(0.5) / half.clone() / half;
            if op.function == "Cosh" {
                return large + small;
            }
            let size = let_(k, "size", large - small);
            let square = let_(k, "square", x.clone() * x.clone());
            let near = x.clone()
                + x.clone()
                    * square.clone()
                    * polynomial(&square, &[0.166_666_67, 0.008_333_352, 1.983_581_3e-4, 2.818_523_9e-6]);
            x.abs().lt(1.0f32).select(near, x.lt(0.0f32).select(-size.clone(), size))
        }
        "Asinh" => {
            let far = let_(k, "far", x.abs());
            let square = let_(k, "square", x.clone() * x.clone());
            let huge = far
                .gt(1.0e9f32)
                .select(far.log() + LN_2, (far.clone() + (square.clone() + 1.0f32).sqrt()).log());
            let size = let_(k, "size", huge);
            let near = x.clone()
                + x.clone()
                    * square.clone()
                    * polynomial(
                        &square,
                        &[
                            -0.166_666_64,
                            0.074_998_69,
                            -0.044_610_456,
                            0.029_994_063,
                            -0.019_918_945,
                            0.009_092_028,
                        ],
                    );
            far.lt(0.5f32).select(near, x.lt(0.0f32).select(-size.clone(), size))
        }
        "Acosh" => {
            let above = let_(k, "above", x.clone() - 1.0f32);
            let root = (above.clone() * (above.clone() + 2.0f32)).sqrt();
            let near = log1p(k, &(above + root));
            let value = x.gt(1.0e9f32).select(x.log() + LN_2, near);
            x.lt(1.0f32).select(f32::NAN, value)
        }
        "Atanh" => {
            let far = let_(k, "far", x.abs());
            let size = log1p(k, &((far.clone() + far.clone()) / (float(1.0) - far))) * 0.5f32;
            let size = let_(k, "size", size);
            x.lt(0.0f32).select(-size.clone(), x.gt(0.0f32).select(size, x))
        }
        _ => float(f32::NAN),
    }
}

/// `log(1 + x)`, for `x >= 0`: what rounding takes from `1 + x` is given back in proportion.
fn log1p(k: &mut KernelBuilder, x: &Expr) -> Expr {
    let x: Expr = k.let_("small", x).into();
    let whole: Expr = k.let_("whole", x.clone() + 1.0f32).into();
    let kept = whole.clone() - 1.0f32;
    // An endless sum has an endless logarithm, and no proportion.
    let plain = whole.equals(1.0f32).or(x.gt(1.0e9f32));
    let exact = whole.log() * (x.clone() / plain.select(1.0f32, kept));
    whole.equals(1.0f32).select(x.clone(), x.gt(1.0e9f32).select(whole.log(), exact))
}

fn softplus(k: &mut KernelBuilder, x: &Expr) -> Expr {
    let tail = log1p(k, &(-x.abs()).exp());
    x.differs(x.clone()).select(x.clone(), x.max(0.0f32) + tail)
}

/// The error function: a polynomial near zero, else one minus the exponential of a polynomial.
fn erf(k: &mut KernelBuilder, x: &Expr) -> Expr {
    let far: Expr = k.let_("far", x.abs().min(4.0f32)).into();
    let square: Expr = k.let_("square", far.clone() * far.clone()).into();
    let near = x.clone()
        * polynomial(
            &square,
            &[
                std::f32::consts::FRAC_2_SQRT_PI,
                -0.376_125_48,
                0.112_824_26,
                -0.026_790_278,
                0.005_030_221,
                -6.192_022e-4,
            ],
        );
    let tail = polynomial(
        &far,
        &[
            1.303_967_1e-4,
            -1.129_271_9,
            -0.633_919_4,
            -0.107_524_52,
            0.024_508_69,
            -0.003_861_598,
            3.385_051_7e-4,
            -4.452_913e-6,
            -1.235_738_6e-6,
        ],
    );
    let size: Expr = k.let_("size", float(1.0) - tail.exp()).into();
    let outside = x.lt(0.0f32).select(-size.clone(), size);
    let value = far.lt(0.85f32).select(near, outside);
    x.differs(x.clone()).select(x.clone(), value)
}

/// Sine, or a quarter of a turn later cosine. The angle is reduced by a quarter in four parts; what is so
/// large that this leaves nothing of it has no value.
fn trigonometric(k: &mut KernelBuilder, x: &Expr, quarter: i32) -> Expr {
    const FAR: f32 = 100_000.0;
    let inside = x.abs().le(FAR);
    let angle: Expr = k.let_("angle", inside.select(x, 0.0f32)).into();
    let turns: Expr = k.let_("turns", (angle.clone() * std::f32::consts::FRAC_2_PI).round()).into();
    let mut rest = angle;
    for part in [1.570_312_5f32, 4.825_592e-4, 1.266_598_7e-6, 9.920_935e-10] {
        rest = rest - turns.clone() * part;
    }
    let rest: Expr = k.let_("rest", rest).into();
    let square: Expr = k.let_("square", rest.clone() * rest.clone()).into();
    let which: Expr = k.let_("which", (turns.i32() + quarter) & 3).into();
    let sine = rest.clone()
        + rest * square.clone() * polynomial(&square, &[-0.166_666_5, 0.008_331_963, -1.949_500_9e-4]);
    let cosine = polynomial(&square, &[1.0, -0.5, 0.041_666_61, -0.001_388_643_2, 2.436_395_9e-5]);
    let size: Expr = k.let_("size", (which.clone() & 1).select(cosine, sine)).into();
    let value = (which & 2).select(-size.clone(), size);
    inside.select(value, f32::NAN)
}

/// The angle of a slope: eighths of a turn away from a polynomial.
fn arctangent(k: &mut KernelBuilder, x: &Expr) -> Expr {
    let far: Expr = k.let_("far", x.abs()).into();
    let (steep, middle) = (far.gt(2.414_213_7f32), far.gt(0.414_213_57f32));
    let moved = steep.select(
        float(-1.0) / far.clone(),
        middle.select((far.clone() - 1.0f32) / (far.clone() + 1.0f32), far.clone()),
    );
    let moved: Expr = k.let_("moved", moved).into();
    let base = steep.select(HALF_PI, middle.select(HALF_PI * 0.5f32, 0.0f32));
    let square: Expr = k.let_("square", moved.clone() * moved.clone()).into();
    let bend = moved.clone()
        * square.clone()
        * polynomial(&square, &[-0.333_327_6, 0.199_730_8, -0.138_370_93, 0.079_372_38]);
    let angle: Expr = k.let_("angle", base + (moved + bend)).into();
    x.lt(0.0f32).select(-angle.clone(), angle)
}

/// The remainder of floats with the sign of the dividend, exact: the divisor is doubled as often as it fits,
/// and taken away on the way back.
fn remainder(k: &mut KernelBuilder, a: &Expr, b: &Expr) -> Expr {
    let by: Expr = k.let_("by", b.abs()).into();
    let rest = k.var("rest", a.abs());
    let scale = k.var("scale", &by);
    k.for_("up", 0, 277, |k, _| k.set(scale, scale.le(rest * 0.5f32).select(scale * 2.0f32, scale)));
    k.for_("down", 0, 278, |k, _| {
        k.set(rest, rest.ge(scale).select(rest - scale, rest));
        k.set(scale, scale.gt(&by).select(scale * 0.5f32, scale));
    });
    let sign = a.lt(0.0f32).select(-Expr::from(rest), rest);
    let finite = a.abs().lt(f32::INFINITY).and(by.gt(0.0f32));
    finite.select(by.equals(f32::INFINITY).select(a, sign), f32::NAN)
}

/// The remainder of integers: with the sign of the dividend as C has it, else of the divisor. By zero any
/// value may come out, but no trap.
fn modulo(k: &mut KernelBuilder, a: &Expr, b: &Expr, elem: DType, like_c: bool) -> Expr {
    let (a, b): (Expr, Expr) = (k.let_("a", a.i64()).into(), k.let_("b", b.i64()).into());
    if elem == DType::U64 {
        // Half of the dividend first: it is not negative.
        let most = long(1 << 62);
        let by: Expr = k.let_("by", b.max(long(1)).min(&most)).into();
        let half = (a.clone() >> 1) & long(i64::MAX);
        let rest: Expr = k.let_("rest", (half % by.clone()) * 2 + (a.clone() & long(1))).into();
        let small = rest % by;
        // A divisor of 2^62 and more goes into the dividend three times at most.
        let value = k.var("value", &a);
        let wide = b.lt(long(0)).or(b.gt(&most));
        k.if_(wide.clone(), |k| {
            k.for_("times", 0, 3, |k, _| {
                let fits = ordered(value.into(), elem).ge(ordered(b.clone(), elem));
                k.if_(fits, |k| k.set(value, value - b.clone()));
            });
        });
        return wide.select(value, small);
    }
    let by: Expr = k.let_("by", b.max(-b.clone()).max(long(1))).into();
    let rest: Expr = k.let_("rest", a % by).into();
    if like_c || !signed(elem) {
        return wrapped(rest, elem);
    }
    let other = rest.differs(long(0)).and(rest.lt(long(0)).differs(b.lt(long(0))));
    wrapped(other.select(rest.clone() + b, rest), elem)
}

/// A power. Small whole exponents of floats that are known are products.
fn power(k: &mut KernelBuilder, x: &Expr, y: &Expr, types: &[DType]) -> Expr {
    let (base, exponent) = (types[0], types[1]);
    if !base.is_float() && !exponent.is_float() {
        let (x, y): (Expr, Expr) = (k.let_("base", x.i64()).into(), k.let_("exponent", y.i64()).into());
        let value = k.var("value", long(1));
        // Beyond 63 only 0, 1 and -1 stay within 64 bits, and repeat.
        let times: Expr =
            k.let_("times", y.gt(long(63)).select(long(62) + (y.clone() & long(1)), y.clone())).into();
        k.for_("i", 0, 63, |k, i| {
            k.if_(i.i64().lt(times.clone()), |k| k.set(value, wrapped(value * x.clone(), base).i64()));
        });
        // One over a whole number is none, but of 1 and -1.
        let odd = y.clone() & long(1);
        let inverse =
            x.equals(long(1)).select(long(1), x.equals(long(-1)).select(long(1) - odd * 2, long(0)));
        return wrapped(y.lt(long(0)).select(inverse, value), base);
    }
    let known = if let Expr::Float(bits) = y { Some(bits.get()) } else { None };
    let x: Expr = k.let_("base", x.f32()).into();
    let square = x.clone() * x.clone();
    match known {
        Some(2.0) if base.is_float() => return square,
        Some(3.0) if base.is_float() => return square * x,
        Some(1.0) if base.is_float() => return x,
        Some(-1.0) if base.is_float() => return float(1.0) / x,
        Some(0.5) if base.is_float() => return x.sqrt(),
        Some(4.0) if base.is_float() => {
            let square: Expr = k.let_("square", square).into();
            return square.clone() * square;
        }
        _ => {}
    }
    let y: Expr = k.let_("exponent", y.f32()).into();
    let size: Expr = k.let_("size", (x.abs().log() * y.clone()).exp()).into();
    let half = y.clone() * 0.5f32;
    let odd = half.floor().differs(half);
    let negative = y.floor().differs(y.clone()).select(f32::NAN, odd.select(-size.clone(), size.clone()));
    let value = x.lt(0.0f32).select(negative, size);
    let one = y.equals(0.0f32).or(x.equals(1.0f32));
    let value = one.select(1.0f32, value);
    if base.is_float() {
        return value;
    }
    // As integers are cast: towards zero, within the type.
    wrapped(value.i64(), base)
}

/// A shift of bits; one by all of them or more leaves nothing, but the sign on its way to the right.
fn shift(k: &mut KernelBuilder, a: &Expr, n: &Expr, elem: DType, left: bool) -> Expr {
    let (a, n): (Expr, Expr) = (k.let_("bits", a.i64()).into(), k.let_("count", n.i64()).into());
    let width = 8 * elem.size() as i64;
    let all = n.lt(long(0)).or(n.ge(long(width)));
    let by: Expr = k.let_("by", n.clamp(long(0), long(width - 1)).i32()).into();
    if !left && signed(elem) {
        let by = all.select(63, by);
        return wrapped(a >> by, elem);
    }
    let moved = if left {
        // What leaves at the top is cut off before, and the topmost bit put back.
        let low = (a.clone() & (long(i64::MAX) >> by.clone())) << by.clone();
        let top = (a >> (int(63) - by)) & long(1);
        top.differs(long(0)).select(low.clone() | long(i64::MIN), low)
    } else {
        let half = (a.clone() >> 1) & long(i64::MAX);
        let less = by.max(1) - 1;
        by.equals(0).select(a, half >> less)
    };
    wrapped(all.select(long(0), moved), elem)
}
