//! How a tap convolution is cut into work: chunks of rows, and panels of channels.
//!
//! Chunks depend on shapes only, never on the number of threads, because sums over pixels (batch
//! statistics, weight gradients) are made chunk by chunk. Which thread makes which chunk and panel
//! changes nothing in the result.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::Geometry;
use super::taps::{Axis, Layout};
use super::tile::MAX_ROWS;
use super::winograd;
use crate::runtime::Cpu;
use crate::runtime::vector::{self, Lanes, Task};
use crate::tensor::{Shape, View};

/// Numbers of a chunk's source that should fit a second-level cache beside the weights: 256 KiB.
const SOURCE_BUDGET: usize = 64 << 10;
/// Numbers of a chunk's source that fit a first-level cache beside other things: 24 KiB.
const SMALL_BUDGET: usize = 6 << 10;
/// Pixels this many numbers apart (or a multiple) fall on the same few lines of a first-level cache.
const ALIAS: usize = 1024;
/// Pixels that make the reading of a weight panel worth while: 6 tiles.
const FEW_PIXELS: usize = 6 * MAX_ROWS;
/// Pixels beyond which nothing is gained.
const MANY_PIXELS: usize = 1024;
/// Pieces of work that keep a small machine's threads busy to the end.
const PIECES: usize = 16;

/// A vector of 64 bytes never straddles a cache line where panels and scratch start on one.
const ALIGN: usize = 16;

/// A tap convolution over a batch.
#[derive(Clone, Debug)]
pub struct TapConv {
    /// Images.
    pub n: usize,
    /// Down.
    pub rows: Axis,
    /// To the right.
    pub columns: Axis,
    /// Channels.
    pub layout: Layout,
    /// Rows of the whole result map, of which `rows` may address every s-th.
    pub out_h: usize,
    /// Columns of the whole result map.
    pub out_w: usize,
    /// By Winograd's algorithm.
    pub winograd: bool,
}

/// A 1×1 kernel at stride 1 without padding: rows and images do not matter.
pub fn is_pointwise(geometry: &Geometry) -> bool {
    geometry.kernel == [1, 1] && geometry.stride == [1, 1] && geometry.padding == [0; 4]
}

impl TapConv {
    /// The forward convolution from `x` to `y`.
    pub fn forward(cpu: &Cpu, geometry: &Geometry, x: Shape, y: Shape) -> Self {
        let layout = layout(cpu, geometry.groups, x.c, y.c);
        if is_pointwise(geometry) {
            return Self::pointwise(x.pixels(), layout);
        }
        TapConv {
            n: x.n,
            rows: Axis::forward(geometry, 0, x.h, y.h),
            columns: Axis::forward(geometry, 1, x.w, y.w),
            layout,
            out_h: y.h,
            out_w: y.w,
            winograd: false,
        }
        .choose()
    }

    /// Chooses the algorithm.
    fn choose(mut self) -> Self {
        self.winograd = winograd::suits(&self);
        self
    }

    /// The parts of the input gradient from `y` (of dy) to `x` (of dx).
    pub fn backward(cpu: &Cpu, geometry: &Geometry, x: Shape, y: Shape) -> Vec<Self> {
        let layout = layout(cpu, geometry.groups, y.c, x.c);
        if is_pointwise(geometry) {
            return vec![Self::pointwise(x.pixels(), layout)];
        }
        let columns = Axis::backward(geometry, 1, x.w, y.w);
        let part = |rows: &Axis, columns: &Axis| TapConv {
            n: x.n,
            rows: rows.clone(),
            columns: columns.clone(),
            layout,
            out_h: x.h,
            out_w: x.w,
            winograd: false,
        };
        Axis::backward(geometry, 0, x.h, y.h)
            .iter()
            .flat_map(|rows| columns.iter().map(move |columns| part(rows, columns).choose()))
            .collect()
    }

