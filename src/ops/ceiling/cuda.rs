//! The loops on a CUDA device.

use super::{ROWS_OUT, has_matrix_units};
use crate::runtime::cuda::{Launch, Operands, Target};

/// Threads of a block.
const THREADS: usize = 256;
/// Elements of one thread.
const CHAINS: usize = 8;
/// Pixels of one warp.
const TILE: usize = 16;
/// Threads of a warp.
const WARP: usize = 32;

pub(super) fn multiply_adds(operands: &Operands, turns: usize) -> Vec<Launch> {
    let (x, y) = (operands.input_or(0, 0), operands.outputs[0]);
    let elements = y.shape.elements();
    let launch = Launch::new("ceiling.cu", "multiply_adds")
        .define("X_TYPE", x.dtype)
        .define("Y_TYPE", y.dtype)
        .define("CHAINS", CHAINS)
        .block(THREADS)
        .cover(elements.div_ceil(CHAINS))
        .view(x)
        .int(x.pixel_stride)
        .view(y)
        .int(y.pixel_stride)
        .int(y.shape.c)
        .int(elements)
        .int(turns)
        .float(-1.0)
        .float(1.0);
    vec![launch]
}

pub(super) fn matrix_multiply_adds(operands: &Operands, target: &Target, turns: usize) -> Vec<Launch> {
    let (x, weight, y) = (operands.input(0), operands.input(1), operands.outputs[0]);
    let pixels = y.shape.pixels();
    let launch = |entry| Launch::new("ceiling.cu", entry).block(THREADS);
    let launch = if has_matrix_units(target) {
        launch("matrix_multiply_adds").define("MATH_TYPE", target.map).grid(
            pixels.div_ceil(TILE).div_ceil(THREADS / WARP),
            1,
            1,
        )
    } else {
        launch("plain_matrix_multiply_adds").cover(pixels * ROWS_OUT)
    };
    let launch = launch
        .define("X_TYPE", x.dtype)
        .define("Y_TYPE", y.dtype)
        .view(x)
        .int(x.pixel_stride)
        .view(weight)
        .view(y)
        .int(y.pixel_stride)
        .int(pixels)
        .int(turns);
    vec![launch]
}
