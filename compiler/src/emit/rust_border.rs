//! What emitted Rust says of a port: its sizes and scale, and conversions at the border.

use super::rust_expr::float_literal;
use super::rust_model::{code, stored};
use crate::program::Port;
use crate::tensor::DType;
use std::fmt::Write;

/// Constants of a port: length, shape, scale and zero point.
pub(super) fn port_constants(o: &mut String, what: &str, port: &Port, upper: &str) {
    let (name, about) = (code(&port.name), stored(port));
    let _ = writeln!(
        o,
        "\n    /// Elements of the {what} {name}: {about}.\n    pub const {upper}_LEN: usize = {};\n    \
         /// Shape of the {what} {name}, row-major.\n    pub const {upper}_SHAPE: [usize; {}] = {:?};",
        port.len(),
        port.shape.len(),
        port.shape
    );
    if let Some((scale, zero_point)) = port.affine {
        let _ = writeln!(
            o,
            "    /// Real value of a step of the {what} {name}: real = `{upper}_SCALE * (stored - {upper}_ZERO_POINT)`.\n    \
             pub const {upper}_SCALE: f32 = {};\n    /// Stored integer of a real 0 in the {what} {name}.\n    \
             pub const {upper}_ZERO_POINT: i32 = {zero_point};",
            float_literal(scale)
        );
    }
}

/// Accessors of what is kept between runs, as a port is seen.
pub(super) fn state_accessors(o: &mut String, port: &Port, ident: &str, next: &str, field: &str) {
    let (n, at) = (port.len(), port.at);
    // Any byte may be written there, so that a bool is one.
    let ty = if port.elem == DType::Bool { "u8" } else { port.elem.name() };
    let what = format!("{}, kept between runs: each gives it the value of {}", code(&port.name), code(next));
    let about = stored(port);
    let safe = "// SAFETY: inside the arena, aligned, and every bit pattern there is a value.";
    let _ = writeln!(
        o,
        "\n    /// {what}.\n    ///\n    /// Row-major: {about}.\n    pub fn {ident}(&self) -> &[{ty}; {n}] {{\n        {safe}\n        \
         unsafe {{ &*self.{field}.as_ptr().cast::<u8>().add({at}).cast() }}\n    }}\n\n    \
         /// The same, to be set to what was saved.\n    \
         pub fn {ident}_mut(&mut self) -> &mut [{ty}; {n}] {{\n        {safe}\n        \
         unsafe {{ &mut *self.{field}.as_mut_ptr().cast::<u8>().add({at}).cast() }}\n    }}"
    );
}

/// Conversions between real numbers and the stored integers of a port.
pub(super) fn border_helper(o: &mut String, port: &Port, ident: &str, input: bool) {
    let Some((lo, hi)) = port.elem.range() else { return };
    if port.affine.is_none() {
        return;
    }
    let (n, ty, upper) = (port.len(), port.elem.name(), ident.to_ascii_uppercase());
    let _ = if input {
        writeln!(
            o,
            "\n    /// Real values to the stored integers of {}, half to even, saturating.\n    \
             pub fn quantize_{ident}(real: &[f32; {n}], stored: &mut [{ty}; {n}]) {{\n        \
             for (q, &x) in stored.iter_mut().zip(real) {{\n            \
             *q = ::secateur::quantize(x, Self::{upper}_SCALE, Self::{upper}_ZERO_POINT, {lo}, {hi}) as {ty};\n        }}\n    }}",
            code(&port.name)
        )
    } else {
        writeln!(
            o,
            "\n    /// Stored integers of {} to real values.\n    \
             pub fn dequantize_{ident}(stored: &[{ty}; {n}], real: &mut [f32; {n}]) {{\n        \
             for (x, &q) in real.iter_mut().zip(stored) {{\n            \
             *x = ::secateur::dequantize(i32::from(q), Self::{upper}_SCALE, Self::{upper}_ZERO_POINT);\n        }}\n    }}",
            code(&port.name)
        )
    };
}