    fn pointwise(pixels: usize, layout: Layout) -> Self {
        let (rows, columns) = (Axis::pointwise(pixels), Axis::pointwise(1));
        TapConv { n: 1, rows, columns, layout, out_h: pixels, out_w: 1, winograd: false }
    }

    /// Taps that contribute.
    pub fn taps(&self) -> usize {
        self.rows.taps.len() * self.columns.taps.len()
    }

    /// Rows of a panel: taps × source channels.
    pub fn k(&self) -> usize {
        self.layout.k(self.taps())
    }

    /// Rows of a packed panel: the same, or transformed.
    pub fn packed_rows(&self) -> usize {
        if self.winograd { winograd::POSITIONS * self.layout.c_in } else { self.k() }
    }

    /// Packed numbers of all panels.
    pub fn packed(&self) -> usize {
        self.packed_rows() * self.layout.packed_channels()
    }

    /// Whether every window lies in the map, so that the source can be read where it is.
    pub fn inside(&self) -> bool {
        self.rows.inside() && self.columns.inside()
    }

    /// Whether the source is read where it is: nothing is to be done to it, and its pixels do not
    /// evict each other from the cache.
    pub fn direct(&self, x: View<f32>, prologue: bool) -> bool {
        !prologue && self.inside() && (self.layout.depthwise || !x.pixel_stride().is_multiple_of(ALIAS))
    }

    /// Numbers of the scratch that `rows` rows of results read.
    fn source(&self, rows: usize) -> usize {
        self.rows.span(rows) * self.scratch_pitches().row
    }

    /// Cuts the rows into chunks for a forward convolution. One that reads every pixel once, through
    /// a prologue, gains nothing from a chunk beyond the first-level cache.
    pub fn chunks_for(&self, prologue: bool) -> Chunks {
        let once = prologue && self.columns.count == 1 && self.taps() == 1;
        self.chunks_within(if once { SMALL_BUDGET } else { SOURCE_BUDGET })
    }

    /// Cuts the rows into chunks for a weight gradient.
    pub fn chunks_for_gradient(&self) -> Chunks {
        self.chunks_within(SOURCE_BUDGET)
    }

    fn chunks_within(&self, budget: usize) -> Chunks {
        let (height, width) = (self.rows.count, self.columns.count);
        let few = FEW_PIXELS.div_ceil(width);
        let many = MANY_PIXELS.div_ceil(width).max(few);
        let mut rows = few.min(height);
        while rows < many.min(height) && self.source(rows + 1) <= budget {
            rows += 1;
        }
        // Fewer rows where that is what it takes to have work for everyone.
        let chunks = PIECES.div_ceil(self.n * self.layout.panels());
        rows = rows.min(height.div_ceil(chunks).max((2 * MAX_ROWS).div_ceil(width)));
        let mut per_image = height.div_ceil(rows);
        rows = height.div_ceil(per_image);
        if width == 1 {
            rows = rows.next_multiple_of(MAX_ROWS).min(height);
        }
        per_image = height.div_ceil(rows);
        let scratch = self.source(rows).next_multiple_of(ALIGN);
        Chunks { rows, height, per_image, count: per_image * self.n, scratch }
    }
}

/// Rows of results, chunk by chunk; a chunk never spans two images.
#[derive(Clone, Copy, Debug)]
pub struct Chunks {
    /// Rows of a chunk; the last of an image may have fewer.
    pub rows: usize,
    /// Rows of an image.
    pub height: usize,
    /// Chunks of an image.
    pub per_image: usize,
    /// All chunks.
    pub count: usize,
    /// Numbers of the scratch that a chunk's source takes.
    pub scratch: usize,
}

impl Chunks {
    /// The image, the first row, and the number of rows of chunk `index`.
    pub fn at(&self, index: usize) -> (usize, usize, usize) {
        let first = index % self.per_image * self.rows;
        (index / self.per_image, first, self.rows.min(self.height - first))
    }
}

