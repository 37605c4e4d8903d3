//! Constants as C arrays.
//!
//! Law: every array reads back as the constant's bytes, bit for bit.

use super::c::c_type;
use super::c_expr::float_literal;
use super::section::c_attribute;
use crate::program::Constant;
use crate::tensor::{DType, Data};
use std::fmt::Write;

/// Floats that have no literal (infinities, NaN) are stored as their bits.
fn as_bits(constant: &Constant) -> bool {
    let (words, _) = constant.bytes.as_chunks::<4>();
    constant.dtype == DType::F32 && words.iter().any(|w| !f32::from_le_bytes(*w).is_finite())
}

/// Element type of the array in C.
pub(super) fn storage_type(constant: &Constant) -> &'static str {
    if as_bits(constant) { "uint32_t" } else { c_type(constant.dtype) }
}

/// Declares a constant, sixteen or eight numbers a line.
pub(super) fn constant(o: &mut String, constant: &Constant, ident: &str, section: Option<&str>) {
    let data = Data::from_le_bytes(constant.dtype, &constant.bytes);
    let words: Vec<String> = match &data {
        Data::F32(v) if as_bits(constant) => v.iter().map(|x| format!("0x{:08x}u", x.to_bits())).collect(),
        Data::F32(v) => v.iter().map(|&x| float_literal(x)).collect(),
        Data::I8(v) => v.iter().map(|x| x.to_string()).collect(),
        Data::U8(v) => v.iter().map(|x| x.to_string()).collect(),
        Data::I16(v) => v.iter().map(|x| x.to_string()).collect(),
        Data::U16(v) => v.iter().map(|x| x.to_string()).collect(),
        Data::I32(v) => {
            v.iter().map(|&x| if x == i32::MIN { "INT32_MIN".to_string() } else { x.to_string() }).collect()
        }
        Data::U32(v) => v.iter().map(|x| format!("{x}u")).collect(),
        Data::I64(v) => v
            .iter()
            .map(|&x| if x == i64::MIN { "INT64_MIN".to_string() } else { format!("INT64_C({x})") })
            .collect(),
        Data::U64(v) => v.iter().map(|x| format!("UINT64_C({x})")).collect(),
        Data::Bool(v) => v.iter().map(|&x| u8::from(x).to_string()).collect(),
    };
    // C has no array of length zero.
    let words = if words.is_empty() { vec!["0".to_string()] } else { words };
    let align = if constant.align > constant.dtype.size() {
        format!("SECATEUR_ALIGN({}) ", constant.align)
    } else {
        String::new()
    };
    let _ = writeln!(
        o,
        "\n{align}{}static const {} {ident}[{}] = {{",
        c_attribute(section),
        storage_type(constant),
        words.len()
    );
    let per_line = if constant.dtype == DType::I8 || constant.dtype == DType::U8 { 24 } else { 8 };
    for line in words.chunks(per_line) {
        let _ = writeln!(o, "    {},", line.join(", "));
    }
    o.push_str("};\n");
}
