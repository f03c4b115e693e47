//! How the threads of CUDA kernels are laid over maps: the launches that `kernels/common/map.cuh` takes
//! for granted.

use crate::runtime::cuda::{DeviceView, Launch};
use crate::tensor::Shape;

/// The most threads of a block.
const THREADS: usize = 256;
/// Packs side by side in a block of [`Columns`]: 512 bytes of a pixel, so that reads coalesce, and enough
/// threads are left for several pixels.
const COLUMNS: usize = 32;
/// Blocks that a reduction is cut into, at most: more than any device runs at once, few enough to be added
/// up in a moment. Not the device's own number: then sums would differ from device to device.
const BLOCKS: usize = 1024;
/// Pixels that a thread of a reduction sums, at least.
const RUN: usize = 4;

/// The most elements that one instruction can read in every one of `views`, at the same channels.
pub fn common_pack(views: &[DeviceView]) -> usize {
    views.iter().map(DeviceView::pack).min().unwrap_or(1)
}

/// `views` of one shape, seen as pixels of one pack where all of them are dense: then channels mean
/// nothing to an elementwise kernel, packs are as wide as the whole map allows, and one specialisation
/// serves all numbers of channels.
pub fn flat<const N: usize>(views: [DeviceView; N]) -> [DeviceView; N] {
    if !views.iter().all(|view| view.is_dense()) {
        return views;
    }
    let line = |view: DeviceView| {
        let c = view.shape.elements();
        DeviceView { shape: Shape::vector(c), pixel_stride: c, ..view }
    };
    let pack = common_pack(&views.map(line));
    views.map(|view| {
        let shape = Shape::new(1, 1, view.shape.elements() / pack, pack);
        DeviceView { shape, pixel_stride: pack, ..view }
    })
}

/// An elementwise launch, a thread a pack of up to `pack` elements. The views have one shape, and each
/// comes with the macro that names its type. Arguments: address and pixel stride of each in order, then
/// the number of pixels; macros: the types, `CHANNELS`, `PACK`.
pub fn elementwise<const N: usize>(launch: Launch, views: [(&'static str, DeviceView); N]) -> Launch {
    let flat = flat(views.map(|(_, view)| view));
    let mut launch = launch;
    for ((name, _), view) in views.into_iter().zip(flat) {
        launch = launch.define(name, view.dtype).view(view).int(view.pixel_stride);
    }
    let Some(first) = flat.first() else { return launch };
    per_pack(launch, first.shape, common_pack(&flat)).int(first.shape.pixels())
}

/// A launch of a thread a pack of a map of `shape`: macros `CHANNELS` and `PACK`, no arguments.
pub fn per_pack(launch: Launch, shape: Shape, pack: usize) -> Launch {
    launch.define("CHANNELS", shape.c).define("PACK", pack).block(THREADS).cover(shape.elements() / pack)
}

/// Blocks of columns × rows threads, whose threads each keep a pack of channels and walk over pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    channels: usize,
    pack: usize,
    columns: usize,
    rows: usize,
    groups: usize,
}

impl Columns {
    /// For maps of `channels`, read in packs of `pack`.
    pub fn new(channels: usize, pack: usize) -> Self {
        let packs = (channels / pack).max(1);
        // Groups of one width, a multiple of 8 packs, so that no two share a sector of memory.
        let columns = match packs.div_ceil(COLUMNS) {
            1 => packs,
            groups => packs.div_ceil(groups).next_multiple_of(8),
        };
        Columns { channels, pack, columns, rows: THREADS / columns, groups: packs.div_ceil(columns) }
    }

    /// Specialises `launch` (`CHANNELS`, `PACK`, `COLUMNS`, `ROWS`) and gives it `blocks` blocks for each
    /// group of channels.
    pub fn launch(&self, launch: Launch, blocks: usize) -> Launch {
        launch
            .define("CHANNELS", self.channels)
            .define("PACK", self.pack)
            .define("COLUMNS", self.columns)
            .define("ROWS", self.rows)
            .block(self.columns * self.rows)
            .grid(blocks, self.groups, 1)
    }

    /// Blocks for a kernel that walks over `pixels` with `in_flight` of them at once: no more than fill a
    /// device of `multiprocessors`, so that what a thread computes once for its channels serves many pixels.
    pub fn walk(&self, pixels: usize, in_flight: usize, multiprocessors: u32) -> usize {
        let fill = (8 * multiprocessors as usize / self.groups).max(1);
        pixels.div_ceil(self.rows * in_flight).clamp(1, fill)
    }

    /// Cuts `pixels` into a reduction's runs, by the shape alone.
    pub fn runs(&self, pixels: usize) -> Runs {
        let most = (BLOCKS / self.groups).max(1);
        let run = self.rows * pixels.div_ceil(self.rows * most).max(RUN);
        Runs { run, blocks: pixels.div_ceil(run).max(1) }
    }
}

/// The consecutive runs of pixels that the blocks of a reduction sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runs {
    /// Pixels of a run; the last may have fewer.
    pub run: usize,
    /// How many there are.
    pub blocks: usize,
}

