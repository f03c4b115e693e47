//! CIoU on a CUDA device: a thread a row.

use super::EPSILON;
use crate::Result;
use crate::ops::matches::cuda::table;
use crate::runtime::cuda::{DeviceView, Launch, Operands};

const FILE: &str = "ciou.cu";

/// One warp: rows are few, and their f64 is spread over as many multiprocessors as there are.
const THREADS: usize = 32;

fn specialise(launch: Launch, x: DeviceView, y: DeviceView) -> Launch {
    launch
        .define("EPSILON", EPSILON)
        .define("X_TYPE", x.dtype)
        .define("X_STRIDE", x.pixel_stride)
        .define("X_PACK", x.pack())
        .define("Y_TYPE", y.dtype)
        .define("Y_STRIDE", y.pixel_stride)
        .block(THREADS)
        .cover(x.shape.pixels())
        .view(x)
}

pub(super) fn forward(operands: &Operands) -> Result<Vec<Launch>> {
    let (x, y) = (operands.input(0), operands.outputs[0]);
    let launch = specialise(Launch::new(FILE, "ciou_forward"), x, y);
    let launch = table(launch, operands.input(1))?.int(x.shape.pixels()).view(y).address(operands.status);
    Ok(vec![launch])
}

pub(super) fn backward(detach_alpha: bool, operands: &Operands) -> Result<Vec<Launch>> {
    let (x, dy, dx) = (operands.input(0), operands.input(2), operands.outputs[0]);
    let launch = specialise(Launch::new(FILE, "ciou_gradient"), x, dx)
        .define("Y_PACK", dx.pack())
        .define("DY_TYPE", dy.dtype)
        .define("DY_STRIDE", dy.pixel_stride)
        .define("DETACH_ALPHA", detach_alpha);
    let launch =
        table(launch, operands.input(1))?.view(dy).int(x.shape.pixels()).view(dx).address(operands.status);
    Ok(vec![launch])
}
