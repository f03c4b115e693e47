//! The mean over matches on a CUDA device.

use super::MatchedMean;
use crate::Result;
use crate::ops::matches::cuda::{COUNT_ROWS, Mean, count, count_workspace, table};
use crate::runtime::cuda::{Launch, Operands};

const FILE: &str = "matched_mean.cu";

fn blocks(capacity: usize) -> usize {
    capacity.div_ceil(COUNT_ROWS).max(1)
}

pub(super) fn workspace(capacity: usize) -> usize {
    Mean::workspace(blocks(capacity))
}

pub(super) fn forward(op: &MatchedMean, operands: &Operands) -> Result<Vec<Launch>> {
    let (x, y) = (operands.input(0), operands.outputs[0].expect_f32()?);
    let capacity = x.shape.pixels();
    let mean = Mean::new(blocks(capacity), operands.workspace);
    let launch = Launch::new(FILE, "matched_mean_forward")
        .define("X_TYPE", x.dtype)
        .define("X_STRIDE", x.pixel_stride)
        .grid(mean.blocks, 1, 1)
        .view(x);
    let launch = table(launch, operands.input(1))?
        .int(capacity)
        .float(op.scale)
        .float(op.offset)
        .view(y)
        .address(mean.sums)
        .address(mean.counts)
        .address(operands.status);
    Ok(mean.finish(launch, 1, y))
}

pub(super) fn backward_workspace(capacity: usize) -> usize {
    count_workspace(capacity)
}

pub(super) fn backward(scale: f64, operands: &Operands) -> Result<Vec<Launch>> {
    let (matches, dy) = (operands.input(0), operands.input(1).expect_f32()?);
    let (dx, capacity) = (operands.outputs[0], matches.shape.pixels());
    let launch = Launch::new(FILE, "matched_mean_gradient")
        .define("Y_TYPE", dx.dtype)
        .define("Y_STRIDE", dx.pixel_stride)
        .cover(capacity);
    let launch = table(launch, matches)?
        .address(operands.workspace)
        .view(dy)
        .int(capacity)
        .float(scale)
        .view(dx)
        .address(operands.status);
    Ok(vec![count(matches, operands.workspace)?, launch])
}
