//! From the counts of a sensor to the stored integers of an input, by integers alone.
//!
//! In: what a count is worth ([`Sensor`]) and the input's code. Out: a line in fixed point for each channel, or the counts
//! at which the code steps. Law: for an input of eight bits, the code of each of the 65,536 counts is the one that
//! `quantize` gives for `scale * count + offset` in floats, tried on all of them; for one of sixteen, which floats do not
//! resolve, the one of the real number.

use crate::error::{Error, Result};
use crate::options::Sensor;
use crate::program::{Port, Program};
use std::collections::BTreeMap;

/// How the counts of a sensor become an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Index of the input.
    pub port: usize,
    pub signed: bool,
    /// Axes of the input before the channels', the channels, and axes behind them: the count of channel `c` stands
    /// at `(o * inner + i) * channels + c`, its code at `(o * channels + c) * inner + i`.
    pub outer: usize,
    pub channels: usize,
    pub inner: usize,
    /// Least and greatest code.
    pub limits: (i32, i32),
    pub form: Form,
}

/// How a code is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// `add + round((count * m + b) / 2^shift)`, half to even; or rounded down where `even` is not set.
    Line { lines: Vec<(i32, i64)>, shift: u32, even: bool, add: i32 },
    /// `base`, and one for each of `steps` that the count has reached. Where `turned`, counts run down.
    Steps { channels: Vec<Steps> },
}

/// The steps of a channel, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steps {
    pub base: i32,
    pub turned: bool,
    pub steps: Vec<i32>,
}

/// The most bits of a fraction: products of 31 bits and 16, and what is added, stay within 63.
const MOST_SHIFT: u32 = 44;
/// What counts may reach, in steps of the input: a scale that leads beyond it is a mistake.
const MOST_STEPS: f64 = (1u64 << 30) as f64;

impl Counts {
    /// The code of a count of channel `c`.
    pub fn apply(&self, c: usize, count: i32) -> i32 {
        match &self.form {
            Form::Line { lines, shift, even, add } => {
                let (m, b) = lines[c];
                let v = i64::from(count) * i64::from(m) + b;
                let round = if *even { (1i64 << (shift - 1)) - 1 + ((v >> shift) & 1) } else { 0 };
                (((v + round) >> shift) as i32 + add).clamp(self.limits.0, self.limits.1)
            }
            Form::Steps { channels } => {
                let Steps { base, turned, steps } = &channels[c];
                let count = if *turned { turn(count, self.signed) } else { count };
                base + steps.partition_point(|&step| step <= count) as i32
            }
        }
    }
}

/// Counts in the other order.
fn turn(count: i32, signed: bool) -> i32 {
    if signed { -1 - count } else { 65535 - count }
}

/// All counts of a sensor.
fn all(signed: bool) -> std::ops::RangeInclusive<i32> {
    if signed { -32768..=32767 } else { 0..=65535 }
}

/// What is emitted for each input that a sensor was named for, in the order of the inputs.
///
/// Errors: no input has the name, it does not store integers with a scale, or has no such axis; counts reach far
/// beyond what the input can store, or are all one code.
pub fn of(program: &Program, sensors: &BTreeMap<String, Sensor>) -> Result<Vec<Counts>> {
    let port = |name: &String| program.inputs.iter().position(|port| port.name == *name);
    if let Some(stray) = sensors.keys().find(|name| port(name).is_none()) {
        let names: Vec<String> = program.inputs.iter().map(|port| format!("`{}`", port.name)).collect();
        let help = format!("inputs: {}", names.join(", "));
        return Err(Error::entry("sensor", stray, format!("the model has no input `{stray}`")).help(help));
    }
    let inputs = program.inputs.iter().enumerate();
    let asked = inputs.filter_map(|(i, port)| Some((i, port, sensors.get(&port.name)?)));
    asked.map(|(i, port, sensor)| Counts::new(i, port, sensor)).collect()
}

