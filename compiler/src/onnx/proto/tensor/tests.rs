//! Tensors of a model file: half precision, every width, and what is refused.

use super::*;

fn proto(data_type: i32, dims: &[i64]) -> TensorProto {
    TensorProto { data_type, dims: dims.to_vec(), ..Default::default() }
}

#[test]
fn half_precision_follows_ieee_754() {
    let cases: [(u16, f32); 9] = [
        (0x3c00, 1.0),
        (0xc000, -2.0),
        (0x7bff, 65504.0),
        (0x0400, 6.103_515_6e-5),
        (0x03ff, 6.097_555e-5),
        (0x0001, 5.960_464_5e-8),
        (0x8001, -5.960_464_5e-8),
        (0x7c00, f32::INFINITY),
        (0x3555, 0.333_251_95),
    ];
    for (bits, value) in cases {
        assert_eq!(f16_to_f32(bits), value, "{bits:#x}");
    }
    assert!(f16_to_f32(0x8000).is_sign_negative());
    assert!(f16_to_f32(0x7e00).is_nan());
    assert_eq!(bf16_to_f32(0x3f80), 1.0);
    assert_eq!(bf16_to_f32(0xc2f7), -123.5);
}

#[test]
fn every_width_reads_alike_from_raw_and_typed_fields() {
    // Type number, little-endian bytes of [1, 2], how the typed field holds them.
    let cases: &[(i32, Vec<u8>, DType)] = &[
        (2, vec![1, 2], DType::U8),
        (3, vec![1, 2], DType::I8),
        (4, vec![1, 0, 2, 0], DType::U16),
        (5, vec![1, 0, 2, 0], DType::I16),
        (6, vec![1, 0, 0, 0, 2, 0, 0, 0], DType::I32),
        (7, [1i64.to_le_bytes(), 2i64.to_le_bytes()].concat(), DType::I64),
        (12, vec![1, 0, 0, 0, 2, 0, 0, 0], DType::U32),
        (13, [1u64.to_le_bytes(), 2u64.to_le_bytes()].concat(), DType::U64),
        (1, [1f32.to_le_bytes(), 2f32.to_le_bytes()].concat(), DType::F32),
        (11, [1f64.to_le_bytes(), 2f64.to_le_bytes()].concat(), DType::F32),
        (10, vec![0x00, 0x3c, 0x00, 0x40], DType::F32),
        (16, vec![0x80, 0x3f, 0x00, 0x40], DType::F32),
    ];
    for (data_type, bytes, dtype) in cases {
        let mut raw = proto(*data_type, &[2]);
        raw.raw_data = bytes.clone();
        let mut fields = proto(*data_type, &[2]);
        match data_type {
            1 => fields.float_data = vec![1.0, 2.0],
            11 => fields.double_data = vec![1.0, 2.0],
            7 => fields.int64_data = vec![1, 2],
            12 | 13 => fields.uint64_data = vec![1, 2],
            10 => fields.int32_data = vec![0x3c00, 0x4000],
            16 => fields.int32_data = vec![0x3f80, 0x4000],
            _ => fields.int32_data = vec![1, 2],
        }
        for t in [raw, fields] {
            let t = tensor(&t).unwrap().tensor;
            assert_eq!((t.dtype(), t.to_f64_vec()), (*dtype, vec![1.0, 2.0]), "type {data_type}");
        }
    }
}

#[test]
fn elements_of_less_than_a_byte_lie_low_bits_first() {
    // Type number, bytes, elements: as `onnx.helper.make_tensor` packs them.
    let cases: &[(i32, &[u8], &[i64])] = &[
        (21, &[0x80, 0x0f], &[0, 8, 15]),
        (22, &[0x87, 0xff, 0xf1], &[7, -8, -1, -1, 1]),
        (25, &[0b1110_0100], &[0, 1, 2, 3]),
        (26, &[0b1110_0100, 0b0000_0010], &[0, 1, -2, -1, -2]),
        (22, &[], &[]),
    ];
    for (data_type, bytes, elements) in cases {
        let mut raw = proto(*data_type, &[elements.len() as i64]);
        raw.raw_data = bytes.to_vec();
        let mut fields = proto(*data_type, &[elements.len() as i64]);
        fields.int32_data = bytes.iter().map(|&b| b.into()).collect();
        let mut signed = fields.clone();
        signed.int32_data = bytes.iter().map(|&b| b.cast_signed().into()).collect();
        for t in [raw, fields, signed] {
            let stored = tensor(&t).unwrap();
            assert_eq!(stored.tensor.to_i64_vec(), *elements, "type {data_type}");
            assert_eq!(stored.narrow, Narrow::of((*data_type).into()));
        }
    }
    assert!(element_of_port(22).is_err() && element_of_port(3) == Ok(DType::I8));
}

#[test]
fn refuses_what_it_cannot_hold() {
    let refused = |t: TensorProto, why: &str| {
        let error = tensor(&t).err().expect("this tensor is not supported").to_string();
        assert!(error.contains(why), "{error}");
    };
    refused(proto(8, &[1]), "shape [1] needs 1 texts, the file holds 0");
    refused(TensorProto { string_data: vec![vec![0xff]], ..proto(8, &[1]) }, "not UTF-8");
    refused(proto(17, &[1]), "float8");
    refused(proto(22, &[1]), "needs 1 packed bytes, the file holds 0");
    refused(TensorProto { raw_data: vec![0; 2], ..proto(21, &[5]) }, "needs 3 bytes");
    refused(TensorProto { int32_data: vec![256], ..proto(22, &[1]) }, "256 is no byte");
    refused(TensorProto { int32_data: vec![-129], ..proto(22, &[1]) }, "-129 is no byte");
    refused(proto(99, &[1]), "unknown element type 99");
    refused(proto(1, &[-1]), "dimension -1");
    refused(proto(1, &[1 << 40, 1 << 40]), "too large");
    refused(proto(1, &[0, 1 << 40]), "too large");
    refused(proto(1, &[3]), "needs 3 elements, the file holds 0");
    refused(TensorProto { raw_data: vec![0; 5], ..proto(1, &[1]) }, "needs 4 bytes");
    refused(TensorProto { int32_data: vec![300], ..proto(2, &[1]) }, "300 does not fit");
    let mut external = proto(1, &[1]);
    external.data_location = DataLocation::EXTERNAL.into();
    refused(external, "another file");
}

#[test]
fn text_is_counted_where_it_first_stands() {
    let texts = ["b", "a", "b", "c"].map(|t| t.as_bytes().to_vec()).to_vec();
    let stored = tensor(&TensorProto { string_data: texts, ..proto(8, &[2, 2]) }).unwrap();
    assert_eq!((stored.tensor.shape(), stored.tensor.to_i64_vec()), (&[2, 2][..], vec![0, 1, 0, 2]));
    assert_eq!(stored.text.as_deref(), Some(&["b", "a", "c"].map(String::from)[..]));
}
