//! The launch of an input gradient: a matrix product a phase (`kernels/conv_input_gradient.cu`), or sums a
//! channel where the convolution is depth-wise (`kernels/conv_depthwise_input_gradient.cu`).

use super::product::{Product, chunk, compute_type};
use super::{define_geometry, group_pack, is_depthwise};
use crate::ops::TileChoice;
use crate::ops::conv::ConvInputGradient;
use crate::runtime::cuda::{DeviceView, Launch, Operands, Target};
use crate::tensor::Shape;

/// Pixels of a thread of the depth-wise kernel, over which the weight's way to shared memory is spread.
const DEPTHWISE_PIXELS: usize = 4;

/// The launch.
pub(in super::super) fn launch(op: &ConvInputGradient, operands: &Operands, target: &Target) -> Launch {
    let (dy, w, dx) = (operands.input(0), operands.input(1), operands.outputs[0]);
    let into = if op.accumulate { operands.input_or(2, 0) } else { dx };
    let launch = match is_depthwise(&op.geometry, w.shape) {
        true => depthwise(op, dy, into, dx),
        false => product(op, dy, w, into, dx, target),
    };
    define_geometry(launch, &op.geometry)
        .define("DY_TYPE", dy.dtype)
        .define("W_TYPE", w.dtype)
        .define("INTO_TYPE", into.dtype)
        .define("DX_TYPE", dx.dtype)
        .define("ACCUMULATE", op.accumulate)
        .view(dy)
        .view(w)
        .view(into)
        .view(dx)
        .int(dy.pixel_stride)
        .int(into.pixel_stride)
        .int(dx.pixel_stride)
        .int(dx.shape.n)
        .int(dx.shape.h)
        .int(dx.shape.w)
        .int(dy.shape.h)
        .int(dy.shape.w)
}

/// How many phases there are, and the pixels of the largest, which is the first.
fn phases(op: &ConvInputGradient) -> (usize, usize) {
    let [down, right] = op.geometry.stride;
    (down * right, op.input.n * op.input.h.div_ceil(down) * op.input.w.div_ceil(right))
}

/// The kernel file of the product.
const FILES: &[&str] = &["conv_input_gradient.cu"];

/// The product of `op` by a weight of shape `w`.
fn product_of(op: &ConvInputGradient, w: Shape, target: &Target) -> Product {
    let (phases, pixels) = phases(op);
    let count = phases * op.geometry.groups;
    Product { m: pixels, n: w.c, count, split: false, compute: compute_type(target) }
}

/// As [`crate::ops::Op::cuda_tiles`].
pub(in super::super) fn tiles(op: &ConvInputGradient, w: Shape, target: &Target) -> Option<TileChoice> {
    match is_depthwise(&op.geometry, w) {
        true => None,
        false => product_of(op, w, target).choice(target, FILES),
    }
}

fn product(
    op: &ConvInputGradient,
    dy: DeviceView,
    w: DeviceView,
    into: DeviceView,
    dx: DeviceView,
    target: &Target,
) -> Launch {
    let (groups, compute) = (op.geometry.groups, compute_type(target));
    let (group_in, group_out) = (w.shape.c, w.shape.n / groups);
    let (chunk_dy, chunk_w) = (chunk(compute, group_out), chunk(compute, group_in));
    let product = product_of(op, w.shape, target);
    let Product { m, n, count, .. } = product;
    let tile = product.tile(op.tile.as_deref(), target);
    let launch = Launch::new("conv_input_gradient.cu", "conv_input_gradient")
        .define("GROUPS", groups)
        .define("GROUP_IN", group_in)
        .define("GROUP_OUT", group_out)
        .define("CHUNK_DY", chunk_dy)
        .define("PACK_DY", group_pack(dy, group_out).min(chunk_dy))
        .define("CHUNK_W", chunk_w)
        .define("PACK_W", group_pack(w, group_in).min(chunk_w))
        .define("PACK_DX", group_pack(dx, group_in).min(group_pack(into, group_in)).min(4));
    tile.define(launch, compute, false).grid(m.div_ceil(tile.m), n.div_ceil(tile.n), count)
}

fn depthwise(op: &ConvInputGradient, dy: DeviceView, into: DeviceView, dx: DeviceView) -> Launch {
    let (phases, pixels) = phases(op);
    let pack = dy.pack().min(dx.pack()).min(into.pack()).min(4);
    // At most 128 channels of at most `DEPTHWISE_TAPS` taps lie in shared memory.
    let lanes = op.input.c.div_ceil(pack).next_power_of_two().min(32);
    let block_pixels = 256 / lanes * DEPTHWISE_PIXELS;
    Launch::new("conv_depthwise_input_gradient.cu", "conv_depthwise_input_gradient")
        .define("CHANNELS", op.input.c)
        .define("PACK", pack)
        .define("LANES", lanes)
        .define("PIXELS", DEPTHWISE_PIXELS)
        .block(256)
        .grid(pixels.div_ceil(block_pixels), op.input.c.div_ceil(lanes * pack), phases)
}
