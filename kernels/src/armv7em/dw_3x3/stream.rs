//! How the coefficients of 3x3 depthwise convolutions on vertical pairs lie, and how they get into registers.
//!
//! Stream of a channel, in words: three of the upper two rows of weights by column, `w21 w20`, `w22`, bias,
//! multiplier: 28 bytes.
//!
//! Where flash is not spent, a channel takes 16 bytes, which its first instructions widen ([`Form`]): two
//! words of four weights, in the order in which `sxtb16` parts them into the words above; a word of the bias and
//! `w22`; the multiplier. It costs 3 cycles a channel and band. What was shifted left to bring a channel to the shift
//! of all costs 15: halves of a word only shift side by side where they have no sign, so 128 is added to weights
//! and `128 << growth` subtracted behind that.
//!
//! In: weights and bias of all channels. Out: the stream. Law: what does not fit a form is refused when it is packed.

use crate::armv7em::dw_rowpair::word;
use crate::armv7em::epilogue::{Rounding, word as push_word};
use crate::asm::armv7em::{Block, Inst, Reg, Ror};
use crate::kernel::{Buf, Expr, KernelBuilder, Val};

/// How the coefficients of a channel lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Weights of 16 bits.
    Words,
    /// Weights of 8 bits, a bias of 24.
    Bytes,
    /// Weights of 8 bits and a bias of 20, shifted left by at most [`MOST_GROWTH`].
    Grown,
}

/// Those of 16 bytes a channel, the faster one first, and then the one that holds all.
pub const FORMS: [Form; 3] = [Form::Bytes, Form::Grown, Form::Words];
/// Bits that a weight of eight may be shifted by for one of sixteen.
const MOST_GROWTH: u32 = 8;
/// The taps of the bytes of the two words of weights: halves of even bytes, and of odd ones, are words of the longer
/// stream.
const TAPS: [usize; 8] = [0, 1, 3, 4, 2, 7, 5, 6];

impl Form {
    /// Words of the stream of a channel.
    pub fn words(self) -> usize {
        if self == Form::Words { 7 } else { 4 }
    }

    /// Packs weights `[channels, 9]` of all channels; `None` if they do not fit the form.
    pub fn pack(self, weights: &[i32], bias: &[i32], rounding: Rounding<'_>) -> Option<Vec<i16>> {
        let mut stream = Vec::with_capacity(2 * self.words() * bias.len());
        for (c, w) in weights.chunks_exact(9).enumerate() {
            if self != Form::Words {
                self.pack_bytes(&mut stream, w, bias[c])?;
                push_word(&mut stream, rounding.multipliers[c]);
                continue;
            }
            let w = w.iter().map(|&w| i16::try_from(w).ok()).collect::<Option<Vec<i16>>>()?;
            (0..3).for_each(|kx| stream.extend([w[kx], w[3 + kx]]));
            stream.extend([w[7], w[6], w[8], 0]);
            push_word(&mut stream, bias[c]);
            push_word(&mut stream, rounding.multipliers[c]);
        }
        Some(stream)
    }

    /// Appends a channel's weights and bias, taken back by as few bits as it takes.
    fn pack_bytes(self, stream: &mut Vec<i16>, w: &[i32], bias: i32) -> Option<()> {
        let within = |bits: u32, v: i32| (-(1i32 << (bits - 1))..1 << (bits - 1)).contains(&v);
        let grown = self == Form::Grown;
        let (bits, added) = if grown { (20, 128) } else { (24, 0) };
        let even = w.iter().fold(bias, |all, w| all | w).trailing_zeros();
        let most = if grown { even.min(MOST_GROWTH) } else { 0 };
        let fits = |g: &u32| w.iter().all(|&w| within(8, w >> g)) && within(bits, bias >> g);
        let growth = (0..=most).find(fits)?;
        let byte = |tap: usize| ((w[tap] >> growth) + added) as u8;
        for taps in TAPS.chunks_exact(4) {
            push_word(
                stream,
                i32::from_le_bytes([byte(taps[0]), byte(taps[1]), byte(taps[2]), byte(taps[3])]),
            );
        }
        let last = ((w[8] >> growth) & 255) | if grown { (growth as i32) << 8 } else { 0 };
        push_word(stream, (bias >> growth << (32 - bits)) | last);
        Some(())
    }

