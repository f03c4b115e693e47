//! Sums of columns on a CUDA device: `kernels/column_sum.cu`.

use crate::runtime::cuda::{DeviceView, Launch, Target};

/// Threads of a block.
const THREADS: usize = 256;

/// Rows of blocks that the sum of a matrix's columns is split into: enough to fill the device, unless a block
/// would have little to do.
fn row_blocks(rows: usize, columns: usize, target: &Target) -> usize {
    let fill = (2 * target.multiprocessors as usize).div_ceil(columns.div_ceil(128));
    fill.clamp(1, rows.div_ceil(64).max(1))
}

/// Bytes of workspace that [`map`] needs.
pub fn workspace(rows: usize, columns: usize, target: &Target) -> usize {
    match row_blocks(rows, columns, target) {
        1 => 0,
        blocks => blocks * columns * 4,
    }
}

/// `y[c] = Σ x[pixel, c]`: two launches where the device is larger than the columns are many.
pub fn map(x: DeviceView, y: u64, workspace: u64, target: &Target) -> Vec<Launch> {
    let (rows, columns) = (x.shape.pixels(), x.shape.c);
    let blocks = row_blocks(rows, columns, target);
    if blocks == 1 {
        return vec![launch(x, y, rows)];
    }
    let block_rows = rows.div_ceil(blocks);
    let blocks = rows.div_ceil(block_rows);
    vec![launch(x, workspace, block_rows), partial_sums(workspace, blocks, columns, y)]
}

/// `y[column] = Σ partial[row, column]` in one launch: what ends a sum that was split over blocks. Both are
/// f32 and dense.
pub fn partial_sums(partial: u64, rows: usize, columns: usize, y: u64) -> Launch {
    let shape = crate::tensor::Shape::new(1, 1, rows, columns);
    let dtype = crate::tensor::DType::F32;
    launch(DeviceView { address: partial, shape, pixel_stride: columns, dtype }, y, rows)
}

fn launch(x: DeviceView, y: u64, block_rows: usize) -> Launch {
    let (rows, columns, pack) = (x.shape.pixels(), x.shape.c, x.pack());
    let lanes = columns.div_ceil(pack).next_power_of_two().min(32);
    Launch::new("column_sum.cu", "column_sum")
        .define("X_TYPE", x.dtype)
        .define("PACK", pack)
        .define("LANES", lanes)
        .block(THREADS)
        .grid(columns.div_ceil(lanes * pack), rows.div_ceil(block_rows), 1)
        .view(x)
        .address(y)
        .int(rows)
        .int(columns)
        .int(x.pixel_stride)
        .int(block_rows)
}
