//! The launches of `kernels/csp_split.cu` and, for the batch statistics, `conv_statistics.cu`.

use std::fmt;

use super::SplitConv;
use crate::ops::TileChoice;
use crate::ops::conv::cuda::compute_type;
use crate::runtime::Activation;
use crate::runtime::cuda::{DeviceView, Launch, Operands, Target};
use crate::tensor::{DType, Shape};
use crate::{Error, Result};

/// How the product is cut: as `csp_split.cu` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tile {
    /// Pixels of a block.
    m: usize,
    /// Columns of a block: channels of branches side by side.
    n: usize,
    /// Chunks of 16 bytes of a K tile.
    k: usize,
    /// Warps along the columns; there are 4 along the pixels.
    parts_n: usize,
    /// Tiles of columns.
    columns: usize,
    /// The first column of each branch.
    starts: Vec<usize>,
}

impl Tile {
    /// The tiles that can be taken, the usual one first.
    fn candidates(x: Shape, outputs: &[Shape], target: &Target) -> Vec<Self> {
        let compute = compute_type(target);
        // A run of channels that one thread stores, at most 8, lies in one branch.
        let mut starts = Vec::with_capacity(outputs.len());
        let mut total = 0;
        for y in outputs {
            starts.push(total);
            total += y.c.next_multiple_of(8);
        }
        let parts_n = if total <= 16 { 1 } else { 2 };
        let columns = total.div_ceil(128);
        let n = total.div_ceil(columns).next_multiple_of(16 * parts_n);
        let chunk = 16 / compute.size();
        let k = if x.c.is_multiple_of(4 * chunk) { 4 } else { 2 };
        // 64 sums a thread at most for multiply-adds, whose fragments take more registers; and as many blocks
        // as fill the device, where there are pixels for them.
        let wide = compute == DType::F32 && n > 64;
        let few = x.pixels().div_ceil(128) * columns < target.multiprocessors as usize;
        let pixels: &[usize] = match (wide, few) {
            (true, _) => &[64],
            (false, true) => &[64, 128],
            (false, false) => &[128, 64],
        };
        let tile = |&m: &usize| Tile { m, n, k, parts_n, columns, starts: starts.clone() };
        pixels.iter().map(tile).collect()
    }

    fn shared_bytes(&self, stages: usize) -> usize {
        // The statistics need 5 floats a column, which is less.
        stages * (self.m + self.n) * self.k * 16
    }

    /// Tiles of pixels, each of which has partial statistics.
    fn pixel_tiles(&self, x: Shape) -> usize {
        x.pixels().div_ceil(self.m)
    }
}

impl fmt::Display for Tile {
    /// The name that tells it from others.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.m, self.n)
    }
}

/// Bytes of a branch's partial statistics.
fn partial_bytes(tiles: usize, channels: usize) -> usize {
    tiles * (2 * channels + 1) * DType::F32.size()
}

/// The kernel files.
const FILES: &[&str] = &["csp_split.cu", "conv_statistics.cu"];

impl SplitConv {
    /// The tile that it names, or else the usual one.
    fn tile(&self, x: Shape, outputs: &[Shape], target: &Target) -> Tile {
        let mut candidates = Tile::candidates(x, outputs, target);
        let named = candidates.iter().position(|tile| self.tile.as_ref() == Some(&tile.to_string()));
        candidates.swap_remove(named.unwrap_or(0))
    }

    /// As [`crate::ops::Op::cuda_tiles`].
    pub(super) fn tiles(&self, x: Shape, outputs: &[Shape], target: &Target) -> Option<TileChoice> {
        let candidates = Tile::candidates(x, outputs, target);
        TileChoice::new(&candidates, candidates.first()?, FILES)
    }

    pub(super) fn device_workspace(&self, x: Shape, outputs: &[Shape], target: &Target) -> usize {
        if !self.conv.statistics {
            return 0;
        }
        let tiles = self.tile(x, outputs, target).pixel_tiles(x);
        outputs.iter().map(|y| partial_bytes(tiles, y.c)).sum()
    }

