//! Reductions that do not depend on the number of threads: what is summed is cut into a number of runs
//! that only the shape decides, each run is summed on its own, and the runs are added in order in f64.

use std::ops::Range;

use crate::runtime::Cpu;
use crate::tensor::Shape;

/// The pixels of a run: few enough for many threads, and for short f32 sums.
pub fn run_pixels(shape: Shape) -> usize {
    let runs = (shape.elements() / 16384).clamp(1, 64);
    shape.pixels().div_ceil(runs).max(1)
}

/// Elements of workspace that [`channels`] needs for `rows` sums a channel.
pub fn workspace(shape: Shape, rows: usize) -> usize {
    shape.pixels().div_ceil(run_pixels(shape)) * rows * shape.c
}

/// Sums over pixels: `sum(pixels, partial)` adds the pixels of a run to `partial`, `rows` rows of
/// `shape.c` elements that begin as zeros.
///
/// # Panics
/// Where `workspace` is shorter than [`workspace`] says.
pub fn channels<'a>(
    cpu: &Cpu,
    shape: Shape,
    rows: usize,
    workspace: &'a mut [f32],
    sum: impl Fn(Range<usize>, &mut [f32]) + Sync + Send,
) -> Totals<'a> {
    let parts = vec![(); shape.pixels().div_ceil(run_pixels(shape))];
    channels_with(cpu, shape, rows, workspace, parts, |pixels, (), partial| sum(pixels, partial))
}

/// As [`channels`], each run with its own of `parts`: what it writes beside the sums, cut by
/// [`run_pixels`].
///
/// # Panics
/// Where `workspace` is shorter than [`workspace`] says.
pub fn channels_with<'a, P: Send>(
    cpu: &Cpu,
    shape: Shape,
    rows: usize,
    workspace: &'a mut [f32],
    parts: Vec<P>,
    sum: impl Fn(Range<usize>, P, &mut [f32]) + Sync + Send,
) -> Totals<'a> {
    let (step, width, pixels) = (run_pixels(shape), rows * shape.c, shape.pixels());
    let runs = pixels.div_ceil(step);
    let partials = &mut workspace[..runs * width];
    partials.fill(0.0);
    let items: Vec<_> = partials.chunks_mut(width.max(1)).zip(parts).enumerate().collect();
    cpu.for_each(items, |(run, (partial, part))| {
        sum(run * step..pixels.min((run + 1) * step), part, partial);
    });
    Totals { partials: &workspace[..runs * width], width, channels: shape.c }
}

/// The sums of every run.
pub struct Totals<'a> {
    partials: &'a [f32],
    width: usize,
    channels: usize,
}

impl Totals<'_> {
    /// The total of `channel` in `row`.
    pub fn of(&self, row: usize, channel: usize) -> f64 {
        let runs = self.partials.chunks(self.width.max(1));
        runs.map(|run| f64::from(run[row * self.channels + channel])).sum()
    }
}

/// `Σ sum(range)` over the consecutive ranges of `chunk` items that cover `0..count`: each is summed
/// by one thread, and they are joined in order, in f64, whichever thread had them.
pub fn sum_in_chunks(
    cpu: &Cpu,
    count: usize,
    chunk: usize,
    sum: impl Fn(Range<usize>) -> f64 + Sync + Send,
) -> f64 {
    let chunk = chunk.max(1);
    let mut partial = vec![0.0; count.div_ceil(chunk)];
    cpu.for_each(partial.iter_mut().enumerate().collect(), |(i, partial)| {
        *partial = sum(i * chunk..count.min((i + 1) * chunk));
    });
    partial.iter().sum()
}
