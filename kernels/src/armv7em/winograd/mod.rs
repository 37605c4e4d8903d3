//! Exact integer Winograd for cores with `smlad`: F(2x2, 3x3), four outputs of a 3x3 convolution
//! with unit stride from sixteen products a channel instead of thirty-six, and [`four`],
//! F(4x4, 3x3).
//!
//! With `V = B^T d B` of a 4x4 patch of inputs and `U = (2G) g (2G)^T` of a filter, the outputs
//! are `A^T (sum of U * V) A / 4` (Lavin and Gray, Fast Algorithms for Convolutional Neural
//! Networks, 2016, section 4.1). `2G` is integral, so everything is, and four times the sum is
//! requantized with a shift that is two larger: the outputs are those of the direct
//! convolution, bit by bit.
//!
//! Work goes by a row of tiles: [`Rows`] transforms four input rows vertically, [`Columns`]
//! four tiles of it horizontally, [`Products`] multiplies them with two output channels at a
//! time and transforms back, [`Filters`] makes `U` from int8 weights where it is not stored.
//!
//! Orders, in 16-bit halves, channels in fours parted as `a c b d` ([`crate::armv7em::widen`]):
//! `T[column][four channels][i][4]`, `V[xi][pair of channels][tile][2]`, `U` of two output channels
//! `[xi][pair of channels][output][2]`, then `4 * bias` and the multiplier of both as words;
//! `xi = 4 * i + j`.

pub mod engine;
pub mod engine_1d;
pub mod engine_4x4;
mod filters;
pub mod four;
mod products;
mod transforms;

pub use filters::Filters;
pub use products::Products;
pub use transforms::{Columns, Rows};

/// Tiles that are multiplied at a time.
pub const TILES: usize = 4;
/// Products of a tile.
pub const XI: usize = 16;

/// `2G`: from three taps to four.
pub const TWICE_G: [[i32; 3]; 4] = [[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]];

/// Greatest magnitude of `V` per element: each is a signed sum of four inputs, each of which is
/// within 255 of zero.
pub const MOST: i64 = 4 * 255;

/// Outputs that are made from one transformed patch of inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tile {
    /// 2x2, [`TILES`] of them side by side.
    Two,
    /// 4x4, `across` (2 or 4) of [`TILES`] side by side, the others under them.
    Four { across: usize },
    /// Four in a line, by three taps in a line.
    Line,
}

impl Tile {
    /// Rows and columns of outputs.
    pub fn outputs(self) -> [usize; 2] {
        match self {
            Tile::Two => [2, 2],
            Tile::Four { .. } => [4, 4],
            Tile::Line => [1, 4],
        }
    }
    pub fn products(self) -> usize {
        match self {
            Tile::Two => XI,
            Tile::Four { .. } => four::XI,
            Tile::Line => four::SIDE,
        }
    }
    /// Tiles side by side.
    pub fn across(self) -> usize {
        if let Tile::Four { across } = self { across } else { TILES }
    }
    /// Rows of tiles of a group of [`TILES`].
    pub fn bands(self) -> usize {
        TILES / self.across()
    }
    /// Rows and columns of outputs of a group.
    pub fn group(self) -> [usize; 2] {
        let [tall, wide] = self.outputs();
        [tall * self.bands(), wide * self.across()]
    }
    /// Columns of inputs under a tile of a 3x3 window, and what each column of transformed rows holds of a
    /// channel.
    pub fn side(self) -> usize {
        self.outputs()[1] + 2
    }
}

/// Halves of `U` for two output channels.
pub fn pair_len(products: usize, channels: usize) -> usize {
    products * 2 * channels + 8
}

/// `U` of one 3x3 filter, row-major.
pub fn transformed(g: [i32; 9]) -> [i32; 16] {
    let mut u = [0; 16];
    for (xi, u) in u.iter_mut().enumerate() {
        let (down, across) = (TWICE_G[xi / 4], TWICE_G[xi % 4]);
        *u = (0..9).map(|t| down[t / 3] * across[t % 3] * g[t]).sum();
    }
    u
}

#[cfg(test)]
mod tests {
    pub(crate) fn m4() -> secateur_targets::Core {
        secateur_targets::core("cortex-m4").unwrap()
    }
}
