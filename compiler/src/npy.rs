//! NumPy `.npy` bytes <-> [`Tensor`]. Format: NumPy enhancement proposal 1, versions 1 to 3.
//!
//! Our own reader rather than a crate, because the macro builds this library too and the
//! crates for it bring a parser generator along. Reads arrays of bool, integers and
//! floats of either byte order; half and double precision become F32.

use crate::error::{Error, Result, Site};
use crate::tensor::{Data, Tensor, checked_len};

const MAGIC: &[u8] = b"\x93NUMPY";

fn bad(message: impl Into<String>) -> Error {
    Error::data(Site::Whole, message)
}

/// Reads one array.
pub fn read(bytes: &[u8]) -> Result<Tensor> {
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| bad("is not a NumPy .npy array"))?;
    let truncated = || bad("the .npy array is truncated");
    let (&[major, _minor], rest) = rest.split_first_chunk::<2>().ok_or_else(truncated)?;
    if !(1..=3).contains(&major) {
        return Err(bad(format!("version {major} of the .npy format is not known")));
    }
    let (header_len, rest) = if major == 1 {
        let (len, rest) = rest.split_first_chunk::<2>().ok_or_else(truncated)?;
        (u16::from_le_bytes(*len) as usize, rest)
    } else {
        let (len, rest) = rest.split_first_chunk::<4>().ok_or_else(truncated)?;
        (u32::from_le_bytes(*len) as usize, rest)
    };
    let header = rest.get(..header_len).ok_or_else(|| {
        bad(format!(
            "the .npy array is truncated: its header takes {header_len} bytes, {} follow",
            rest.len()
        ))
    })?;
    let body = &rest[header_len..];
    let header = std::str::from_utf8(header).map_err(|_| bad("the .npy header is not text"))?;

    let descr =
        quoted(field(header, "descr")?).ok_or_else(|| bad("structured .npy arrays are not supported"))?;
    let fortran = field(header, "fortran_order")?.starts_with("True");
    let mut shape =
        shape(field(header, "shape")?).ok_or_else(|| bad("the .npy header has no valid shape"))?;
    let len = checked_len(&shape).ok_or_else(|| bad("the .npy array is too large"))?;
    if fortran {
        shape.reverse();
    }
    let read = Tensor::new(shape, elements(descr, body, len)?).map_err(|_| truncated())?;
    if !fortran {
        return Ok(read);
    }
    // Its first axis is the one that moves fastest: the array of its axes in reverse, turned around.
    let axes: Vec<usize> = (0..read.shape().len()).rev().collect();
    Ok(read.transposed(&axes))
}

/// What follows `'name':` in the header dictionary.
fn field<'a>(header: &'a str, name: &str) -> Result<&'a str> {
    let key = format!("'{name}'");
    let at = header.find(&key).ok_or_else(|| bad(format!("the .npy header has no `{name}`")))?;
    Ok(header[at + key.len()..].trim_start().trim_start_matches(':').trim_start())
}

fn quoted(text: &str) -> Option<&str> {
    text.strip_prefix('\'')?.split('\'').next()
}

fn shape(text: &str) -> Option<Vec<usize>> {
    let inner = text.strip_prefix('(')?.split(')').next()?;
    inner.split(',').map(str::trim).filter(|s| !s.is_empty()).map(|s| s.parse().ok()).collect()
}

