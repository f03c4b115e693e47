//! Reductions over pixels that do not depend on the number of threads: the pixels are cut into a
//! number of runs that only the shape decides, each run is summed in f32 on its own, and the runs are
//! added in order in f64.

use std::ops::Range;

use crate::runtime::Cpu;
use crate::tensor::Shape;

/// How many runs the pixels of `shape` are cut into: enough for many threads, and for short f32 sums.
fn runs(shape: Shape) -> usize {
    (shape.elements() / 16384).clamp(1, 64).min(shape.pixels().max(1))
}

/// Elements of workspace that [`channels`] needs for `rows` sums a channel.
pub fn workspace(shape: Shape, rows: usize) -> usize {
    runs(shape) * rows * shape.c
}

/// Sums over pixels: `sum(pixels, partial)` adds the pixels of a run to `partial`, `rows` rows of
/// `shape.c` elements that begin as zeros. Returns the totals as a function of (row, channel).
///
/// # Panics
/// Where `workspace` is shorter than [`workspace`] says.
pub fn channels<'a>(
    cpu: &Cpu,
    shape: Shape,
    rows: usize,
    workspace: &'a mut [f32],
    sum: impl Fn(Range<usize>, &mut [f32]) + Sync + Send,
) -> impl Fn(usize, usize) -> f64 + 'a {
    let (runs, width) = (runs(shape), rows * shape.c);
    let partials = &mut workspace[..runs * width];
    partials.fill(0.0);
    let pixels = shape.pixels();
    let items: Vec<_> = partials.chunks_mut(width.max(1)).enumerate().collect();
    cpu.for_each(items, |(run, partial)| sum(pixels * run / runs..pixels * (run + 1) / runs, partial));
    let partials = &workspace[..runs * width];
    move |row, channel| (0..runs).map(|run| f64::from(partials[run * width + row * shape.c + channel])).sum()
}
