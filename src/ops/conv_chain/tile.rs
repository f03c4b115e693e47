//! How a chain is cut into blocks: as `kernels/common/conv_chain.cuh` names it.

use std::fmt;

use super::{ConvChain, saving};
use crate::ops::conv::cuda::compute_type;
use crate::runtime::cuda::Target;
use crate::tensor::{DType, Shape};

/// One block's share, and how it is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Rows of output pixels.
    pub h: usize,
    /// Output pixels of a row.
    pub w: usize,
    /// Pixels around the tile on which the middle map is computed too.
    pub halo: usize,
    /// Warps along the channels; there are 4 along the pixels.
    pub parts_n: usize,
    /// Pixels of the first product at a time.
    pub first_m: usize,
    /// Channels of the middle map in whole fragments.
    pub first_n: usize,
    /// Channels of the output in whole fragments.
    pub second_n: usize,
    /// Chunks of 16 bytes of the first product's K tiles.
    pub first_k: usize,
    /// The same of the second product's.
    pub second_k: usize,
    /// Stages in shared memory.
    pub stages: usize,
    /// Chunks of a pixel of the middle map in shared memory.
    pub middle_chunks: usize,
}

/// Output tiles that are tried: a fragment's 8 rows lie side by side, and 4 warps share the pixels.
const SHAPES: [[usize; 2]; 5] = [[8, 16], [8, 8], [16, 16], [4, 16], [16, 8]];

/// Sums that a thread can hold beside its fragments.
const MOST_SUMS: usize = 64;

/// The chunks that a row takes in shared memory (`stored_chunks` of `block_product.cuh`).
fn stored_chunks(chunks: usize) -> usize {
    if chunks > 8 { chunks.next_multiple_of(8) } else { chunks.next_power_of_two() }
}

impl fmt::Display for Tile {
    /// The name that tells it from others of a chain.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{} pixels", self.h, self.w)
    }
}

impl Tile {
    /// The tiles that `op` can be cut into on `target`: see [`Tile::choose`].
    pub fn candidates(op: &ConvChain, x: Shape, first: Shape, second: Shape, target: &Target) -> Vec<Tile> {
        let compute = compute_type(target);
        SHAPES.iter().filter_map(|&shape| Tile::new(op, shape, x.c, first, second, compute, target)).collect()
    }

    /// The tile that `op` names, or else the one that is [chosen](Tile::choose) for it.
    pub fn of(op: &ConvChain, x: Shape, first: Shape, second: Shape, target: &Target) -> Option<Tile> {
        let named = op.tile.as_ref().and_then(|name| {
            let candidates = Tile::candidates(op, x, first, second, target);
            candidates.into_iter().find(|tile| tile.to_string() == *name)
        });
        named.or_else(|| Tile::choose(op, x, first, second, target))
    }

    /// The tile for `op` on maps `x` of the weight shapes `first` and `second`, or none where the middle map
    /// and the stages do not fit into a block's shared memory, or the sums into its registers.
    ///
    /// Of those that fit, the one that keeps the busiest multiprocessor busy for the shortest time, by the
    /// products it computes: the halo, tiles that reach over the map's edge, and blocks that do not divide
    /// among the multiprocessors all count. One block alone on a multiprocessor waits at its barriers, and
    /// counts a third more. But first come those for which the chain [pays](super::Saving::pays).
    pub fn choose(op: &ConvChain, x: Shape, first: Shape, second: Shape, target: &Target) -> Option<Tile> {
        let compute = compute_type(target);
        let mut best: Option<((bool, f64), Tile)> = None;
        for tile in Tile::candidates(op, x, first, second, target) {
            let saving = saving(op, x, first, second, target.map.size(), &tile);
            let cost = (!saving.pays(first.n, second.n), tile.time(x, first, second, compute, target));
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, tile));
            }
        }
        best.map(|(_, tile)| tile)
    }

    fn new(
        op: &ConvChain,
        [h, w]: [usize; 2],
        c_in: usize,
        first: Shape,
        second: Shape,
        compute: DType,
        target: &Target,
    ) -> Option<Tile> {
        let (c_middle, c_out) = (first.n, second.n);
        let parts_n = if c_middle.max(c_out) <= 16 { 1 } else { 2 };
        let threads = 128 * parts_n;
        let (first_n, second_n) =
            (c_middle.next_multiple_of(16 * parts_n), c_out.next_multiple_of(16 * parts_n));
        if h * w * second_n / threads > MOST_SUMS {
            return None;
        }
        let chunk = 16 / compute.size();
        let k = |channels: usize| if channels.is_multiple_of(4 * chunk) { 4 } else { 2 };
        let (first_k, second_k) = (k(c_in), k(c_middle));
        // The first product in as few passes as its sums allow, each of whole 64 pixels. Multiply-adds take a
        // chunk of every pixel in registers beside the sums, so they pass over fewer pixels at a time.
        let pixels = (h + 2 * op.halo()) * (w + 2 * op.halo());
        let most = if compute == DType::F32 { MOST_SUMS / 2 } else { MOST_SUMS } * threads / first_n;
        let units = pixels.div_ceil(64);
        let fits = (most / 64).max(1);
        let first_m = units.div_ceil(units.div_ceil(fits)) * 64;
        if first_m * first_n / threads > MOST_SUMS {
            return None;
        }
        let stages = if target.arch >= 80 { 3 } else { 2 };
        let middle_chunks = stored_chunks(c_middle.next_multiple_of(second_k * chunk) / chunk);
        let tile = Tile {
            h,
            w,
            halo: op.halo(),
            parts_n,
            first_m,
            first_n,
            second_n,
            first_k,
            second_k,
            stages,
            middle_chunks,
        };
        // Two stages where three do not fit.
        [tile, Tile { stages: 2, ..tile }]
            .into_iter()
            .find(|t| t.shared_bytes() <= target.shared_bytes as usize)
    }

    /// Threads of a block.
    pub fn threads(&self) -> usize {
        128 * self.parts_n
    }

    /// Pixels of the middle map that a block computes.
    pub fn middle_pixels(&self) -> usize {
        (self.h + 2 * self.halo) * (self.w + 2 * self.halo)
    }

    /// Blocks that cover `map`.
    pub fn blocks(&self, map: Shape) -> usize {
        map.n * map.h.div_ceil(self.h) * map.w.div_ceil(self.w)
    }

    /// Bytes of shared memory: the middle map, and the stages of whichever product takes more.
    pub fn shared_bytes(&self) -> usize {
        let stage = ((self.first_m + self.first_n) * self.first_k).max(self.second_n * self.second_k);
        (self.middle_pixels() * self.middle_chunks + self.stages * stage) * 16
    }

    /// Multiply-adds of the busiest multiprocessor.
    fn time(&self, x: Shape, first: Shape, second: Shape, compute: DType, target: &Target) -> f64 {
        let depth = |weight: Shape, k: usize| {
            weight.h * weight.w * weight.c.next_multiple_of(k * 16 / compute.size())
        };
        let rows = self.middle_pixels().next_multiple_of(self.first_m);
        let products = rows * self.first_n * depth(first, self.first_k)
            + self.h * self.w * self.second_n * depth(second, self.second_k);
        let share = self.blocks(x).div_ceil(target.multiprocessors.max(1) as usize);
        let alone = share < 2 || 2 * self.shared_bytes() > target.shared_bytes as usize;
        products as f64 * share as f64 * if alone { 4.0 / 3.0 } else { 1.0 }
    }
}