impl Counts {
    fn new(index: usize, port: &Port, sensor: &Sensor) -> Result<Counts> {
        let wrong = |why: String| Error::entry("sensor", &port.name, why);
        let (Some((scale, zero_point)), Some(limits)) = (port.affine, port.elem.range()) else {
            let why = format!("input `{}` holds {} without a scale", port.name, port.elem.name());
            return Err(wrong(why).help("only integers of a quantized model are made of counts"));
        };
        let (outer, channels, inner) = place(port, sensor).map_err(wrong)?;
        let limits = (limits.0 as i32, limits.1 as i32);
        let code = Code { scale, zero_point, limits, fine: limits.1 - limits.0 > 255 };
        let each: Vec<Channel> = (0..sensor.channels())
            .map(|c| {
                let channel = Channel::new(sensor, c, &code);
                let reach = channel.reach();
                let codes = &channel.codes;
                if reach.is_nan() || reach > MOST_STEPS {
                    return Err(wrong(format!("counts of channel {c} reach {reach:e} steps of the input"))
                        .help("`scale` is what one count is worth in the unit of the model's input"));
                }
                if codes.iter().all(|code| *code == codes[0]) {
                    let why = format!("all counts of channel {c} become the one integer {}", codes[0]);
                    return Err(wrong(why)
                        .help("`scale` and `offset` are in the unit of the model's input: real = scale * count + offset"));
                }
                Ok(channel)
            })
            .collect::<Result<_>>()?;
        let form = lines(&each, &code, true)
            .or_else(|| lines(&each, &code, false))
            .unwrap_or_else(|| Form::Steps { channels: each.iter().map(Channel::steps).collect() });
        Ok(Counts { port: index, signed: sensor.signed, outer, channels, inner, limits, form }.spread())
    }

    /// The same with numbers for each channel, where one serves all.
    fn spread(mut self) -> Counts {
        fn all<T: Clone>(each: &mut Vec<T>, n: usize) {
            if let [one] = each.as_slice() {
                *each = vec![one.clone(); n];
            }
        }
        match &mut self.form {
            Form::Line { lines, .. } => all(lines, self.channels),
            Form::Steps { channels } => all(channels, self.channels),
        }
        self
    }
}

/// Where channels lie in an input: elements of the axes before, theirs, and of those behind.
fn place(port: &Port, sensor: &Sensor) -> std::result::Result<(usize, usize, usize), String> {
    let (shape, n) = (&port.shape, sensor.channels());
    let axis = match sensor.axis {
        Some(axis) if axis < shape.len() => axis,
        Some(axis) => {
            return Err(format!("input `{}` has no axis {axis}, its shape is {shape:?}", port.name));
        }
        None if n == 1 => return Ok((port.len(), 1, 1)),
        None => {
            let mut found = (0..shape.len()).filter(|&a| shape[a] == n);
            match (found.next(), found.next()) {
                (Some(axis), None) => axis,
                (None, _) => {
                    return Err(format!(
                        "input `{}` of shape {shape:?} has no axis of {n} channels",
                        port.name
                    ));
                }
                _ => {
                    return Err(format!(
                        "input `{}` of shape {shape:?} has several axes of {n}: say axis=N",
                        port.name
                    ));
                }
            }
        }
    };
    if n != 1 && shape[axis] != n {
        return Err(format!("axis {axis} of input `{}` has {} channels, not {n}", port.name, shape[axis]));
    }
    let outer = shape[..axis].iter().product();
    Ok((outer, shape[axis], shape[axis + 1..].iter().product()))
}

/// The code of an input.
struct Code {
    scale: f32,
    zero_point: i32,
    limits: (i32, i32),
    /// Whether it has more steps than floats resolve.
    fine: bool,
}

/// One channel of a sensor.
struct Channel {
    signed: bool,
    /// Steps of the input that a count is worth, and those of a count of zero, without the zero point.
    slope: f64,
    offset: f64,
    /// The code of each count, from the least count on.
    codes: Vec<i32>,
}

