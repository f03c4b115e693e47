//! Softmax cross entropy on a CUDA device: a warp a row.

use super::super::partial_sum;
use crate::Result;
use crate::runtime::cuda::{Launch, Operands};
use crate::tensor::Shape;

const FILE: &str = "softmax_cross_entropy.cu";
const ROWS_PER_BLOCK: usize = 8;

fn blocks(logits: Shape) -> usize {
    logits.n.div_ceil(ROWS_PER_BLOCK).max(1)
}

pub(super) fn workspace(logits: Shape) -> usize {
    partial_sum::workspace(blocks(logits))
}

pub(super) fn forward(operands: &Operands) -> Result<Vec<Launch>> {
    let (x, labels) = (operands.input(0), operands.input(1).expect_f32()?);
    let (rows, y) = (x.shape.n, operands.outputs[0].expect_f32()?);
    let sums = partial_sum::sums(operands, blocks(x.shape), 1.0 / rows as f64, y);
    let launch = Launch::new(FILE, "softmax_cross_entropy_forward")
        .define("X_TYPE", x.dtype)
        .define("X_STRIDE", x.pixel_stride)
        .define("LABEL_STRIDE", labels.pixel_stride)
        .define("CHANNELS", x.shape.c)
        .define("PACK", x.pack())
        .grid(blocks(x.shape), 1, 1)
        .view(x)
        .view(labels)
        .int(rows)
        .float(sums.factor)
        .address(sums.address)
        .address(operands.status);
    Ok([Some(launch), sums.finish].into_iter().flatten().collect())
}

pub(super) fn gradient(operands: &Operands) -> Result<Vec<Launch>> {
    let (x, labels) = (operands.input_or(0, 0), operands.input(1).expect_f32()?);
    let (dy, dx) = (operands.input(2).expect_f32()?, operands.outputs[0]);
    let rows = x.shape.n;
    let launch = Launch::new(FILE, "softmax_cross_entropy_gradient")
        .define("X_TYPE", x.dtype)
        .define("X_STRIDE", x.pixel_stride)
        .define("LABEL_STRIDE", labels.pixel_stride)
        .define("CHANNELS", x.shape.c)
        .define("PACK", x.pack().min(dx.pack()))
        .define("Y_TYPE", dx.dtype)
        .define("Y_STRIDE", dx.pixel_stride)
        .grid(blocks(x.shape), 1, 1)
        .view(x)
        .view(labels)
        .view(dy)
        .int(rows)
        .float(1.0 / rows as f64)
        .view(dx)
        .address(operands.status);
    Ok(vec![launch])
}
