//! The launch of a forward convolution on Hopper's warpgroups (`kernels/conv_forward_wgmma.cu`), the tiles that may
//! be tried for it, and which convolutions it takes.

use std::fmt;

use super::super::{Conv, Geometry};
use super::forward::epilogue;
use super::{compute_type, define_geometry, is_pointwise};
use crate::runtime::cuda::{DeviceView, Launch, MOST_BOX, MOST_STEP, Operands, Target, TensorMap};
use crate::tensor::{DType, Shape};

/// The architecture whose code it is. Later ones have other instructions in its place.
const ARCH: u32 = 90;
/// Bytes of a pixel, or of a weight's row, in a stage: 64 channels.
const ROW_BYTES: usize = 128;
/// Bytes of shared memory that stages begin at a multiple of.
const STAGE_ALIGNMENT: usize = 1024;

/// What one block computes, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WgmmaTile {
    /// Warpgroups that multiply, each for 64 pixels; one warp more brings their operands.
    pub warpgroups: usize,
    /// Output channels: 32, 64, 128 or 256.
    pub n: usize,
    /// Stages in shared memory, each of 64 input channels.
    pub stages: usize,
    /// Blocks that are to share a multiprocessor, which bounds a thread's registers.
    pub blocks: usize,
}

impl fmt::Display for WgmmaTile {
    /// A name that tells it from the other tiles.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wgmma {}x{}, {} stages, {} blocks", self.m(), self.n, self.stages, self.blocks)
    }
}

/// Without a model of their cost: nobody has measured one. Wider products for two warpgroups would spill.
const TILES: &[WgmmaTile] = &[
    WgmmaTile { warpgroups: 2, n: 128, stages: 6, blocks: 1 },
    WgmmaTile { warpgroups: 2, n: 128, stages: 3, blocks: 2 },
    WgmmaTile { warpgroups: 2, n: 64, stages: 4, blocks: 2 },
    WgmmaTile { warpgroups: 2, n: 32, stages: 5, blocks: 2 },
    WgmmaTile { warpgroups: 1, n: 256, stages: 5, blocks: 1 },
    WgmmaTile { warpgroups: 1, n: 128, stages: 4, blocks: 2 },
    WgmmaTile { warpgroups: 1, n: 64, stages: 6, blocks: 2 },
    WgmmaTile { warpgroups: 1, n: 32, stages: 8, blocks: 2 },
];

impl WgmmaTile {
    /// The most pixels of a block.
    pub fn m(&self) -> usize {
        64 * self.warpgroups
    }

    /// Threads of a block.
    pub fn threads(&self) -> usize {
        128 * self.warpgroups + 32
    }

    /// Whether a thread has registers for its sums and what else it holds, or would spill some.
    fn fits_registers(&self, statistics: bool) -> bool {
        // One part of the multiprocessor has a quarter of its registers, and of the warps, rounded up.
        let warps = (self.blocks * self.threads() / 32).div_ceil(4);
        16384 / (32 * warps) >= self.n / 2 + if statistics { 64 } else { 32 }
    }

    /// Bytes of dynamic shared memory.
    pub fn shared_bytes(&self) -> usize {
        STAGE_ALIGNMENT + self.stages * (self.m() + self.n) * ROW_BYTES
    }
}

/// The tiles that may be tried for `op` from `x` to `y` on `target`; none where `wgmma` cannot run it. What shapes do
/// not tell, [`takes`] does.
pub fn candidates(op: &Conv, x: Shape, y: Shape, target: &Target) -> Vec<WgmmaTile> {
    let Geometry { stride, groups, .. } = op.geometry;
    let is_fit = target.arch == ARCH
        && compute_type(target) != DType::F32
        && groups == 1
        && op.prologue.is_none()
        // Rows of the weight begin at multiples of 16 bytes.
        && x.c.is_multiple_of(8)
        && stride.iter().all(|&step| step <= MOST_STEP);
    // Of those that are wider than the channels, the narrowest.
    let is_worth = |tile: &&WgmmaTile| tile.n == 32 || tile.n / 2 < y.c;
    let fits = |tile: &&WgmmaTile| {
        tile.shared_bytes() <= target.shared_bytes as usize && tile.fits_registers(op.statistics)
    };
    if is_fit { TILES.iter().filter(is_worth).filter(fits).copied().collect() } else { Vec::new() }
}

/// Whether these operands lie and are stored as the copies want them.
pub fn takes(operands: &Operands, target: &Target) -> bool {
    let compute = compute_type(target);
    let is_fit = |view: DeviceView| {
        let size = view.dtype.size();
        view.dtype == compute
            && view.address.is_multiple_of(16)
            && (view.pixel_stride * size).is_multiple_of(16)
            && view.shape.elements() > 0
    };
    is_fit(operands.input(0)) && is_fit(operands.input(1)) && operands.input(1).is_dense()
}

/// The outputs of a block: a box of the output map, `[n, h, w]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PixelBox {
    n: usize,
    h: usize,
    w: usize,
}

impl PixelBox {
    /// Of at most `most` pixels, the box that covers `y` with the fewest; of those the one with the fewest pixels, and
    /// then the one with the longest rows.
    fn new(y: Shape, stride: [usize; 2], most: usize) -> PixelBox {
        let mut best = PixelBox { n: 1, h: 1, w: 1 };
        let rank = |b: &PixelBox| (b.count(y), b.pixels(), b.h * b.n);
        for w in 1..=y.w.min(most).min(MOST_BOX / stride[1]) {
            for h in 1..=y.h.min(most / w).min(MOST_BOX / stride[0]) {
                // Of the images, no more than it takes for as many boxes.
                let n = y.n.div_ceil(y.n.div_ceil(most / (w * h)));
                let next = PixelBox { n, h, w };
                if rank(&next) < rank(&best) {
                    best = next;
                }
            }
        }
        best
    }

