//! How a forward convolution's implicit GEMM is cut for Hopper's warpgroups: the candidates, as data.

use super::super::Conv;
use crate::runtime::cuda::Target;
use crate::tensor::Shape;

/// What one block computes with `wgmma`, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WgmmaTile {
    /// Rows (pixels) of a block.
    pub m: usize,
    /// Columns (output channels) of a block.
    pub n: usize,
    /// Stages in shared memory.
    pub stages: usize,
}

/// The tiles that may be tried for `op` from `x` to `y` on `target`; none where `wgmma` cannot run it.
pub fn candidates(_op: &Conv, _x: Shape, _y: Shape, _target: &Target) -> Vec<WgmmaTile> {
    Vec::new()
}
