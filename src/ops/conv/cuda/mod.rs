//! The convolutions on a CUDA device: an implicit GEMM over channel slices of NHWC maps, on tensor cores
//! where the map's type has them and by plain multiply-adds in f32 elsewhere.

use super::Geometry;
use crate::runtime::cuda::{DeviceView, Launch};

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
