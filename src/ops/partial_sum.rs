//! How a mean over many elements is added up on a CUDA device: blocks leave a sum each, a second launch
//! adds those. Where one block does it all, it writes the mean itself.

use crate::runtime::cuda::{DeviceView, Launch, Operands};

/// The most blocks that leave a sum: enough for any device, few enough for one block to add.
const MOST: usize = 1024;

/// The blocks that `items` are shared by, `each` a block where that does not make too many.
pub(super) fn blocks(items: usize, each: usize) -> usize {
    items.div_ceil(each).clamp(1, MOST)
}

/// Bytes of workspace for the sums of `blocks`.
pub(super) fn workspace(blocks: usize) -> usize {
    if blocks > 1 { blocks * size_of::<f32>() } else { 0 }
}

/// Where blocks write their sums, and what is left to do.
pub(super) struct Sums {
    /// The address of `blocks` sums.
    pub address: u64,
    /// What a block multiplies its sum by.
    pub factor: f64,
    /// Adds the sums.
    pub finish: Option<Launch>,
}

/// The sum over `blocks` blocks, times `factor`, into the scalar `y`.
pub(super) fn sums(operands: &Operands, blocks: usize, factor: f64, y: DeviceView) -> Sums {
    if blocks == 1 {
        return Sums { address: y.address, factor, finish: None };
    }
    let finish = Launch::new("partial_sum.cu", "partial_sum");
    let finish = finish.address(operands.workspace).int(blocks).float(factor).view(y);
    Sums { address: operands.workspace, factor: 1.0, finish: Some(finish) }
}
