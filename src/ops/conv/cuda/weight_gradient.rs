//! The launches of a weight gradient: a matrix product split over pixels (`kernels/conv_weight_gradient.cu`),
//! or sums a channel where the convolution is depth-wise (`kernels/conv_depthwise_weight_gradient.cu`).

use super::product::{Product, ProductTile, chunk, compute_type};
use super::{define_geometry, group_pack, is_depthwise};
use crate::ops::TileChoice;
use crate::ops::channel_sum::cuda::partial_sums;
use crate::ops::conv::ConvWeightGradient;
use crate::runtime::Activation;
use crate::runtime::cuda::{DeviceView, Launch, Operands, Target};
use crate::tensor::{DType, Shape};

/// The most pixels that one f32 sum runs over before it is added to others: what keeps rounding small
/// where a map is large and its weight small.
const SPLIT_PIXELS: usize = 8192;

/// The fewest steps of a product, or pixels of a thread, that are worth a block of their own.
const SPLIT_STEPS: usize = 8;

/// The largest grid along z.
const GRID_Z: usize = 65535;

/// How the sum over pixels is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Split {
    /// Pixels of one part.
    pixels: usize,
    /// Parts.
    count: usize,
}

impl Split {
    /// Splits `pixels` into about `fill` parts, each a multiple of `step` and at least `least` steps long.
    fn new(pixels: usize, fill: usize, step: usize, least: usize, most_parts: usize) -> Self {
        let parts = fill.min(pixels.div_ceil(step * least)).max(pixels.div_ceil(SPLIT_PIXELS));
        let pixels_each = pixels.div_ceil(parts.clamp(1, most_parts.max(1))).next_multiple_of(step).max(step);
        Split { pixels: pixels_each, count: pixels.div_ceil(pixels_each).max(1) }
    }

    /// Bytes of partial sums of `weight`: none where there is one part, which is the sum.
    fn workspace(&self, weight: Shape) -> usize {
        if self.count == 1 { 0 } else { self.count * weight.elements() * 4 }
    }
}

/// The kernel files of the product.
const FILES: &[&str] = &["conv_weight_gradient.cu", "column_sum.cu"];

/// The product of `op`.
fn product_of(op: &ConvWeightGradient, target: &Target) -> Product {
    let (groups, compute) = (op.geometry.groups, compute_type(target));
    let padded_in = op.weight.c.next_multiple_of(chunk(compute, op.weight.c));
    let (m, n) = (op.weight.n / groups, op.weight.h * op.weight.w * padded_in);
    Product { m, n, count: groups, split: true, compute }
}

/// As [`crate::ops::Op::cuda_tiles`]: with the tile goes how far the sum is split, and so the workspace.
pub(in super::super) fn tiles(op: &ConvWeightGradient, target: &Target) -> Option<TileChoice> {
    match is_depthwise(&op.geometry, op.weight) {
        true => None,
        false => product_of(op, target).choice(target, FILES),
    }
}

/// The tile of a weight gradient, and its split. Of shapes alone: the workspace is planned before anything
/// has an address.
fn plan(op: &ConvWeightGradient, dy: Shape, target: &Target) -> (ProductTile, Split) {
    let product = product_of(op, target);
    let tile = product.tile(op.tile.as_deref(), target);
    let fill = (2 * target.multiprocessors as usize).div_ceil(product.blocks(&tile).max(1));
    (tile, Split::new(dy.pixels(), fill, tile.k, SPLIT_STEPS, GRID_Z / op.geometry.groups))
}

/// The split of a depth-wise one: over input pixels.
fn depthwise_split(op: &ConvWeightGradient, x: Shape, target: &Target) -> Split {
    let fill = (2 * target.multiprocessors as usize).div_ceil(op.weight.n.div_ceil(64));
    Split::new(x.pixels(), fill, 1, 32 * SPLIT_STEPS, GRID_Z)
}

/// Bytes of workspace.
pub(in super::super) fn workspace(op: &ConvWeightGradient, x: Shape, dy: Shape, target: &Target) -> usize {
    let split = match is_depthwise(&op.geometry, op.weight) {
        true => depthwise_split(op, x, target),
        false => plan(op, dy, target).1,
    };
    split.workspace(op.weight)
}

