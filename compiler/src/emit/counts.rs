//! The functions that make a sensor's counts the integers of an input, in C and in Rust.
//!
//! In: [`Counts`], an input. Out: text. Law: no float, no division, and no index that can leave an array.

use super::c::c_type;
use super::module::{Module, printable};
use crate::counts::{Counts, Form, Steps};
use crate::error::{Error, Result};
use crate::program::{Port, Program};
use std::fmt::{Display, Write};

fn list<T: Display>(all: impl IntoIterator<Item = T>) -> String {
    all.into_iter().map(|v| v.to_string()).collect::<Vec<_>>().join(", ")
}

/// The shape of the counts, channels last, and what the function gives, as lines of a comment.
fn says(counts: &Counts, port: &Port, floats: &str) -> [String; 3] {
    let Counts { outer, channels, inner, .. } = counts;
    let shape = match channels {
        1 => format!("{:?}, as the input lies", port.shape),
        _ => format!("[{}, {channels}], the channels of a frame side by side", outer * inner),
    };
    let elem = word(counts);
    [
        format!("Counts of a sensor, {elem} {shape}, to the stored integers of"),
        format!("`{}`, by integers alone: the codes that {floats} gives", printable(&port.name)),
        "for scale * count + offset in floats.".to_owned(),
    ]
}

/// A line's arithmetic on the product `v` of 64 bits: what is added before the shift, in each language.
fn rounding(shift: u32, even: bool) -> Option<i64> {
    even.then(|| (1i64 << (shift - 1)) - 1)
}

/// A 64-bit constant as every C99 compiler takes it.
fn c_long(v: &i64) -> String {
    format!("INT64_C({v})")
}

/// Refuses a function that would have the name of another input's.
pub(super) fn distinct(all: &[Counts], inputs: &[Port], names: &[String]) -> Result<()> {
    for counts in all {
        let function = names.get(counts.port).map(|name| format!("{name}_{}", word(counts)));
        let other = names.iter().find(|name| Some(*name) == function.as_ref());
        if let (Some(other), Some(port)) = (other, inputs.get(counts.port)) {
            let why = format!("its function would have the name of that of input `{other}`");
            return Err(
                Error::entry("sensor", &port.name, why).help("give one of the two inputs another name")
            );
        }
    }
    Ok(())
}

/// The word for the type of counts, which names of functions end with.
fn word(counts: &Counts) -> &'static str {
    if counts.signed { "i16" } else { "u16" }
}

/// `static inline` functions for `NAME.h`.
pub(super) fn c(o: &mut String, all: &[Counts], module: &Module<'_>, name: &str) {
    for counts in all {
        if let (Some(port), Some(ident)) =
            (module.program.inputs.get(counts.port), module.inputs.get(counts.port))
        {
            one_c(o, counts, port, ident, name);
        }
    }
}

/// Functions of the model's `impl`.
pub(super) fn rust(o: &mut String, all: &[Counts], program: &Program, names: &[String]) {
    for counts in all {
        if let (Some(port), Some(ident)) = (program.inputs.get(counts.port), names.get(counts.port)) {
            one_rust(o, counts, port, ident);
        }
    }
}

fn one_c(o: &mut String, counts: &Counts, port: &Port, ident: &str, name: &str) {
    let Counts { outer, channels, inner, limits: (lo, hi), .. } = counts;
    let (word, ty) = (word(counts), if counts.signed { "int16_t" } else { "uint16_t" });
    let stored = c_type(port.elem);
    let _ = writeln!(o, "\n/* {} */", says(counts, port, &format!("{name}_quantize_{ident}")).join("\n * "));
    let _ = writeln!(
        o,
        "static inline void {name}_quantize_{ident}_{word}(const {ty} *counts, {stored} *stored)\n{{"
    );
    match &counts.form {
        Form::Line { lines, .. } => {
            let _ = writeln!(
                o,
                "    static const int32_t m[{channels}] = {{{}}};",
                list(lines.iter().map(|l| l.0))
            );
            let b = list(lines.iter().map(|l| c_long(&l.1)));
            let _ = writeln!(o, "    static const int64_t b[{channels}] = {{{b}}};");
        }
        Form::Steps { channels: each } => {
            let mut starts = vec![0];
            each.iter().for_each(|c| starts.push(starts[starts.len() - 1] + c.steps.len()));
            let steps = list(each.iter().flat_map(|c| &c.steps));
            let n = starts[starts.len() - 1];
            let _ = writeln!(o, "    static const {ty} steps[{n}] = {{{steps}}};");
            let _ = writeln!(o, "    static const int32_t starts[{}] = {{{}}};", starts.len(), list(&starts));
            let _ = writeln!(
                o,
                "    static const int32_t base[{channels}] = {{{}}};",
                list(each.iter().map(|c| c.base))
            );
            let turned = list(each.iter().map(|c| i32::from(c.turned)));
            let _ = writeln!(o, "    static const uint8_t turned[{channels}] = {{{turned}}};");
        }
    }
    let _ = writeln!(
        o,
        "    int32_t o;\n    int32_t c;\n    int32_t i;\n    for (o = 0; o < {outer}; o++) {{\n        \
         for (c = 0; c < {channels}; c++) {{\n            for (i = 0; i < {inner}; i++) {{\n                \
         const int32_t count = counts[(((o * {inner}) + i) * {channels}) + c];"
    );
    match &counts.form {
        Form::Line { shift, even, add, .. } => {
            let _ = writeln!(
                o,
                "                const int64_t v = secateur_add64(secateur_product(count, m[c]), b[c]);"
            );
            let rounded = match rounding(*shift, *even) {
                Some(most) => format!(
                    "secateur_add64(v, secateur_add64({}, secateur_shr64(v, {shift}) & 1))",
                    c_long(&most)
                ),
                None => "v".to_owned(),
            };
            let _ = writeln!(
                o,
                "                const int32_t code = secateur_add((int32_t)secateur_shr64({rounded}, {shift}), {add});"
            );
            let _ = writeln!(
                o,
                "                stored[(((o * {channels}) + c) * {inner}) + i] = \
                 ({stored})secateur_max(secateur_min(code, {hi}), {lo});"
            );
        }
        Form::Steps { .. } => {
            let other = if counts.signed { "-1 - count" } else { "65535 - count" };
            let _ = writeln!(
                o,
                "                const int32_t reached = turned[c] != 0U ? {other} : count;\n                \
                 int32_t at = starts[c];\n                int32_t left = starts[c + 1] - at;\n                \
                 while (left > 0) {{\n                    const int32_t half = left / 2;\n                    \
                 if ((int32_t)steps[at + half] <= reached) {{\n                        at += half + 1;\n                        \
                 left -= half + 1;\n                    }} else {{\n                        left = half;\n                    \
                 }}\n                }}\n                \
                 stored[(((o * {channels}) + c) * {inner}) + i] = ({stored})(base[c] + (at - starts[c]));"
            );
        }
    }
    o.push_str("            }\n        }\n    }\n}\n");
}

