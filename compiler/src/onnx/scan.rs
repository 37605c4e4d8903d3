//! Walks the protobuf wire format of a model before it is decoded.
//!
//! In: the bytes of a file. Out: nothing, or a refusal that names the byte offset.
//! Law: what passes here the decoder reads without deep recursion. The decoder's skipping of
//! unknown groups recurses without a bound (RUSTSEC-2024-0437) and the only version that the
//! ONNX crate builds with has no fix, so groups are refused anywhere; ONNX uses none. Nesting
//! of messages and their number are bounded too.

use crate::error::{Error, Result, Site};

/// How deep messages may nest. A subgraph adds three levels, so this is about twenty `If`s.
const MAX_DEPTH: usize = 64;
/// How many messages a file may hold; each costs a few hundred bytes once decoded.
const MAX_MESSAGES: usize = 1 << 20;

/// The messages of ONNX, as far as they hold other messages.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
    ValueInfo,
    Type,
    TypeTensor,
    TypeElement,
    TypeMap,
    Shape,
    Training,
    Function,
    Annotation,
    /// A message without messages inside.
    Flat,
}

impl Message {
    /// The message in a length-delimited field; `None` for strings, bytes, packed numbers and
    /// fields that the decoder keeps unread.
    fn field(self, number: u64) -> Option<Message> {
        use Message::*;
        Some(match (self, number) {
            (Model, 7) => Graph,
            (Model, 8 | 14) => Flat,
            (Model, 20) => Training,
            (Model, 25) => Function,
            (Graph, 1) => Node,
            (Graph, 5) => Tensor,
            (Graph, 15) => SparseTensor,
            (Graph, 11..=13) => ValueInfo,
            (Graph, 14) => Annotation,
            (Graph, 16) => Flat,
            (Node, 5) => Attribute,
            (Node, 9) => Flat,
            (Attribute, 5 | 10) => Tensor,
            (Attribute, 6 | 11) => Graph,
            (Attribute, 22 | 23) => SparseTensor,
            (Attribute, 14 | 15) => Type,
            (Tensor, 3 | 13 | 16) => Flat,
            (SparseTensor, 1 | 2) => Tensor,
            (ValueInfo, 2) => Type,
            (ValueInfo, 4) => Flat,
            (Type, 1 | 8) => TypeTensor,
            (Type, 4 | 9) => TypeElement,
            (Type, 5) => TypeMap,
            (TypeTensor, 2) => Shape,
            (TypeElement, 1) => Type,
            (TypeMap, 2) => Type,
            (Shape, 1) => Flat,
            (Training, 1 | 2) => Graph,
            (Training, 3 | 4) => Flat,
            (Function, 7) => Node,
            (Function, 9 | 14) => Flat,
            (Function, 11) => Attribute,
            (Function, 12) => ValueInfo,
            (Annotation, 2) => Flat,
            _ => return None,
        })
    }
}

/// Refuses bytes that are no well-formed, group-free, moderately nested ONNX protobuf.
pub(super) fn scan(bytes: &[u8]) -> Result<()> {
    // Open messages: what they are and where they end. A stack of our own, not recursion.
    let mut open = vec![(Message::Model, bytes.len())];
    let mut messages = 0;
    let mut at = 0;
    while let Some(&(message, end)) = open.last() {
        if at == end {
            open.pop();
            continue;
        }
        let start = at;
        let tag = varint(bytes, &mut at, end)?;
        let (number, wire) = (tag >> 3, tag & 7);
        if number == 0 || tag > u64::from(u32::MAX) {
            return Err(malformed(start, format!("field number {number} does not exist")));
        }
        match wire {
            0 => {
                varint(bytes, &mut at, end)?;
            }
            1 => skip(&mut at, 8, start, end)?,
            5 => skip(&mut at, 4, start, end)?,
            2 => {
                let length = varint(bytes, &mut at, end)?;
                let body = at;
                skip(&mut at, length, start, end)?;
                if let Some(inner) = message.field(number) {
                    messages += 1;
                    if open.len() >= MAX_DEPTH {
                        return Err(malformed(start, format!("messages nest deeper than {MAX_DEPTH}")));
                    }
                    if messages > MAX_MESSAGES {
                        return Err(malformed(start, format!("more than {MAX_MESSAGES} messages")));
                    }
                    open.push((inner, at));
                    at = body;
                }
            }
            3 | 4 => {
                return Err(malformed(start, "a protobuf group, which ONNX does not use".into()));
            }
            _ => return Err(malformed(start, format!("wire type {wire} does not exist"))),
        }
    }
    Ok(())
}