    /// The bias of the channel whose stream begins at `base`, and its weights by tap.
    pub fn channel(self, k: &mut KernelBuilder, w: Buf, base: Val) -> (Val, [Expr; 9]) {
        if self == Form::Words {
            let bias = k.let_("bias", word(w, base + 10));
            let half = |tap: usize| if tap < 6 { 2 * (tap % 3) + tap / 3 } else { [7, 6, 8][tap - 6] };
            return (bias, std::array::from_fn(|tap| w.at(base + half(tap))));
        }
        let low = k.let_("low", w.at(base + 4));
        let signed = |byte: Expr| (byte ^ 128) - 128;
        let scale = match self {
            Form::Grown => Some(k.let_("scale", Expr::from(1) << ((low >> 8) & 15))),
            _ => None,
        };
        let grow = |v: Expr| if let Some(scale) = scale { v * scale } else { v };
        let bias = match self {
            Form::Grown => w.at(base + 5) * 16 + ((low >> 12) & 15),
            _ => w.at(base + 5) * 256 + ((low >> 8) & 255),
        };
        let bias = k.let_("bias", grow(bias));
        let weights = std::array::from_fn(|tap| {
            let weight = match TAPS.iter().position(|&t| t == tap) {
                Some(n) => {
                    let byte = (w.at(base + n / 2) >> (8 * (n % 2) as i32)) & 255;
                    if self == Form::Grown { byte - 128 } else { signed(byte) }
                }
                None => signed(low & 255),
            };
            k.let_(&format!("w{tap}"), grow(weight)).into()
        });
        (bias, weights)
    }

    /// Loads the coefficients of the channel whose stream `w` points to: the words of weights, `w21 w20`, `w22`, bias,
    /// multiplier.
    pub fn load(self, b: &mut Block, w: Reg, to: [Reg; 7]) {
        if self == Form::Words {
            for (i, &r) in to.iter().enumerate() {
                b.push(Inst::Ldr(r, w, 4 * i as u32));
            }
            return;
        }
        let [w0, w1, w2, v, u, bias, m] = to;
        let last = b.reg();
        b.push(Inst::Ldr(last, w, 8));
        b.push(Inst::Ldr(m, w, 12));
        let grown = (self == Form::Grown).then(|| {
            let [growth, offset] = b.regs_n();
            b.push(Inst::Ubfx(growth, last, 8, 4));
            b.push(Inst::MovImm(offset, 0x0080_0080));
            b.push(Inst::Lsl(offset, offset, growth));
            (growth, offset)
        });
        b.push(Inst::AsrImm(bias, last, if grown.is_some() { 12 } else { 8 }));
        b.push(Inst::Sxtb(u, last, 0));
        if let Some((growth, _)) = grown {
            b.push(Inst::Lsl(bias, bias, growth));
            b.push(Inst::Lsl(u, u, growth));
        }
        for (n, [even, odd]) in [[w0, w1], [w2, v]].into_iter().enumerate() {
            let four = b.reg();
            b.push(Inst::Ldr(four, w, 4 * n as u32));
            for (to, ror) in [(even, Ror::R0), (odd, Ror::R8)] {
                let Some((growth, offset)) = grown else {
                    b.push(Inst::Sxtb16(to, four, ror));
                    continue;
                };
                b.push(Inst::Uxtb16(to, four, ror));
                b.push(Inst::Lsl(to, to, growth));
                b.push(Inst::Ssub16(to, to, offset));
            }
        }
    }
}