    pub(super) fn launches(&self, operands: &Operands, target: &Target) -> Result<Vec<Launch>> {
        let x = operands.input(0);
        let affine = self.affine().map(|index| operands.input(index));
        let weights: Vec<DeviceView> =
            (0..self.branches).map(|branch| operands.input(self.weight(branch))).collect();
        let (outputs, statistics) = operands.outputs.split_at(self.branches);
        let (weight_type, y_type) = (weights[0].dtype, outputs[0].dtype);
        if weights.iter().any(|w| w.dtype != weight_type) || outputs.iter().any(|y| y.dtype != y_type) {
            return Err(Error::internal("the branches are not stored alike").in_op("split conv"));
        }
        let compute = compute_type(target);
        let shapes: Vec<Shape> = outputs.iter().map(|y| y.shape).collect();
        let tile = self.tile(x.shape, &shapes, target);
        let pack = |views: &[DeviceView]| views.iter().map(DeviceView::pack).min().unwrap_or(1);
        let chunk = 16 / compute.size();
        // Three stages are worth their memory where copies run ahead by themselves.
        let ahead = target.arch >= 80 && affine.is_none() && x.dtype == compute && weight_type == compute;
        let stages = if ahead { 3 } else { 2 };
        let tiles = tile.pixel_tiles(x.shape);

        let mut launch = Launch::new("csp_split.cu", "csp_split")
            .block(128 * tile.parts_n)
            .grid(tiles * tile.columns, 1, 1)
            .shared(tile.shared_bytes(stages))
            .define("BRANCHES", self.branches)
            .define("C_IN", x.shape.c)
            .define("COLUMN_TILES", tile.columns)
            .define("TILE_M", tile.m)
            .define("TILE_N", tile.n)
            .define("TILE_K", tile.k)
            .define("PARTS_N", tile.parts_n)
            .define("STAGES", stages)
            .define("COMPUTE_TYPE", compute)
            .define("X_TYPE", x.dtype)
            .define("X_PACK", x.pack().min(chunk))
            .define("WEIGHT_TYPE", weight_type)
            .define("WEIGHT_PACK", pack(&weights).min(chunk))
            .define("Y_TYPE", y_type)
            .define("Y_PACK", pack(outputs))
            .define("PROLOGUE", affine.is_some())
            .define("PROLOGUE_ACTIVATION", self.conv.prologue.unwrap_or(Activation::Linear))
            .define("BIAS", self.conv.bias)
            .define("ACTIVATION", self.conv.activation)
            .define("STATISTICS", self.conv.statistics)
            .view(x)
            .address(affine.map_or(0, |a| a.address))
            .int(x.pixel_stride)
            .int(x.shape.pixels());
        let mut merges = Vec::new();
        let mut partials = operands.workspace;
        for (branch, y) in outputs.iter().enumerate() {
            let (channels, start) = BRANCH[branch];
            let bias = if self.conv.bias { operands.input(self.weight(branch) + 1).address } else { 0 };
            launch = launch
                .define(channels, y.shape.c)
                .define(start, tile.starts[branch])
                .view(weights[branch])
                .address(bias)
                .view(*y)
                .address(if self.conv.statistics { partials } else { 0 })
                .int(y.pixel_stride);
            if let Some(into) = statistics.get(branch) {
                let merge = Launch::new("conv_statistics.cu", "conv_statistics")
                    .grid(y.shape.c.div_ceil(8), 1, 1)
                    .address(partials)
                    .view(*into)
                    .int(tiles)
                    .int(y.shape.c)
                    .int(x.shape.pixels());
                merges.push(merge);
                partials += partial_bytes(tiles, y.shape.c) as u64;
            }
        }
        Ok([vec![launch], merges].concat())
    }
}

/// The macros of each branch: its channels and its first column.
const BRANCH: [(&str, &str); SplitConv::MOST] = [
    ("CHANNELS_0", "START_0"),
    ("CHANNELS_1", "START_1"),
    ("CHANNELS_2", "START_2"),
    ("CHANNELS_3", "START_3"),
];