impl Channel {
    fn new(sensor: &Sensor, c: usize, code: &Code) -> Channel {
        let (scale, offset) = sensor.channel(c);
        let step = f64::from(code.scale);
        let (slope, shifted) = (f64::from(scale) / step, f64::from(offset) / step);
        let (lo, hi) = code.limits;
        let of = |count: i32| {
            if !code.fine {
                let real = count as f32 * scale + offset;
                return secateur_runtime::quantize(real, code.scale, code.zero_point, lo, hi);
            }
            let steps = libm::rint((f64::from(count) * f64::from(scale) + f64::from(offset)) / step);
            (steps + f64::from(code.zero_point)).clamp(lo.into(), hi.into()) as i32
        };
        let codes = all(sensor.signed).map(of).collect();
        Channel { signed: sensor.signed, slope, offset: shifted, codes }
    }
    /// Steps of the input that a count may be away from its zero.
    fn reach(&self) -> f64 {
        65536.0 * self.slope.abs() + self.offset.abs()
    }
    /// The counts at which the code steps.
    fn steps(&self) -> Steps {
        let turned = self.slope < 0.0;
        let first = *all(self.signed).start();
        let codes: Vec<i32> = match turned {
            true => self.codes.iter().rev().copied().collect(),
            false => self.codes.clone(),
        };
        let mut steps = Vec::new();
        for (i, pair) in codes.windows(2).enumerate() {
            steps.extend((pair[0]..pair[1]).map(|_| first + 1 + i as i32));
        }
        Steps { base: codes[0], turned, steps }
    }
    /// Slope and offset of a line that lies between the codes when it is rounded down, if there is one: as far from all
    /// of them as it can.
    fn between(&self) -> Option<(f64, f64)> {
        let Steps { base, turned, steps } = self.steps();
        let count = |at: i32| f64::from(if turned { turn(at, self.signed) } else { at });
        // At a step the line has reached the code, one count before it has not.
        let mut reached: Vec<(f64, f64)> = Vec::with_capacity(steps.len());
        let mut before = Vec::with_capacity(steps.len());
        for (i, &step) in steps.iter().enumerate() {
            let code = f64::from(base + 1 + i as i32);
            reached.push((count(step), code));
            before.push((count(step - 1), code));
        }
        let room = |slope: f64| {
            let least = reached.iter().map(|(x, code)| code - slope * x).fold(f64::NEG_INFINITY, f64::max);
            let most = before.iter().map(|(x, code)| code - slope * x).fold(f64::INFINITY, f64::min);
            (most - least, 0.5 * (most + least))
        };
        // The room is concave in the slope.
        let (mut lo, mut hi) = (self.slope - 1e-5 * self.slope.abs(), self.slope + 1e-5 * self.slope.abs());
        for _ in 0..80 {
            let (a, b) = (lo + (hi - lo) / 3.0, hi - (hi - lo) / 3.0);
            if room(a).0 < room(b).0 { lo = a } else { hi = b }
        }
        let slope = 0.5 * (lo + hi);
        let (room, offset) = room(slope);
        (room > 0.0).then_some((slope, offset))
    }
}