fn malformed(at: usize, why: String) -> Error {
    Error::model(Site::Whole, format!("not a readable ONNX file: at byte {at}: {why}"))
        .help("the file may be truncated, or not be ONNX at all")
}

fn skip(at: &mut usize, length: u64, start: usize, end: usize) -> Result<()> {
    let left = end - *at;
    match usize::try_from(length) {
        Ok(length) if length <= left => {
            *at += length;
            Ok(())
        }
        _ => Err(malformed(start, format!("a field of {length} bytes where {left} are left"))),
    }
}

fn varint(bytes: &[u8], at: &mut usize, end: usize) -> Result<u64> {
    let start = *at;
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        if *at == end {
            return Err(malformed(start, "the file or message ends inside a number".into()));
        }
        let byte = bytes[*at];
        *at += 1;
        // The tenth byte holds one bit; more would overflow, which the decoder refuses too.
        if shift == 63 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(malformed(start, "a number is longer than 64 bits".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8], why: &str) {
        let error = scan(bytes).expect_err("these bytes are malformed").to_string();
        assert!(error.contains(why) && error.contains("at byte"), "{error}");
    }

    #[test]
    fn accepts_nested_messages_and_unknown_fields() {
        // Model { graph: Graph { name: "g" } , unknown field 99: bytes that are no message }
        scan(&[0x3a, 3, 0x12, 1, b'g', 0x9a, 0x06, 2, 0xff, 0xff]).unwrap();
        scan(&[]).unwrap();
    }

    #[test]
    fn refuses_groups_at_every_level() {
        refused(&[0x0b], "group");
        refused(&[0x0c], "group");
        refused(&[0x3a, 1, 0x0b], "group");
        // A group of an unknown field, the one that the decoder would descend into.
        refused(&[0xfb, 0x7f, 0xfb, 0x7f], "group");
    }

    #[test]
    fn refuses_lengths_beyond_the_end() {
        refused(&[0x3a, 5, 0x12], "5 bytes where 1 are left");
        refused(&[0x3a, 2, 0x12, 1, b'g'], "1 bytes where 0 are left");
        refused(&[0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], "bytes where 0 are left");
        refused(&[0x09, 1, 2, 3], "8 bytes where 3 are left");
    }

    #[test]
    fn refuses_bad_numbers_and_wire_types() {
        refused(&[0x80], "ends inside a number");
        refused(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], "longer than 64 bits");
        refused(&[0x0e], "wire type 6");
        refused(&[0x00, 1], "field number 0");
    }

    /// One length-delimited field.
    fn wrap(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        let mut n = body.len();
        while n >= 128 {
            out.push((n & 0x7f) as u8 | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
        out.extend(body);
        out
    }

    #[test]
    fn refuses_deep_nesting_without_recursion() {
        // Model.graph.input.type, then a sequence of a sequence of ...
        let nested = |levels: usize| {
            let inner = (0..levels).fold(Vec::new(), |t, _| wrap(0x22, &wrap(0x0a, &t)));
            wrap(0x3a, &wrap(0x5a, &wrap(0x12, &inner)))
        };
        scan(&nested(20)).unwrap();
        refused(&nested(40), "deeper");
        refused(&nested(20_000), "deeper");
    }
}
