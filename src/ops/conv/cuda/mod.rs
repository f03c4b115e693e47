//! The convolutions on a CUDA device: an implicit GEMM over channel slices of NHWC maps, on tensor cores
//! where the map's type has them and by plain multiply-adds in f32 elsewhere.

mod forward;
mod input_gradient;
mod product;
pub mod tile;
mod weight_gradient;
pub mod wgmma;

pub(super) use forward::tiles as forward_tiles;
pub use forward::{ConvCandidate, Depthwise, Way, candidates, compute_type};
pub(super) use input_gradient::{launch as input_gradient, tiles as input_gradient_tiles};
pub(super) use weight_gradient::{
    launches as weight_gradient, tiles as weight_gradient_tiles, workspace as weight_gradient_workspace,
};

use super::Geometry;
use crate::runtime::cuda::{DeviceView, Launch};
use crate::tensor::Shape;

/// The macros of `kernels/common/conv_index.cuh`.
pub(super) fn define_geometry(launch: Launch, geometry: &Geometry) -> Launch {
    launch
        .define("KERNEL_H", geometry.kernel[0])
        .define("KERNEL_W", geometry.kernel[1])
        .define("STRIDE_H", geometry.stride[0])
        .define("STRIDE_W", geometry.stride[1])
        .define("PADDING_TOP", geometry.padding[0])
        .define("PADDING_LEFT", geometry.padding[2])
        .define("DILATION_H", geometry.dilation[0])
        .define("DILATION_W", geometry.dilation[1])
}

/// As [`DeviceView::pack`], for runs that begin at multiples of `channels` too: one group's channels in a
/// map, or a weight's row.
pub(super) fn group_pack(view: DeviceView, channels: usize) -> usize {
    let mut pack = view.pack();
    while pack > 1 && !channels.is_multiple_of(pack) {
        pack /= 2;
    }
    pack
}

/// Whether every output is of one input, its own.
fn is_pointwise(geometry: &Geometry) -> bool {
    geometry.kernel == [1, 1] && geometry.stride == [1, 1] && geometry.padding == [0; 4]
}

/// The most taps of a kernel that the depth-wise gradients take: 128 channels of their weights fit in the
/// shared memory of a block, and a row of their sums in a thread's registers.
const DEPTHWISE_TAPS: usize = 81;

/// Whether every group has one input and one output channel, which no matrix product is made for.
fn is_depthwise(geometry: &Geometry, weight: Shape) -> bool {
    weight.c == 1 && weight.n == geometry.groups && weight.h * weight.w <= DEPTHWISE_TAPS
}