/// The launches.
pub(in super::super) fn launches(
    op: &ConvWeightGradient,
    operands: &Operands,
    target: &Target,
) -> Vec<Launch> {
    let (x, dy, dw) = (operands.input(0), operands.input(1), operands.outputs[0]);
    let affine = op.prologue.map(|_| operands.input(2));
    let (launch, split) = match is_depthwise(&op.geometry, op.weight) {
        true => depthwise(op, x, dy, target),
        false => product(op, x, dy, dw, target),
    };
    let partial = if split.count == 1 { dw.address } else { operands.workspace };
    let sum = define_geometry(launch, &op.geometry)
        .define("X_TYPE", x.dtype)
        .define("DY_TYPE", dy.dtype)
        .define("PROLOGUE", op.prologue.is_some())
        .define("ACTIVATION", op.prologue.unwrap_or(Activation::Linear))
        .view(x)
        .view(dy)
        .address(affine.map_or(0, |view| view.address))
        .address(partial)
        .int(x.pixel_stride)
        .int(dy.pixel_stride)
        .int(x.shape.h)
        .int(x.shape.w)
        .int(dy.shape.h)
        .int(dy.shape.w)
        .int(if is_depthwise(&op.geometry, op.weight) { x.shape.pixels() } else { dy.shape.pixels() })
        .int(split.pixels);
    let second =
        (split.count > 1).then(|| partial_sums(partial, split.count, op.weight.elements(), dw.address));
    [sum].into_iter().chain(second).collect()
}

/// The product's launch, but for what both kinds have.
fn product(
    op: &ConvWeightGradient,
    x: DeviceView,
    dy: DeviceView,
    dw: DeviceView,
    target: &Target,
) -> (Launch, Split) {
    let (groups, compute) = (op.geometry.groups, compute_type(target));
    let (group_in, group_out) = (op.weight.c, op.weight.n / groups);
    let (chunk_x, chunk_dy) = (chunk(compute, group_in), chunk(compute, group_out));
    let (tile, split) = plan(op, dy.shape, target);
    let columns = op.weight.h * op.weight.w * group_in.next_multiple_of(chunk_x);
    // Partial sums begin at multiples of the weight's elements.
    let pack_dw = group_pack(DeviceView { dtype: DType::F32, ..dw }, group_in).min(4);
    let launch = Launch::new("conv_weight_gradient.cu", "conv_weight_gradient")
        .define("GROUPS", groups)
        .define("GROUP_IN", group_in)
        .define("GROUP_OUT", group_out)
        .define("CHUNK_X", chunk_x)
        .define("PACK_X", group_pack(x, group_in).min(chunk_x))
        .define("CHUNK_DY", chunk_dy)
        .define("PACK_DY", group_pack(dy, group_out).min(chunk_dy))
        .define("PACK_DW", pack_dw);
    let grid = [columns.div_ceil(tile.n), group_out.div_ceil(tile.m), split.count * groups];
    (tile.define(launch, compute, true).grid(grid[0], grid[1], grid[2]), split)
}

/// The depth-wise launch, but for what both kinds have.
fn depthwise(op: &ConvWeightGradient, x: DeviceView, dy: DeviceView, target: &Target) -> (Launch, Split) {
    let channels = op.weight.n;
    let split = depthwise_split(op, x.shape, target);
    // A thread's sums, one a tap and channel, are to stay within some 50 registers.
    let tap_rows = if op.weight.h * op.weight.w <= 50 { op.weight.h } else { 1 };
    let mut pack = x.pack().min(dy.pack()).min(4);
    while pack > 1 && tap_rows * op.weight.w * pack > 50 {
        pack /= 2;
    }
    let lanes = channels.div_ceil(pack).next_power_of_two().min(32);
    let launch = Launch::new("conv_depthwise_weight_gradient.cu", "conv_depthwise_weight_gradient")
        .define("CHANNELS", channels)
        .define("PACK", pack)
        .define("LANES", lanes)
        .define("TAP_ROWS", tap_rows)
        .block(256)
        .grid(channels.div_ceil(lanes * pack), split.count, op.weight.h / tap_rows);
    (launch, split)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pixel is in one part, and no part is longer than it may be.
    #[test]
    fn splits_cover_the_pixels() {
        for pixels in [0, 1, 31, 33, 1000, 100_000, 8 * 416 * 416] {
            for (fill, step) in [(1, 8), (7, 32), (264, 1)] {
                let split = Split::new(pixels, fill, step, 8, 65535);
                assert!(split.pixels * split.count >= pixels && split.pixels.is_multiple_of(step));
                assert!(pixels == 0 || split.pixels * (split.count - 1) < pixels, "an empty part");
                assert!(split.pixels <= SPLIT_PIXELS + step, "{split:?}");
            }
        }
        assert_eq!(Split::new(1000, 1, 32, 8, 65535), Split { pixels: 1024, count: 1 });
    }
}
