//! The frames between a host and the harness that runs a model: on a board, in an emulator or
//! in a process.
//!
//! A frame is two bytes of magic (`A5 5C`), a kind, a zero, the payload's length (32 bits), the
//! payload, and the CRC-32 (IEEE 802.3) of everything between the magic and itself; numbers are
//! little endian. It is the same over files, semihosting, pipes and serial lines. A receiver
//! passes over noise until the next magic.
//!
//! | kind | from | payload |
//! |---|---|---|
//! | `H` hello | harness, once | version, number of models, then input and output bytes of each |
//! | `I` input | host | number of the model, its input arrays |
//! | `O` output | harness | number of the model, painted stack in bytes, its output arrays |
//! | `E` end | host, answered by the harness | nothing |
//! | `X` failed | harness | text: why the last frame could not be used |
//!
//! Law: a damaged frame is refused, never used in part.

/// Version of the protocol, in the hello.
pub const VERSION: u32 = 1;

const MAGIC: [u8; 2] = [0xA5, 0x5C];

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Input and output bytes of each model.
    Hello(Vec<(u32, u32)>),
    Input {
        model: u32,
        bytes: Vec<u8>,
    },
    Output {
        model: u32,
        stack: u32,
        bytes: Vec<u8>,
    },
    End,
    Failed(String),
}

/// Why bytes are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("a reply ends in the middle of a frame")]
    Truncated,
    #[error("a reply came with a wrong checksum")]
    Checksum,
    #[error("a reply of unknown kind {0:#04x} came")]
    Kind(u8),
    #[error("a reply of kind `{0}` is too short")]
    Short(char),
    #[error("the harness speaks version {0} of the protocol, not {VERSION}")]
    Version(u32),
}

/// CRC-32 of IEEE 802.3: reflected polynomial EDB88320, all ones before and after.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| (c >> 1) ^ (0xEDB8_8320 & (c & 1).wrapping_neg()))
    })
}

/// Appends a frame.
pub fn write(frame: &Frame, to: &mut Vec<u8>) {
    let (kind, payload) = match frame {
        Frame::Hello(models) => {
            let head = [VERSION, models.len() as u32];
            let words = head.into_iter().chain(models.iter().flat_map(|&(i, o)| [i, o]));
            (b'H', words.flat_map(u32::to_le_bytes).collect())
        }
        Frame::Input { model, bytes } => (b'I', [&model.to_le_bytes(), bytes.as_slice()].concat()),
        Frame::Output { model, stack, bytes } => {
            (b'O', [&model.to_le_bytes(), &stack.to_le_bytes(), bytes.as_slice()].concat())
        }
        Frame::End => (b'E', Vec::new()),
        Frame::Failed(why) => (b'X', why.as_bytes().to_vec()),
    };
    to.extend(MAGIC);
    let start = to.len();
    to.extend([kind, 0]);
    to.extend((payload.len() as u32).to_le_bytes());
    to.extend(payload);
    let sum = crc(&to[start..]);
    to.extend(sum.to_le_bytes());
}

/// Takes the next frame off the front; `None` at the end.
pub fn read(from: &mut &[u8]) -> Result<Option<Frame>, Broken> {
    let Some(at) = from.windows(2).position(|w| w == MAGIC) else {
        *from = &[];
        return Ok(None);
    };
    let frame = &from[at + 2..];
    let (head, rest) = frame.split_first_chunk::<6>().ok_or(Broken::Truncated)?;
    let [kind, _, length @ ..] = *head;
    let length = u32::from_le_bytes(length) as usize;
    let payload = rest.get(..length).ok_or(Broken::Truncated)?;
    let (sum, rest) = rest[length..].split_first_chunk::<4>().ok_or(Broken::Truncated)?;
    if crc(&frame[..6 + length]) != u32::from_le_bytes(*sum) {
        return Err(Broken::Checksum);
    }
    *from = rest;
    let words = |n: usize| -> Result<(Vec<u32>, &[u8]), Broken> {
        let (words, rest) = payload.split_at_checked(4 * n).ok_or(Broken::Short(kind.into()))?;
        Ok((words.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect(), rest))
    };
    Ok(Some(match kind {
        b'H' => {
            let (head, rest) = words(2)?;
            if head[0] != VERSION {
                return Err(Broken::Version(head[0]));
            }
            if rest.len() as u64 != u64::from(head[1]) * 8 {
                return Err(Broken::Short('H'));
            }
            let (sizes, _) = words(payload.len() / 4)?;
            Frame::Hello(sizes[2..].chunks_exact(2).map(|c| (c[0], c[1])).collect())
        }
        b'I' => {
            let (head, rest) = words(1)?;
            Frame::Input { model: head[0], bytes: rest.to_vec() }
        }
        b'O' => {
            let (head, rest) = words(2)?;
            Frame::Output { model: head[0], stack: head[1], bytes: rest.to_vec() }
        }
        b'E' => Frame::End,
        b'X' => Frame::Failed(String::from_utf8_lossy(payload).into_owned()),
        other => return Err(Broken::Kind(other)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Frame> {
        vec![
            Frame::Hello(vec![(490, 12), (4, 1)]),
            Frame::Input { model: 1, bytes: vec![0xA5, 0x5C, 0, 255] },
            Frame::Output { model: 0, stack: 312, bytes: vec![1, 2, 3] },
            Frame::Failed("no".into()),
            Frame::End,
        ]
    }

    #[test]
    fn the_checksum_is_the_published_one() {
        assert_eq!(crc(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn frames_survive_the_way_there_and_back_with_noise_between() {
        let mut bytes = vec![0, 0xA5, 0xA5];
        for frame in samples() {
            write(&frame, &mut bytes);
            bytes.extend(b"noise\n");
        }
        let mut rest = bytes.as_slice();
        for frame in samples() {
            assert_eq!(read(&mut rest), Ok(Some(frame)));
        }
        assert_eq!(read(&mut rest), Ok(None));
    }

    #[test]
    fn any_single_wrong_bit_is_noticed() {
        for frame in samples() {
            let mut bytes = Vec::new();
            write(&frame, &mut bytes);
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(read(&mut damaged.as_slice()), Ok(Some(frame.clone())), "bit {bit}");
            }
            for cut in 0..bytes.len() {
                assert!(!matches!(read(&mut &bytes[..cut]), Ok(Some(_))), "cut at {cut}");
            }
        }
    }
}
