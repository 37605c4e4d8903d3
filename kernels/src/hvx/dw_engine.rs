//! Depthwise convolutions by [`crate::hvx::depthwise`]: a band of rows at a time from the
//! workspace.
//!
//! In: sizes and a product. Out: the way `depthwise`, or none where channels are not innermost
//! or coefficients leave eight bits. Law: the outputs are those of the portable loops, bit by bit.

use crate::asm::hvx::VECTOR;
use crate::call::{Bind, Call};
use crate::epilogue::Ending;
use crate::error::Result;
use crate::hvx::depthwise::Depthwise;
use crate::hvx::engine::ALIGN;
use crate::hvx::line::SLACK;
use crate::hvx::rows::{Filler, panel};
use crate::kernel::{Access, KernelBuilder};
use crate::offer::{Candidate, Want};
use crate::problem::Geometry;
use crate::product::Product;
use crate::tensor::{DType, Data};

/// A convolution with one input and one output channel in each group.
pub fn depthwise(g: &Geometry, product: &Product, want: &Want<'_>) -> Result<Option<Candidate>> {
    let Some(ending) = Ending::of(&product.finish) else { return Ok(None) };
    let channels = g.groups;
    let packed = (channels == 1 || g.x[1] == 1 && g.y[1] == 1) && (g.input[1] == 1 || g.x[3] == channels);
    if g.cin != 1 || g.cout != 1 || !packed {
        return Ok(None);
    }
    let panel = panel(g, channels, want.rows_limit);
    let [rows, columns] = panel.tile;
    // More channels than a vector has bytes are taken in pieces, the last one moved back.
    let piece = channels.min(VECTOR);
    let pieces: Vec<usize> = (0..channels).step_by(piece).map(|first| first.min(channels - piece)).collect();
    // Neighbouring pixels share a vector where their windows and results are neighbours too.
    let side_by_side = g.strides[1] == 1 && g.y[3] == channels;
    let pixels = if side_by_side { (VECTOR / piece).clamp(1, columns) } else { 1 };
    let blocks = columns.div_ceil(pixels);
    let sizes = Depthwise {
        kernel: g.kernel,
        tap: [panel.pitch, g.dilations[1] * channels],
        rows,
        blocks,
        lanes: pixels * piece,
        last: (columns - (blocks - 1) * pixels) * piece,
        x: [g.strides[0] * panel.pitch, pixels * g.strides[1] * channels],
        y: [g.y[2], pixels * g.y[3]],
        one_shift: ending.sh.is_some(),
        lo: ending.limits.0,
        hi: ending.limits.1,
    };
    let Some((weights, tail)) = pack(&sizes, product, &ending, (&pieces, piece)) else { return Ok(None) };
    if !sizes.fits() {
        return Ok(None);
    }
    let kernel = want.library.once(&sizes, || sizes.kernel())?;
    let mut k = KernelBuilder::new("depthwise_s8_vector");
    let x = k.buffer("x", DType::I8, g.x_len(), Access::Read);
    let y = k.buffer("y", DType::I8, g.y_len(), Access::Write);
    let w = k.buffer("w", DType::I8, weights.len(), Access::Read);
    let t = k.buffer("tail", DType::I32, tail.len(), Access::Read);
    // Lanes beyond the last pixel read a little further.
    let lines_len = panel.len() + SLACK;
    let room_len = lines_len.max(pieces[pieces.len() - 1] + sizes.x_len());
    let room = k.buffer("rows", DType::I8, room_len, Access::ReadWrite);
    let zero = k.scalar("zero", -128, 127);
    let filler = Filler { panel: &panel, pixel: channels, x, room, zero, library: want.library };
    if !filler.fits() {
        return Ok(None);
    }
    // What lanes beyond the last pixel read means nothing, but is something.
    if room_len > lines_len {
        k.for_("i", lines_len, room_len, |k, i| k.store(room, i, zero));
    }
    panel.each(&mut k, &filler, &mut |k, tile| {
        for (i, &at) in pieces.iter().enumerate() {
            let (w, t) = (w.from(i * sizes.weights_len()), t.from(i * sizes.tail_len()));
            k.call(&kernel, vec![room.from(at), w, t, y.from(&tile.y + at)]);
        }
    })?;
    let args = vec![
        Bind::Operand(0),
        Bind::Result(0),
        Bind::aligned("weights", Data::I8(weights), ALIGN),
        Bind::aligned("tail", Data::I32(tail), ALIGN),
        Bind::Workspace(0),
        Bind::Scalar(product.x_zp),
    ];
    let call = Call { kernel: k.finish()?, args };
    Ok(Some(Candidate { way: "depthwise", call, workspace: room_len }))
}

/// Weights and what ends the sums, by piece of the channels; lanes repeat them.
fn pack(
    sizes: &Depthwise,
    product: &Product,
    ending: &Ending<'_>,
    (pieces, piece): (&[usize], usize),
) -> Option<(Vec<i8>, Vec<i32>)> {
    let folded = product.clone().folded();
    let (Data::I32(w), Data::I32(b)) = (&folded.weights, &folded.bias) else { return None };
    let taps = sizes.kernel[0] * sizes.kernel[1];
    let mut weights = vec![0i8; pieces.len() * sizes.weights_len()];
    let mut tail = vec![0i32; pieces.len() * sizes.tail_len()];
    for (i, first) in pieces.iter().enumerate() {
        let (w0, t0) = (i * sizes.weights_len(), i * sizes.tail_len());
        for lane in 0..VECTOR {
            let channel = first + lane % piece;
            let own = &w[channel * taps..(channel + 1) * taps];
            for (tap, &w) in own.iter().enumerate() {
                weights[w0 + Depthwise::place(lane, tap)] = i8::try_from(w).ok()?;
            }
            for (which, v) in [b[channel]].into_iter().chain(ending.words(channel)).enumerate() {
                tail[t0 + sizes.tail_place(which, lane)] = v;
            }
        }
    }
    Some((weights, tail))
}