/// Lines for all channels, with one shift, if they give each count its code.
fn lines(each: &[Channel], code: &Code, even: bool) -> Option<Form> {
    let real: Vec<(f64, f64)> = match even {
        true => each.iter().map(|c| (c.slope, c.offset)).collect(),
        false => each.iter().map(Channel::between).collect::<Option<_>>()?,
    };
    let fits = |shift: &u32| {
        let of = |x: f64| libm::ldexp(x.abs(), *shift as i32);
        real.iter().all(|(m, b)| of(*m) < f64::from(i32::MAX) && of(*b) < libm::ldexp(1.0, 60))
    };
    let shift = (1..=MOST_SHIFT).rev().find(fits)?;
    let whole = |x: f64| libm::rint(libm::ldexp(x, shift as i32));
    let lines: Vec<(i32, i64)> = real.iter().map(|(m, b)| (whole(*m) as i32, whole(*b) as i64)).collect();
    let add = if even { code.zero_point } else { 0 };
    let form = Form::Line { lines, shift, even, add };
    let (channels, limits) = (each.len(), code.limits);
    let tried = Counts { port: 0, signed: each.first()?.signed, outer: 1, channels, inner: 1, limits, form };
    let exact = each.iter().enumerate().all(|(c, channel)| {
        // Sixteen bits: what the line says is as near to the real number as any code.
        code.fine || all(tried.signed).zip(&channel.codes).all(|(count, want)| tried.apply(c, count) == *want)
    });
    exact.then_some(tried.form)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;

    fn port(elem: DType, shape: &[usize], scale: f32, zero_point: i32) -> Port {
        let affine = Some((scale, zero_point));
        Port {
            name: "x".to_owned(),
            shape: shape.to_vec(),
            elem,
            real: DType::F32,
            declared: DType::F32,
            affine,
            at: 0,
        }
    }

    fn sensor(text: &str) -> Sensor {
        use crate::options::{Leaf, Place, Raw, Untyped};
        Sensor::read(&Raw { place: Place::Flag, value: Untyped::Word(text.to_owned()) }).unwrap()
    }

    /// Random numbers of a fixed sequence.
    fn next(seed: &mut u64) -> f64 {
        *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (*seed >> 11) as f64 / (1u64 << 53) as f64
    }

    #[test]
    fn a_million_random_counts_give_the_codes_of_floats() {
        let (mut seed, mut tried, mut forms) = (11, 0, [0; 3]);
        for case in 0..1000 {
            let mut of = |lo: f64, hi: f64| libm::exp(lo + (hi - lo) * next(&mut seed)) as f32;
            let step = of(-8.0, 1.0);
            // From a twentieth of a code a count to five codes; every fourth one a power of two of it, with ties.
            let sign = if case % 3 == 0 { -1.0 } else { 1.0 };
            let scale = match case % 4 {
                0 => sign * step / f32::from(1u16 << (case / 4 % 9)),
                _ => sign * step * of(-7.0, 1.6),
            };
            let offset = if case % 2 == 0 { 0.0 } else { step * of(-3.0, 3.0) };
            let unsigned = case % 5 == 0;
            let elem = if unsigned { DType::U8 } else { DType::I8 };
            let zero_point = (255.0 * next(&mut seed)) as i32 - if unsigned { 0 } else { 128 };
            let word = ["i16", "u16"][case % 2];
            let port = port(elem, &[1, 8], step, zero_point);
            let sensor = sensor(&format!("{word},scale={scale},offset={offset}"));
            let Ok(counts) = Counts::new(0, &port, &sensor) else { continue };
            forms[match &counts.form {
                Form::Line { even: true, .. } => 0,
                Form::Line { .. } => 1,
                Form::Steps { .. } => 2,
            }] += 1;
            let (lo, hi) = counts.limits;
            for _ in 0..1200 {
                let count = (65536.0 * next(&mut seed)) as i32 - if sensor.signed { 32768 } else { 0 };
                let real = count as f32 * scale + offset;
                let want = secateur_runtime::quantize(real, step, zero_point, lo, hi);
                assert_eq!(counts.apply(0, count), want, "case {case}: {sensor} for {step} {zero_point}");
                tried += 1;
            }
        }
        assert!(tried > 1_000_000 && forms.iter().all(|&n| n > 0), "{tried} counts, forms {forms:?}");
    }

    #[test]
    fn sixteen_bits_are_a_code_from_floats_at_most() {
        let port = port(DType::I16, &[1, 8], 0.000_217, 0);
        for text in ["i16,scale=0.000244140625", "u16,scale=0.0003,offset=-4.2", "i16,scale=-0.001"] {
            let sensor = sensor(text);
            let counts = Counts::new(0, &port, &sensor).unwrap();
            let (scale, offset) = sensor.channel(0);
            for count in all(sensor.signed) {
                let real =
                    (f64::from(count) * f64::from(scale) + f64::from(offset)) / f64::from(0.000_217f32);
                let off = (f64::from(counts.apply(0, count)) - real.clamp(-32768.0, 32767.0)).abs();
                assert!(off <= 0.5 + 1e-3, "{text} {count}: {off}");
            }
        }
    }

    #[test]
    fn channels_lie_where_they_are_said_to() {
        let of = |shape: &[usize], text: &str| {
            Counts::new(0, &port(DType::I8, shape, 0.1, 0), &sensor(text))
                .map(|c| (c.outer, c.channels, c.inner))
                .map_err(|e| e.to_string())
        };
        assert_eq!(of(&[1, 3, 200], "i16,scale=1:2:3"), Ok((1, 3, 200)));
        assert_eq!(of(&[1, 200, 3], "i16,scale=1:2:3"), Ok((200, 3, 1)));
        assert_eq!(of(&[1, 3, 200], "i16,scale=1,axis=1"), Ok((1, 3, 200)));
        assert_eq!(of(&[1, 3, 200], "i16,scale=1"), Ok((600, 1, 1)));
        for (shape, text, why) in [
            (&[1, 3, 3], "i16,scale=1:2:3", "has several axes of 3: say axis=N"),
            (&[1, 4, 9], "i16,scale=1:2:3", "has no axis of 3 channels"),
            (&[1, 4, 9], "i16,scale=1:2:3,axis=1", "axis 1 of input `x` has 4 channels, not 3"),
            (&[1, 4, 9], "i16,scale=1,axis=3", "has no axis 3"),
            (&[1, 4, 9], "i16,scale=1e9", "counts of channel 0 reach"),
            (&[1, 4, 9], "i16,scale=1e-9", "all counts of channel 0 become the one integer 0"),
        ] {
            let said = of(shape, text).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }
}
