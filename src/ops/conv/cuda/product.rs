//! Which tiles a gradient's matrix product is made of: the specialisations of
//! `kernels/common/tile_product.cuh`, and the choice among them.

use std::fmt;

use crate::ops::TileChoice;
use crate::runtime::cuda::{Launch, Target};
use crate::tensor::DType;

/// The most dynamic shared memory that a block asks for: what every architecture gives without being asked
/// for more, less what a kernel declares by itself.
const SHARED_BYTES: usize = 47 << 10;

/// What a tile's loads cost beside its products: a row or column of the tile counts as so many multiply-adds
/// a step of k.
const LOAD_COST: usize = 32;

/// A specialisation of `TileProduct`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProductTile {
    /// Rows of the tile.
    pub m: usize,
    /// Columns of the tile.
    pub n: usize,
    /// How much of the sum one stage holds.
    pub k: usize,
    /// Warps (tensor cores) or threads (multiply-adds) along m and n.
    pub parts: [usize; 2],
}

impl fmt::Display for ProductTile {
    /// The name that tells it from others.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProductTile { m, n, k, parts: [parts_m, parts_n] } = self;
        write!(f, "{m}x{n}x{k}, {parts_m}x{parts_n} parts")
    }
}

const fn tile(m: usize, n: usize, k: usize, parts: [usize; 2]) -> ProductTile {
    ProductTile { m, n, k, parts }
}

/// For tensor cores: a warp has 64×32 in the largest, where it reads the least from shared memory for its
/// products, else 32×32 or 32×16, which leaves room in the registers for more blocks at a time.
const TENSOR_CORES: [ProductTile; 7] = [
    tile(128, 128, 32, [2, 4]),
    tile(128, 64, 32, [4, 2]),
    tile(64, 128, 32, [2, 4]),
    tile(128, 32, 32, [4, 1]),
    tile(32, 128, 32, [1, 4]),
    tile(64, 64, 32, [2, 2]),
    tile(64, 32, 32, [2, 2]),
];

/// For multiply-adds: a thread has 8×4 or 4×4.
const MULTIPLY_ADDS: [ProductTile; 5] = [
    tile(128, 64, 8, [16, 16]),
    tile(128, 32, 8, [32, 8]),
    tile(32, 128, 8, [8, 32]),
    tile(64, 64, 16, [16, 16]),
    tile(32, 32, 16, [8, 8]),
];

/// A matrix product, or several of one size: `sum[m, n] = Σ_k a · b`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    /// Rows.
    pub m: usize,
    /// Columns.
    pub n: usize,
    /// How many products of this size the launch has.
    pub count: usize,
    /// Whether k is split as far as it takes to fill the device.
    pub split: bool,
    /// The type that is multiplied.
    pub compute: DType,
}

impl Product {
    /// The tiles that can be taken.
    pub fn candidates(&self) -> &'static [ProductTile] {
        if self.compute == DType::F32 { &MULTIPLY_ADDS } else { &TENSOR_CORES }
    }

    /// The tile of that name, or else the [usual](Product::usual) one.
    pub fn tile(&self, name: Option<&str>, target: &Target) -> ProductTile {
        let named = name.and_then(|name| self.candidates().iter().find(|tile| tile.to_string() == name));
        named.copied().unwrap_or_else(|| self.usual(target))
    }

    /// All of them, to be measured.
    pub fn choice(&self, target: &Target, files: &'static [&'static str]) -> Option<TileChoice> {
        TileChoice::new(self.candidates(), &self.usual(target), files)
    }

    /// The tile whose blocks take the least time, by how often every multiprocessor gets one and by what a
    /// block multiplies and loads in a step.
    pub fn usual(&self, target: &Target) -> ProductTile {
        let tiles = self.candidates();
        let cost = |tile: &ProductTile| {
            let blocks = self.blocks(tile);
            let device = (target.multiprocessors as usize).max(1);
            let rounds = if self.split { blocks } else { blocks.div_ceil(device) };
            rounds * (tile.m * tile.n + LOAD_COST * (tile.m + tile.n))
        };
        // The first of equals, which is the larger one.
        tiles.iter().copied().min_by_key(cost).unwrap_or(tiles[0])
    }

    /// How many tiles cover the products.
    pub fn blocks(&self, tile: &ProductTile) -> usize {
        self.m.div_ceil(tile.m) * self.n.div_ceil(tile.n) * self.count
    }
}

impl ProductTile {
    /// Threads of a block.
    pub fn threads(&self, compute: DType) -> usize {
        self.parts[0] * self.parts[1] * if compute == DType::F32 { 1 } else { 32 }
    }

    /// Specialises a launch: the macros of `TileProduct` and `run_pipeline`, the block and its memory.
    /// `a_k_rows` says how the kernel lays out A; B always has k along its rows.
    pub fn define(&self, launch: Launch, compute: DType, a_k_rows: bool) -> Launch {
        let (stage, scratch) = self.shared(compute, a_k_rows);
        let stages = (SHARED_BYTES / stage).clamp(2, 3);
        launch
            .define("COMPUTE_TYPE", compute)
            .define("TILE_M", self.m)
            .define("TILE_N", self.n)
            .define("TILE_K", self.k)
            .define("PARTS_M", self.parts[0])
            .define("PARTS_N", self.parts[1])
            .define("STAGES", stages)
            .block(self.threads(compute))
            .shared((stage * stages).max(scratch))
    }