/// Bytes of workspace for `values` partial sums a channel and block of a map of `shape`, however it will
/// lie in memory.
pub fn partials_bytes(shape: Shape, values: usize) -> usize {
    let blocks = |pack| Columns::new(shape.c, pack).runs(shape.pixels()).blocks;
    let most = [1, 2, 4, 8].into_iter().filter(|pack| shape.c.is_multiple_of(*pack)).map(blocks).max();
    4 * values * shape.c * most.unwrap_or(1)
}

/// `view` as if it had channels for every pack: what its address and pixel stride alone allow.
pub fn whole_packs(view: DeviceView) -> DeviceView {
    DeviceView { shape: view.shape.with_c(16), ..view }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;

    fn view(shape: Shape, pixel_stride: usize, dtype: DType) -> DeviceView {
        DeviceView { address: 4096, shape, pixel_stride, dtype }
    }

    #[test]
    fn dense_maps_are_read_in_wide_packs_whatever_their_channels() {
        let shape = Shape::new(1, 8, 4, 3);
        let dense = view(shape, 3, DType::Bf16);
        let launch = elementwise(Launch::new("f", "f"), [("X_TYPE", dense)]);
        assert_eq!(launch.kernel.defines["PACK"], "8");
        assert_eq!(launch.kernel.defines["CHANNELS"], "8");
        let sliced = elementwise(Launch::new("f", "f"), [("X_TYPE", view(shape, 6, DType::Bf16))]);
        assert_eq!((&*sliced.kernel.defines["PACK"], &*sliced.kernel.defines["CHANNELS"]), ("1", "3"));
        // The widest pack of f32 is 16 bytes, so the two-byte map beside it is read 8 bytes at a time.
        let mixed = [("X_TYPE", dense), ("Y_TYPE", view(shape, 3, DType::F32))];
        assert_eq!(elementwise(Launch::new("f", "f"), mixed).kernel.defines["PACK"], "4");
    }

    #[test]
    fn every_channel_has_a_column_and_every_pixel_a_run() {
        for channels in 1..700 {
            for pack in [1, 2, 4, 8].into_iter().filter(|pack| channels % pack == 0) {
                let grid = Columns::new(channels, pack);
                assert!(grid.columns * grid.rows <= THREADS && grid.rows > 0);
                assert!(grid.columns * grid.groups * pack >= channels);
                assert!(grid.columns * (grid.groups - 1) * pack < channels);
                for pixels in [1, 5, 100, 3000, 1 << 20] {
                    let Runs { run, blocks } = grid.runs(pixels);
                    assert!(run * blocks >= pixels && run * (blocks - 1) < pixels);
                    assert!(blocks * grid.groups <= BLOCKS.max(grid.groups));
                    let shape = Shape::new(1, 1, pixels, channels);
                    assert!(partials_bytes(shape, 2) >= 8 * channels * blocks);
                }
            }
        }
    }
}