fn one_rust(o: &mut String, counts: &Counts, port: &Port, ident: &str) {
    let Counts { channels, inner, limits: (lo, hi), .. } = counts;
    let word = word(counts);
    let (n, stored) = (port.len(), port.elem.name());
    for line in says(counts, port, &format!("`quantize_{ident}`")) {
        let _ = writeln!(o, "{}    /// {line}", if line.starts_with("Counts") { "\n" } else { "" });
    }
    let _ = writeln!(
        o,
        "    pub fn quantize_{ident}_{word}(counts: &[{word}; {n}], stored: &mut [{stored}; {n}]) {{"
    );
    let (values, each) = match &counts.form {
        Form::Line { lines, shift, even, add } => {
            let _ = writeln!(o, "        const LINES: [(i32, i64); {channels}] = [{}];", {
                list(lines.iter().map(|(m, b)| format!("({m}, {b})")))
            });
            let round = match rounding(*shift, *even) {
                Some(most) => format!("(v + {most} + ((v >> {shift}) & 1))"),
                None => "v".to_owned(),
            };
            let code = format!(
                "let v = i64::from(count) * i64::from(m) + b;\n                    \
                 *q = (({round} >> {shift}) as i32 + {add}).clamp({lo}, {hi}) as {stored};"
            );
            ("(m, b)) in LINES", code)
        }
        Form::Steps { channels: each } => {
            let one =
                |Steps { base, turned, steps }: &Steps| format!("({base}, {turned}, &[{}])", list(steps));
            let all = list(each.iter().map(one));
            let _ = writeln!(o, "        const STEPS: [(i32, bool, &[{word}]); {channels}] = [{all}];");
            let code = format!(
                "let reached = if turned {{ !count }} else {{ count }};\n                    \
                 *q = (base + steps.partition_point(|step| *step <= reached) as i32) as {stored};"
            );
            ("(base, turned, steps)) in STEPS", code)
        }
    };
    let frames = channels * inner;
    let _ = writeln!(
        o,
        "        for (stored, counts) in stored.chunks_exact_mut({frames}).zip(counts.chunks_exact({frames})) {{\n            \
         for (c, {values}.into_iter().enumerate() {{\n                \
         let counts = counts.iter().skip(c).step_by({channels});\n                \
         for (q, &count) in stored.iter_mut().skip(c * {inner}).take({inner}).zip(counts) {{\n                    \
         {each}\n                }}\n            }}\n        }}\n    }}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;

    #[test]
    fn a_function_with_the_name_of_another_input_is_refused() {
        let (elem, affine) = (DType::I8, Some((0.5, 0)));
        let port = |name: &str| Port {
            name: name.into(),
            shape: vec![1],
            elem,
            real: DType::F32,
            declared: DType::F32,
            affine,
            at: 0,
        };
        let form = Form::Line { lines: vec![(1, 0)], shift: 1, even: true, add: 0 };
        let limits = (-128, 127);
        let counts = Counts { port: 0, signed: true, outer: 1, channels: 1, inner: 1, limits, form };
        let told = |other: &str| {
            let names = ["x".to_owned(), other.to_owned()];
            distinct(std::slice::from_ref(&counts), &[port("x"), port(other)], &names)
        };
        assert!(told("x_u16").is_ok());
        let said = told("x_i16").unwrap_err().to_string();
        assert!(said.contains("the name of that of input `x_i16`"), "{said}");
    }
}
