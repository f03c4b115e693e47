//! The class loss on a CUDA device.

use super::target;
use crate::Result;
use crate::ops::matches::cuda::{COUNT_ROWS, Mean, count, count_workspace, lanes, table};
use crate::runtime::cuda::{DeviceView, Launch, Operands};
use crate::tensor::Shape;

const FILE: &str = "class_loss.cu";
const THREADS: usize = 256;

/// Rows that a block has at a time.
fn rows_per_block(logits: Shape) -> usize {
    THREADS / lanes(logits.c)
}

/// A block has at most [`COUNT_ROWS`] rows, fewer where there are many classes.
fn blocks(logits: Shape) -> usize {
    let rows = (8 * rows_per_block(logits)).min(COUNT_ROWS);
    logits.pixels().div_ceil(rows).clamp(1, 1024)
}

pub(super) fn workspace(logits: Shape) -> usize {
    Mean::workspace(blocks(logits))
}

fn specialise(launch: Launch, x: DeviceView) -> Launch {
    launch
        .define("X_TYPE", x.dtype)
        .define("X_STRIDE", x.pixel_stride)
        .define("CLASSES", x.shape.c)
        .define("LANES", lanes(x.shape.c))
}

/// The targets of the object's class and of the others.
fn targets(label_smoothing: f64) -> [f64; 2] {
    [target(label_smoothing, 0, 0), target(label_smoothing, 0, 1)]
}

pub(super) fn forward(label_smoothing: f64, operands: &Operands) -> Result<Vec<Launch>> {
    let (x, y) = (operands.input(0), operands.outputs[0].expect_f32()?);
    let [on, off] = targets(label_smoothing);
    let mean = Mean::new(blocks(x.shape), operands.workspace);
    let launch = specialise(Launch::new(FILE, "class_loss_forward"), x).grid(mean.blocks, 1, 1).view(x);
    let launch = table(launch, operands.input(1))?
        .int(x.shape.pixels())
        .float(on)
        .float(off)
        .view(y)
        .address(mean.sums)
        .address(mean.counts)
        .address(operands.status);
    Ok(mean.finish(launch, x.shape.c, y))
}

pub(super) fn backward_workspace(logits: Shape) -> usize {
    count_workspace(logits.pixels())
}

pub(super) fn backward(label_smoothing: f64, operands: &Operands) -> Result<Vec<Launch>> {
    let (x, matches) = (operands.input(0), operands.input(1));
    let (dy, dx) = (operands.input(2).expect_f32()?, operands.outputs[0]);
    let ([on, off], capacity) = (targets(label_smoothing), x.shape.pixels());
    let launch = specialise(Launch::new(FILE, "class_loss_gradient"), x)
        .define("Y_TYPE", dx.dtype)
        .define("Y_STRIDE", dx.pixel_stride)
        .grid(capacity.div_ceil(rows_per_block(x.shape)).max(1), 1, 1)
        .view(x);
    let launch = table(launch, matches)?
        .address(operands.workspace)
        .view(dy)
        .int(capacity)
        .float(on)
        .float(off)
        .view(dx)
        .address(operands.status);
    Ok(vec![count(matches, operands.workspace)?, launch])
}