fn elements(descr: &str, body: &[u8], len: usize) -> Result<Data> {
    let unsupported = || {
        bad(format!("element type `{descr}` is not supported"))
            .help("use bool, integers, float16, float32 or float64")
    };
    if descr.contains('O') {
        return Err(bad("the .npy array holds Python objects")
            .help("save numbers: `numpy.stack` makes one array of arrays of the same shape"));
    }
    // A type of one byte needs no mark; some writers leave it out.
    let (order, kind) = match descr.split_at_checked(1) {
        Some((order @ ("<" | ">" | "|" | "="), kind)) => (order, kind),
        _ => ("", descr),
    };
    if kind.len() != 2 || !kind.is_ascii() {
        return Err(unsupported());
    }
    fn words<const N: usize, T>(body: &[u8], big: bool, f: impl Fn([u8; N]) -> T) -> Vec<T> {
        let (chunks, _) = body.as_chunks::<N>();
        let turn = |mut c: [u8; N]| {
            if big {
                c.reverse();
            }
            c
        };
        chunks.iter().map(|c| f(turn(*c))).collect()
    }
    let size: usize = kind[1..].parse().map_err(|_| unsupported())?;
    let bytes = len.checked_mul(size).filter(|&n| n <= body.len()).ok_or_else(|| {
        bad(format!(
            "the .npy array is truncated: {len} elements of `{descr}` do not fit in {} bytes",
            body.len()
        ))
    })?;
    if bytes != body.len() {
        return Err(bad(format!(
            "the .npy array has {len} elements of `{descr}` by its header, {bytes} bytes, but {} bytes follow",
            body.len()
        )));
    }
    let big = order == ">";
    if size > 1 && !matches!(order, "<" | ">") && matches!(kind.as_bytes()[0], b'i' | b'u' | b'f') {
        return Err(bad(format!("element type `{descr}` does not say its order of bytes"))
            .help(format!("save it as `<{kind}`: `x.astype('<{kind}')`")));
    }
    Ok(match kind {
        "b1" => Data::Bool(body.iter().map(|&b| b != 0).collect()),
        "i1" => Data::I8(body.iter().map(|&b| b as i8).collect()),
        "u1" => Data::U8(body.to_vec()),
        "i2" => Data::I16(words(body, big, i16::from_le_bytes)),
        "u2" => Data::U16(words(body, big, u16::from_le_bytes)),
        "i4" => Data::I32(words(body, big, i32::from_le_bytes)),
        "u4" => Data::U32(words(body, big, u32::from_le_bytes)),
        "i8" => Data::I64(words(body, big, i64::from_le_bytes)),
        "u8" => Data::U64(words(body, big, u64::from_le_bytes)),
        "f2" => Data::F32(words(body, big, |b| half_to_f32(u16::from_le_bytes(b)))),
        "f4" => Data::F32(words(body, big, f32::from_le_bytes)),
        "f8" => Data::F32(words(body, big, |b| f64::from_le_bytes(b) as f32)),
        _ => return Err(unsupported()),
    })
}

/// IEEE 754 binary16 to binary32, exact.
pub fn half_to_f32(half: u16) -> f32 {
    let sign = u32::from(half >> 15) << 31;
    let exponent = u32::from(half >> 10) & 31;
    let fraction = u32::from(half) & 0x3ff;
    match (exponent, fraction) {
        (0, _) => f32::from_bits(sign | (fraction as f32 / 16_777_216.0).to_bits()),
        (31, _) => f32::from_bits(sign | 0x7f80_0000 | (fraction << 13)),
        _ => f32::from_bits(sign | ((exponent + 112) << 23) | (fraction << 13)),
    }
}

