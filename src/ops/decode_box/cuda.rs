//! Boxes on a CUDA device: a thread a row.

use super::Grid;
use crate::Result;
use crate::ops::matches::cuda::table;
use crate::runtime::cuda::{DeviceView, Launch, Operands};

const FILE: &str = "decode_box.cu";
const THREADS: usize = 128;

fn specialise(launch: Launch, grid: &Grid, x: DeviceView, y: DeviceView) -> Launch {
    // As C writes them: the shortest digits that give the same f32.
    let list =
        |side: usize| grid.anchors.iter().map(|a| format!("{:?}f", a[side])).collect::<Vec<_>>().join(",");
    launch
        .define("ANCHORS", grid.anchors.len())
        .define("ANCHOR_WIDTHS", list(0))
        .define("ANCHOR_HEIGHTS", list(1))
        .define("X_TYPE", x.dtype)
        .define("X_STRIDE", x.pixel_stride)
        .define("X_PACK", x.pack())
        .define("Y_TYPE", y.dtype)
        .define("Y_STRIDE", y.pixel_stride)
        .define("Y_PACK", y.pack())
        .block(THREADS)
        .cover(x.shape.pixels())
        .view(x)
}

pub(super) fn forward(grid: &Grid, operands: &Operands) -> Result<Vec<Launch>> {
    let (x, y) = (operands.input(0), operands.outputs[0]);
    let launch = specialise(Launch::new(FILE, "decode_box_forward"), grid, x, y);
    let launch = table(launch, operands.input(1))?
        .int(x.shape.pixels())
        .float(grid.stride)
        .view(y)
        .address(operands.status);
    Ok(vec![launch])
}

pub(super) fn backward(grid: &Grid, operands: &Operands) -> Result<Vec<Launch>> {
    let (x, dy, dx) = (operands.input(0), operands.input(2), operands.outputs[0]);
    let launch = specialise(Launch::new(FILE, "decode_box_gradient"), grid, x, dx)
        .define("DY_TYPE", dy.dtype)
        .define("DY_STRIDE", dy.pixel_stride)
        .define("DY_PACK", dy.pack());
    let launch = table(launch, operands.input(1))?
        .view(dy)
        .int(x.shape.pixels())
        .float(grid.stride)
        .view(dx)
        .address(operands.status);
    Ok(vec![launch])
}
