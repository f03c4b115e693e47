//! Gather by rows; scatter as zeros over the map and then the rows, each destination by one warp.

use crate::Result;
use crate::ops::matches::cuda::{clear, lanes, table};
use crate::runtime::cuda::{Launch, Operands};
use crate::tensor::Shape;

const THREADS: usize = 256;

pub(super) fn gather(anchors: usize, operands: &Operands) -> Result<Vec<Launch>> {
    let (x, y) = (operands.input(0), operands.outputs[0]);
    let (map, columns, capacity) = (x.shape, y.shape.c, y.shape.pixels());
    let launch = Launch::new("gather.cu", "gather")
        .define("X_TYPE", x.dtype)
        .define("X_STRIDE", x.pixel_stride)
        .define("COLUMNS", columns)
        .define("LANES", lanes(columns))
        .define("Y_TYPE", y.dtype)
        .define("Y_STRIDE", y.pixel_stride)
        .cover(capacity * lanes(columns))
        .view(x);
    let launch = table(launch, operands.input(1))?
        .int(capacity)
        .int(map.n)
        .int(map.h)
        .int(map.w)
        .int(anchors)
        .view(y)
        .address(operands.status);
    Ok(vec![launch])
}

/// Words of a bit for each destination: an anchor of a cell.
fn words(map: Shape, columns: usize) -> usize {
    (map.elements() / columns.max(1)).div_ceil(32)
}

/// A key a row, two sets of marks, and the number of rows in use.
pub(super) fn scatter_workspace(map: Shape, rows: Shape) -> usize {
    (rows.pixels() + 2 * words(map, rows.c) + 1) * size_of::<u32>()
}

pub(super) fn scatter(operands: &Operands) -> Result<Vec<Launch>> {
    let (x, y) = (operands.input(0), operands.outputs[0]);
    let (map, columns, capacity) = (y.shape, x.shape.c, x.shape.pixels());
    let words = words(map, columns);
    let keys = operands.workspace;
    let marks = keys + (capacity * size_of::<i32>()) as u64;
    let mark = table(Launch::new("scatter_mark.cu", "scatter_mark").cover(capacity), operands.input(1))?
        .int(capacity)
        .int(map.n)
        .int(map.h)
        .int(map.w)
        .int(map.c / columns.max(1))
        .address(keys)
        .address(marks)
        .int(words)
        .address(operands.status);
    let add = Launch::new("scatter.cu", "scatter")
        .define("X_TYPE", x.dtype)
        .define("X_STRIDE", x.pixel_stride)
        .define("COLUMNS", columns)
        .define("ANCHORS", map.c / columns.max(1))
        .define("Y_TYPE", y.dtype)
        .define("Y_STRIDE", y.pixel_stride)
        .grid(capacity.div_ceil(THREADS / 32).max(1), 1, 1)
        .view(x)
        .address(keys)
        .address(marks)
        .int(words)
        .view(y);
    Ok(vec![clear(y, marks, 2 * words + 1), mark, add])
}