    fn pixels(&self) -> usize {
        self.n * self.h * self.w
    }

    /// Boxes that cover `y`.
    fn count(&self, y: Shape) -> usize {
        y.n.div_ceil(self.n) * y.h.div_ceil(self.h) * y.w.div_ceil(self.w)
    }
}

/// A map as the kernel sees it: one row of pixels where none has a neighbour in its window.
fn seen(op: &Conv, map: Shape) -> Shape {
    match is_pointwise(&op.geometry) {
        true => Shape { n: 1, h: 1, w: map.pixels(), ..map },
        false => map,
    }
}

/// Boxes that cover `y`, each of which has partial statistics.
pub fn boxes(op: &Conv, y: Shape, tile: WgmmaTile) -> usize {
    let y = seen(op, y);
    PixelBox::new(y, op.geometry.stride, tile.m()).count(y)
}

/// The launch of `op` cut by `tile`, of operands that it [`takes`].
pub fn launch(op: &Conv, operands: &Operands, tile: WgmmaTile, target: &Target) -> Launch {
    let (x, weight, y) = (operands.input(0), operands.input(1), operands.outputs[0]);
    let compute = compute_type(target);
    let row = |view: DeviceView, elements: usize| elements * view.pixel_stride * view.dtype.size();
    let (from, to) = (seen(op, x.shape), seen(op, y.shape));
    let [step_h, step_w] = op.geometry.stride;
    let pixels = PixelBox::new(to, op.geometry.stride, tile.m());
    let x_map = TensorMap::new(compute, x.address, from.c)
        .axis(from.w, row(x, 1), pixels.w, step_w)
        .axis(from.h, row(x, from.w), pixels.h, step_h)
        .axis(from.n, row(x, from.w * from.h), pixels.n, 1);
    let taps = weight.shape.h * weight.shape.w;
    let weight_map = TensorMap::new(compute, weight.address, from.c).axis(taps, row(weight, 1), 1, 1).axis(
        to.c,
        row(weight, taps),
        tile.n,
        1,
    );
    let launch = Launch::new("conv_forward_wgmma.cu", "conv_forward_wgmma")
        .specific()
        .block(tile.threads())
        .grid(pixels.count(to) * to.c.div_ceil(tile.n), 1, 1)
        .shared(tile.shared_bytes())
        .define("TILE_N", tile.n)
        .define("WARPGROUPS", tile.warpgroups)
        .define("STAGES", tile.stages)
        .define("MIN_BLOCKS", tile.blocks)
        .define("COMPUTE_TYPE", compute)
        .define("CHANNELS", from.c)
        .define("HAS_STATISTICS", op.statistics)
        .tensor_map(x_map)
        .tensor_map(weight_map);
    let (launch, epilogue) = epilogue(op, operands, define_geometry(launch, &op.geometry), to.c);
    launch
        .address(epilogue.bias)
        .address(epilogue.residual)
        .view(y)
        .address(if op.statistics { operands.workspace } else { 0 })
        .int(y.pixel_stride)
        .int(epilogue.residual_stride)
        .int(epilogue.residual_channels)
        .int(to.n)
        .int(to.h)
        .int(to.w)
        .int(pixels.n)
        .int(pixels.h)
        .int(pixels.w)
        .int(to.c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_cover_the_map_with_few_blocks() {
        let boxes = |y: [usize; 4], stride, most| {
            let pixels = PixelBox::new(Shape::from(y), stride, most);
            (pixels, pixels.count(Shape::from(y)))
        };
        // What a grid of whole rows of pixels would take, and no more where an edge divides.
        assert_eq!(boxes([1, 80, 80, 64], [1, 1], 128).1, 50);
        assert_eq!(boxes([1, 20, 20, 64], [1, 1], 128).1, 4);
        let (pixels, count) = boxes([1, 13, 13, 64], [1, 1], 128);
        assert_eq!((pixels, count), (PixelBox { n: 1, h: 7, w: 13 }, 2));
        // Several images where one is small, one pixel where there is one.
        assert_eq!(boxes([100, 1, 1, 64], [1, 1], 64), (PixelBox { n: 50, h: 1, w: 1 }, 2));
        assert_eq!(boxes([1, 1, 1, 64], [1, 1], 64).1, 1);
        for y in [[3, 5, 300, 8], [1, 100, 7, 8], [9, 2, 3, 8]] {
            for (stride, most) in [([1, 1], 64), ([2, 8], 128)] {
                let (pixels, _) = boxes(y, stride, most);
                assert!(pixels.pixels() <= most && pixels.w * stride[1] <= MOST_BOX, "{pixels:?}");
            }
        }
    }

    #[test]
    fn tiles_fit_a_multiprocessor() {
        for tile in TILES {
            assert!(tile.blocks * (tile.shared_bytes() + 1024) <= 228 << 10, "{tile:?}");
            assert!([32, 64, 128, 256].contains(&tile.n), "{tile:?}");
            assert!(tile.fits_registers(false), "{tile:?}");
        }
    }
}
