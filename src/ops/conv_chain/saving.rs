//! Whether a chain moves fewer bytes than its two convolutions apart, and what that costs.

use super::{ConvChain, Tile};
use crate::tensor::Shape;

/// What becomes of bytes and operations where two convolutions become a chain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Saving {
    /// Bytes of the middle map that are no longer moved.
    pub saved_bytes: usize,
    /// Bytes of x that are read again, because neighbouring tiles overlap by their halos.
    pub halo_bytes: usize,
    /// Operations on top of those of the two convolutions, as a share of them: the first convolution's on the
    /// halos, and both convolutions' where tiles reach over the map's edge.
    pub extra_flops: f64,
}

/// The most operations that a chain may add: see [`Saving::pays`].
const MOST_EXTRA_FLOPS: f64 = 0.4;

/// The widest map that a chain is made for: see [`Saving::pays`].
const MOST_CHANNELS: usize = 128;

/// What the chain `op` saves on maps of `x` with elements of `element` bytes, cut as `tile` says. `first` and
/// `second` are the shapes of the weights.
///
/// Apart, the first convolution writes the middle map and the second reads it: both are saved, or the reading
/// alone where the middle map is kept. For that each tile reads x on its own pixels and around them as far as
/// both kernels reach, within the image; apart, x counts as read once. Weights count once either way: they are
/// shared by all blocks, and small beside the maps that a chain pays for.
pub fn saving(op: &ConvChain, x: Shape, first: Shape, second: Shape, element: usize, tile: &Tile) -> Saving {
    let passes = if op.keep_middle { 1 } else { 2 };
    let saved_bytes = passes * x.pixels() * first.n * element;

    let reach = (first.h / 2 + second.h / 2) as isize;
    // The sum over tiles of their windows' lengths, along one axis.
    let windows = |length: usize, tile: usize| -> usize {
        let window = |start: usize| {
            let end = (start + tile).min(length) as isize;
            ((end + reach).min(length as isize) - (start as isize - reach).max(0)) as usize
        };
        (0..length).step_by(tile).map(window).sum()
    };
    let read = x.n * windows(x.h, tile.h) * windows(x.w, tile.w);
    let halo_bytes = (read - x.pixels()) * x.c * element;

    let (blocks, pixels) = (tile.blocks(x) as f64, x.pixels() as f64);
    let (one, two) = (first.elements() as f64, second.elements() as f64);
    let computed = blocks * (tile.middle_pixels() as f64 * one + (tile.h * tile.w) as f64 * two);
    Saving { saved_bytes, halo_bytes, extra_flops: computed / (pixels * (one + two)) - 1.0 }
}

impl Saving {
    /// Whether the chain is worth making for a middle map and an output of so many channels.
    ///
    /// It must move fewer bytes, the halos' counted in full though the second-level cache has most of them.
    ///
    /// Operations may grow by 40 %, and neither map may have more than 128 channels. A 3×3 convolution of c to
    /// c channels does 18·c² operations a pixel and moves 4·c bytes of two-byte maps: 4.5·c a byte. Tensor cores
    /// do some 100 to 200 in the time of a byte from memory. So up to about 32 channels memory is all that counts
    /// and what is computed twice costs nothing; at 128 it no longer counts, and such maps are left to the two
    /// convolutions, which can also cut their channels among blocks; in between, what is computed twice must
    /// stay the smaller part.
    pub fn pays(&self, middle: usize, output: usize) -> bool {
        self.saved_bytes > self.halo_bytes
            && self.extra_flops <= MOST_EXTRA_FLOPS
            && middle.max(output) <= MOST_CHANNELS
    }
}