    /// Bytes of one stage and of the scratch memory, as `TileProduct` counts them.
    fn shared(&self, compute: DType, a_k_rows: bool) -> (usize, usize) {
        let k_rows = |length: usize| self.k * (length + if compute == DType::F32 { 0 } else { 8 });
        let k_columns = |length: usize| length * (self.k + if compute == DType::F32 { 4 } else { 8 });
        let a = if a_k_rows { k_rows(self.m) } else { k_columns(self.m) };
        let stage = (a + k_rows(self.n)) * compute.size();
        let scratch = self.parts[0] * self.parts[1] * 16 * (self.n / self.parts[1] + 8) * 4;
        (stage, if compute == DType::F32 { 0 } else { scratch })
    }
}

/// The type that maps of `target` are multiplied in: their own where tensor cores take it, else f32.
pub(super) fn compute_type(target: &Target) -> DType {
    if target.has_tensor_cores(target.map) { target.map } else { DType::F32 }
}

/// Elements that are loaded into a tile together. Channels are padded to a multiple of it, so it is halved
/// where that pads less.
pub(super) fn chunk(compute: DType, channels: usize) -> usize {
    let half = channels.next_multiple_of(4) < channels.next_multiple_of(8);
    if compute == DType::F32 || half { 4 } else { 8 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ops::conv::cases;
    use crate::runtime::cuda::{DeviceView, Operands};
    use crate::tensor::Shape;

    const TARGET: Target =
        Target { arch: 80, multiprocessors: 108, shared_bytes: 160 << 10, map: DType::Bf16 };

    /// What the kernels assert when they are compiled, and what every launch of them needs.
    #[test]
    fn every_tile_is_a_kernel() {
        for compute in [DType::F32, DType::F16] {
            let tiles: &[ProductTile] = if compute == DType::F32 { &MULTIPLY_ADDS } else { &TENSOR_CORES };
            for tile in tiles {
                let threads = tile.threads(compute);
                assert!(threads <= 256, "{tile:?}");
                let (rows, columns) = (tile.m / tile.parts[0], tile.n / tile.parts[1]);
                let fragment = if compute == DType::F32 { 4 } else { 16 };
                assert!(
                    rows % fragment == 0 && columns % fragment == 0 && tile.k % fragment.min(tile.k) == 0
                );
                for chunk in if compute == DType::F32 { [4, 4] } else { [4, 8] } {
                    for (rows, columns) in [(tile.k, tile.m), (tile.k, tile.n), (tile.m, tile.k)] {
                        assert_eq!(threads % (columns / chunk), 0, "{tile:?}");
                        assert_eq!(rows % (threads / (columns / chunk)).min(rows), 0, "{tile:?}");
                    }
                }
                for a_k_rows in [false, true] {
                    let (stage, scratch) = tile.shared(compute, a_k_rows);
                    assert!(2 * stage <= SHARED_BYTES && scratch <= SHARED_BYTES, "{tile:?}");
                }
            }
        }
    }

    /// No tile goes untested for want of a case that it is chosen for, on as small a device as the emulator's.
    #[test]
    fn cases_reach_every_tile() {
        for map in [DType::F32, DType::F16] {
            let target = Target { multiprocessors: 4, map, ..TARGET };
            let view = |shape: &Shape, dtype| {
                Some(DeviceView { address: 256, shape: *shape, pixel_stride: shape.c, dtype })
            };
            let mut reached = BTreeSet::new();
            for case in cases::cases() {
                let outputs = case.output_shapes().unwrap();
                let operands = Operands {
                    inputs: case.shapes.iter().map(|shape| view(shape, map)).collect(),
                    outputs: outputs.iter().filter_map(|shape| view(shape, DType::F32)).collect(),
                    workspace: 256,
                    status: 256,
                };
                for launch in case.op.cuda(&operands, &target).unwrap() {
                    let of = |name: &str| launch.kernel.defines.get(name).cloned().unwrap_or_default();
                    reached.insert((launch.kernel.file, of("TILE_M"), of("TILE_N"), of("TILE_K")));
                }
            }
            let tiles: &[ProductTile] = if map == DType::F32 { &MULTIPLY_ADDS } else { &TENSOR_CORES };
            for tile in tiles {
                for file in ["conv_input_gradient.cu", "conv_weight_gradient.cu"] {
                    let [m, n, k] = [tile.m, tile.n, tile.k].map(|size| size.to_string());
                    assert!(reached.contains(&(file, m, n, k)), "{file} {tile:?} {map}");
                }
            }
        }
    }

    #[test]
    fn narrow_products_have_narrow_tiles() {
        let product = Product { m: 100_000, n: 32, count: 1, split: false, compute: DType::Bf16 };
        assert_eq!(product.usual(&TARGET), tile(128, 32, 32, [4, 1]));
        let product = Product { m: 32, n: 288, count: 1, split: true, ..product };
        assert_eq!(product.usual(&TARGET).m, 32);
        let product = Product { m: 512, n: 4608, count: 1, split: true, ..product };
        assert_eq!(product.usual(&TARGET), tile(128, 128, 32, [2, 4]));
    }

    #[test]
    fn chunks_pad_little() {
        let of = |channels| chunk(DType::F16, channels);
        assert_eq!([3, 8, 12, 33, 64].map(of), [4, 8, 4, 4, 8]);
        assert_eq!(chunk(DType::F32, 64), 4);
    }
}
