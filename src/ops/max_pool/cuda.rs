//! The launches of max pooling on a CUDA device; `kernels/` says what each computes.
//!
//! Small windows are searched by each thread, large ones along rows and then along columns, which takes
//! `kernel_h + kernel_w` comparisons an element instead of `kernel_h · kernel_w`. A backward of large windows
//! keeps where the maxima lie, two bytes each, in workspace.

use super::MaxPool;
use crate::ops::grid;
use crate::runtime::cuda::{Launch, Operands};
use crate::tensor::Shape;

/// The largest window that a thread of the forward searches.
const DIRECT: usize = 25;
/// The same of the backward, where each element searches every window that covers it.
const DIRECT_GRADIENT: usize = 9;

/// A launch with the window's macros.
fn window(pool: &MaxPool, file: &'static str, entry: &'static str) -> Launch {
    Launch::new(file, entry)
        .define("KERNEL_H", pool.kernel[0])
        .define("KERNEL_W", pool.kernel[1])
        .define("STRIDE_H", pool.stride[0])
        .define("STRIDE_W", pool.stride[1])
        .define("PADDING_TOP", pool.padding[0])
        .define("PADDING_LEFT", pool.padding[2])
}

fn is_direct(pool: &MaxPool, limit: usize) -> bool {
    pool.kernel[0].saturating_mul(pool.kernel[1]) <= limit
}

/// The map `[n, h, w_out, c]` between rows and columns.
fn between(x: Shape, y: Shape) -> Shape {
    Shape { w: y.w, ..x }
}

/// Where the backward's intermediate maps lie, in bytes from the workspace's start, and its end: the
/// row maxima, in whose place the sums over columns come later, the maxima's columns, and their rows.
fn gradient_layout(x: Shape, y: Shape) -> [u64; 3] {
    let columns = (4 * between(x, y).elements()).next_multiple_of(256);
    let rows = columns + (2 * between(x, y).elements()).next_multiple_of(256);
    [columns, rows, rows + 2 * y.elements()].map(|bytes| bytes as u64)
}

pub(super) fn workspace(pool: &MaxPool, x: Shape, y: Shape) -> usize {
    match is_direct(pool, DIRECT) {
        true => 0,
        false => 4 * between(x, y).elements(),
    }
}

pub(super) fn gradient_workspace(pool: &MaxPool, x: Shape, y: Shape) -> usize {
    match is_direct(pool, DIRECT_GRADIENT) {
        true => 0,
        false => gradient_layout(x, y)[2] as usize,
    }
}

pub(super) fn forward(pool: &MaxPool, operands: &Operands) -> Vec<Launch> {
    let (x, y) = (operands.input(0), operands.outputs[0]);
    let pack = grid::common_pack(&[x, y]);
    if is_direct(pool, DIRECT) {
        let launch = grid::per_pack(window(pool, "max_pool.cu", "max_pool"), y.shape, pack);
        let launch = launch.define("X_TYPE", x.dtype).define("Y_TYPE", y.dtype);
        let launch = launch.view(y).int(y.pixel_stride).int(y.shape.pixels()).view(x).int(x.pixel_stride);
        return vec![launch.int(x.shape.h).int(x.shape.w).int(y.shape.h).int(y.shape.w)];
    }
    let middle = between(x.shape, y.shape);
    let rows = grid::per_pack(window(pool, "max_pool_rows.cu", "max_pool_rows"), middle, pack);
    let rows = rows.define("X_TYPE", x.dtype).define("KEEPS_INDEX", false).view(x).int(x.pixel_stride);
    let rows = rows.int(middle.pixels()).int(x.shape.w).int(y.shape.w).address(operands.workspace);
    let columns = grid::per_pack(window(pool, "max_pool_columns.cu", "max_pool_columns"), y.shape, pack);
    let columns = columns.define("X_TYPE", x.dtype).define("Y_TYPE", y.dtype).define("KEEPS_INDEX", false);
    let columns = columns.address(operands.workspace).int(y.shape.pixels()).int(x.shape.h);
    vec![rows, columns.int(y.shape.h).int(y.shape.w).view(y).int(y.pixel_stride)]
}

pub(super) fn gradient(pool: &MaxPool, operands: &Operands) -> Vec<Launch> {
    let (x, dy, dx) = (operands.input(0), operands.input(1), operands.outputs[0]);
    let pack = grid::common_pack(&[x, dy, dx]);
    let (input, output) = (x.shape, dy.shape);
    if is_direct(pool, DIRECT_GRADIENT) {
        let launch = window(pool, "max_pool_gradient.cu", "max_pool_gradient");
        let launch = launch.define("X_TYPE", x.dtype).define("DY_TYPE", dy.dtype).define("DX_TYPE", dx.dtype);
        let launch = grid::per_pack(launch, input, pack).view(dx).int(dx.pixel_stride).int(input.pixels());
        let launch = launch.view(x).int(x.pixel_stride).view(dy).int(dy.pixel_stride);
        return vec![launch.int(input.h).int(input.w).int(output.h).int(output.w)];
    }
    let middle = between(input, output);
    let maxima = operands.workspace;
    let [columns_at, rows_at, _] = gradient_layout(input, output).map(|bytes| maxima + bytes);

    let rows = grid::per_pack(window(pool, "max_pool_rows.cu", "max_pool_rows"), middle, pack);
    let rows = rows.define("X_TYPE", x.dtype).define("KEEPS_INDEX", true).view(x).int(x.pixel_stride);
    let rows = rows.int(middle.pixels()).int(input.w).int(output.w).address(maxima).address(columns_at);

    let columns = grid::per_pack(window(pool, "max_pool_columns.cu", "max_pool_columns"), output, pack);
    let columns = columns.define("X_TYPE", x.dtype).define("KEEPS_INDEX", true).address(maxima);
    let columns = columns.int(output.pixels()).int(input.h).int(output.h).int(output.w).address(rows_at);

    let back = window(pool, "max_pool_gradient_columns.cu", "max_pool_gradient_columns");
    let back = grid::per_pack(back, middle, pack).define("DY_TYPE", dy.dtype);
    let back = back.view(dy).int(dy.pixel_stride).address(rows_at).int(middle.pixels());
    let back = back.int(input.h).int(output.h).int(output.w).address(maxima);

    let last = window(pool, "max_pool_gradient_rows.cu", "max_pool_gradient_rows");
    let last = grid::per_pack(last, input, pack).define("DX_TYPE", dx.dtype);
    let last = last.view(dx).int(dx.pixel_stride).int(input.pixels()).address(maxima).address(columns_at);
    vec![rows, columns, back, last.int(input.w).int(output.w)]
}