/// Where a chunk's source lies: in the map itself or in scratch.
#[derive(Clone, Copy)]
pub struct Pitches {
    /// Numbers from one source row to the next.
    pub row: usize,
    /// Numbers from one source pixel to the next.
    pub pixel: usize,
}

impl TapConv {
    /// The pitches of the scratch.
    pub fn scratch_pitches(&self) -> Pitches {
        let c = self.layout.c_in;
        let pixel = if c > 0 && c.is_multiple_of(ALIAS) { c + ALIGN } else { c };
        Pitches { row: self.columns.span(self.columns.count) * pixel, pixel }
    }

    /// Where each run of taps starts from a pixel's first tap, and how many numbers each run has:
    /// taps side by side are one run where pixels are dense.
    pub fn segments(&self, pitches: Pitches) -> (Vec<usize>, usize) {
        let columns = &self.columns.taps;
        let contiguous = columns.windows(2).all(|pair| pair[1].offset == pair[0].offset + 1);
        let merge = contiguous && pitches.pixel == self.layout.c_in && !self.layout.depthwise;
        let starts = if merge { &columns[..columns.len().min(1)] } else { &columns[..] };
        let from = |tap: isize, first: isize| (tap - first) as usize;
        let segments = self
            .rows
            .taps
            .iter()
            .flat_map(|r| {
                let row = from(r.offset, self.rows.first()) * pitches.row;
                starts.iter().map(move |c| row + from(c.offset, self.columns.first()) * pitches.pixel)
            })
            .collect();
        let depth = self.layout.k(1);
        (segments, if merge { columns.len() * depth } else { depth })
    }
}

/// The layout at `cpu`'s SIMD level.
pub fn layout(cpu: &Cpu, groups: usize, c_in: usize, c_out: usize) -> Layout {
    struct Sizes;
    impl Task for Sizes {
        type Output = (usize, usize);
        #[inline(always)]
        fn run<L: Lanes>(self, _: L) -> (usize, usize) {
            (L::LANES, super::tile::Tile::<L>::VECTORS)
        }
    }
    let (lanes, vectors) = vector::dispatch(cpu, Sizes);
    Layout::new(groups, c_in, c_out, lanes, vectors)
}

/// The part of `workspace` that starts on a cache line; every `*_workspace` adds [`SLACK`] for it.
pub fn aligned(workspace: &mut [f32]) -> &mut [f32] {
    let start = workspace.as_ptr().align_offset(4 * ALIGN).min(workspace.len());
    &mut workspace[start..]
}

/// What [`aligned`] may skip.
pub const SLACK: usize = ALIGN;

/// Rounds a length up so that what follows starts on a cache line.
pub fn round_up(length: usize) -> usize {
    length.next_multiple_of(ALIGN)
}

/// Hands `0..tasks` out to `cpu`'s threads, each with its own `per_worker` numbers of `scratch`.
/// `body` draws task numbers until there are no more.
pub fn share(
    cpu: &Cpu,
    tasks: usize,
    scratch: &mut [f32],
    per_worker: usize,
    body: impl Fn(&mut [f32], &dyn Fn() -> Option<usize>) + Sync + Send,
) {
    let counter = AtomicUsize::new(0);
    let next = || Some(counter.fetch_add(1, Ordering::Relaxed)).filter(|&task| task < tasks);
    let mut workers: Vec<&mut [f32]> = Vec::new();
    let mut rest = scratch;
    for _ in 0..cpu.threads().min(tasks) {
        let (own, others) = rest.split_at_mut(per_worker);
        workers.push(own);
        rest = others;
    }
    cpu.for_each(workers, |own| body(own, &next));
}

/// A pointer that threads share; each writes its own part.
#[derive(Clone, Copy)]
pub struct Shared(pub *mut f32);

// SAFETY: users write disjoint parts, and say so where they do.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}