/// Writes one array, version 1.0, little-endian, C order.
pub fn write(tensor: &Tensor) -> Vec<u8> {
    let descr = match tensor.data() {
        Data::F32(_) => "<f4",
        Data::I8(_) => "|i1",
        Data::U8(_) => "|u1",
        Data::I16(_) => "<i2",
        Data::U16(_) => "<u2",
        Data::I32(_) => "<i4",
        Data::U32(_) => "<u4",
        Data::I64(_) => "<i8",
        Data::U64(_) => "<u8",
        Data::Bool(_) => "|b1",
    };
    let dims: String = tensor.shape().iter().map(|d| format!("{d}, ")).collect();
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims}), }}");
    let unpadded = MAGIC.len() + 4 + header.len() + 1;
    header.extend(std::iter::repeat_n(' ', unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');
    let mut out = MAGIC.to_vec();
    out.extend([1, 0]);
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(tensor.data().to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_survive_the_round_trip() {
        let tensor = Tensor::new(vec![2, 1, 3], Data::I16(vec![1, -2, 3, -4, 5, i16::MIN])).unwrap();
        let bytes = write(&tensor);
        assert_eq!(bytes.len() % 64, 12);
        assert_eq!(read(&bytes).unwrap(), tensor);
        let scalar = Tensor::new(vec![], Data::F32(vec![1.5])).unwrap();
        assert_eq!(read(&write(&scalar)).unwrap(), scalar);
    }

    #[test]
    fn both_orders_of_bytes_are_read() {
        let mut bytes = write(&Tensor::f32(&[2], vec![1.5, -2.0]));
        let at = bytes.windows(3).position(|w| w == b"<f4").unwrap();
        bytes[at] = b'>';
        let body = bytes.len() - 8;
        bytes[body..].chunks_exact_mut(4).for_each(<[u8]>::reverse);
        assert_eq!(read(&bytes).unwrap(), Tensor::f32(&[2], vec![1.5, -2.0]));
        // One byte has no order, whatever the mark says.
        let mut bytes = write(&Tensor::new(vec![2], Data::I8(vec![1, -2])).unwrap());
        let at = bytes.windows(3).position(|w| w == b"|i1").unwrap();
        for mark in *b"<>=|" {
            bytes[at] = mark;
            assert_eq!(read(&bytes).unwrap().data(), &Data::I8(vec![1, -2]));
        }
    }

    #[test]
    fn half_precision_is_exact() {
        for (half, want) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x0001, 5.960_464_5e-8),
            (0x7bff, 65504.0),
            (0x3555, 0.333_251_95),
        ] {
            assert_eq!(half_to_f32(half), want);
        }
        assert!(half_to_f32(0x7e00).is_nan() && half_to_f32(0xfc00) == f32::NEG_INFINITY);
    }

    #[test]
    fn arrays_in_fortran_order_are_turned_around() {
        // As NumPy has [[1, 2, 3], [4, 5, 6]] there: column by column.
        let mut bytes = write(&Tensor::f32(&[2, 3], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
        let at = bytes.windows(5).position(|w| w == b"False").unwrap();
        bytes[at..at + 5].copy_from_slice(b"True ");
        assert_eq!(read(&bytes), Ok(Tensor::f32(&[2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])));
    }

    #[test]
    fn damaged_arrays_are_refused() {
        let bytes = write(&Tensor::f32(&[4], vec![0.0; 4]));
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut]).is_err(), "{cut} bytes");
        }
        let swap = |from: &str, to: &str| {
            let mut b = bytes.clone();
            let at = b.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
            b[at..at + from.len()].copy_from_slice(to.as_bytes());
            b
        };
        assert!(read(&swap("<f4", "<c8")).unwrap_err().message.contains("<c8"));
        assert!(read(&swap("(4,", "(9,")).unwrap_err().message.contains("truncated"));
        assert!(read(&swap("(4,", "(3,")).unwrap_err().message.contains("12 bytes, but 16"));
        assert!(read(&swap("(4,", "(-,")).unwrap_err().message.contains("shape"));
        assert!(read(&swap("<f4", "|O8")).unwrap_err().message.contains("objects"));
        for unclear in ["=f4", "|f4", " f4"] {
            let error = read(&swap("<f4", unclear)).unwrap_err();
            assert!(error.message.contains(unclear), "{error}");
        }
        let mut header = bytes.clone();
        header[8] = 0xff;
        assert!(read(&header).unwrap_err().message.contains("header takes"));
        header[8] -= 0xf0;
        read(&header).unwrap_err();
        header[6] = 9;
        assert!(read(&header).unwrap_err().message.contains("version 9"));
    }
}
