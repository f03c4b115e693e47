//! Max pooling on the cpu: loops over channels, which lie densely, in groups that stay in registers.
//!
//! Small windows are searched directly. Large ones are separable: first the maximum of each row of a
//! window, then of these over its rows, `kernel_h + kernel_w` comparisons instead of
//! `kernel_h · kernel_w`. The row maxima of the last `kernel_h` rows are kept in a ring, for a block
//! of channels at a time, so that they stay in the cache.
//!
//! The loops are plain ones that the compiler vectorises; as [`Task`]s they are compiled for each
//! instruction set. They compare and select, so that every instruction set gives the same bits.

use std::ops::Range;

use super::{Io, MaxPool};
use crate::ops::{ImageBlock, image_blocks, pixels_per_chunk};
use crate::runtime::Cpu;
use crate::runtime::vector::{Lanes, Task, dispatch};
use crate::tensor::{Shape, View, ViewMut};

/// The largest window that is searched directly.
const DIRECT: usize = 9;
/// Channels that one task handles.
const BLOCK: usize = 32;
/// Channels that are held in registers.
const GROUP: usize = 16;

fn is_direct(pool: &MaxPool) -> bool {
    pool.kernel[0] * pool.kernel[1] <= DIRECT
}

/// Elements of one map of the ring: `kernel_h` rows of the output's width, no more than there are.
fn ring_elements(pool: &MaxPool, x: Shape, y: Shape) -> usize {
    pool.kernel[0].min(x.h) * y.w * BLOCK.min(x.c)
}

/// Scratch elements for rings of `maps` maps, one for each thread.
pub(super) fn workspace(pool: &MaxPool, x: Shape, y: Shape, threads: usize, maps: usize) -> usize {
    match is_direct(pool) {
        true => 0,
        false => threads * maps * ring_elements(pool, x, y),
    }
}

pub(super) fn forward(pool: &MaxPool, io: &mut Io<'_, f32>, cpu: &Cpu) {
    let x = io.input(0);
    let y = io.outputs[0].reborrow();
    let shape = y.shape();
    if is_direct(pool) {
        let step = pixels_per_chunk(shape);
        cpu.for_each(y.chunks(step).into_iter().enumerate().collect(), |(index, chunk)| {
            dispatch(cpu, Direct { pool, x, shape, first: index * step, chunk });
        });
    } else {
        let ring = ring_elements(pool, x.shape(), shape);
        for_each_block(y, io.workspace, ring, cpu, |block, ring| {
            dispatch(cpu, Separable { pool, x, shape, block, ring });
        });
    }
}

pub(super) fn gradient(pool: &MaxPool, io: &mut Io<'_, f32>, cpu: &Cpu) {
    let (x, dy) = (io.input(0), io.input(1));
    let dx = io.outputs[0].reborrow();
    if is_direct(pool) {
        cpu.for_each(image_blocks(dx, BLOCK), |mut block| {
            dispatch(cpu, DirectGradient { pool, x, dy, block: &mut block });
        });
    } else {
        let ring = 2 * ring_elements(pool, x.shape(), dy.shape());
        for_each_block(dx, io.workspace, ring, cpu, |block, ring| {
            dispatch(cpu, SeparableGradient { pool, x, dy, block, ring });
        });
    }
}

/// Runs `task` on every block of `map`, each thread with `ring` elements of `workspace` of its own.
fn for_each_block(
    map: ViewMut<'_, f32>,
    workspace: &mut [f32],
    ring: usize,
    cpu: &Cpu,
    task: impl Fn(&mut ImageBlock<'_, f32>, &mut [f32]) + Sync + Send,
) {
    let mut blocks = image_blocks(map, BLOCK);
    let share = blocks.len().div_ceil(cpu.threads()).max(1);
    let shares = blocks.chunks_mut(share).zip(workspace.chunks_mut(ring.max(1))).collect();
    cpu.for_each(shares, |(blocks, ring): (&mut [_], _)| {
        blocks.iter_mut().for_each(|block| task(block, ring));
    });
}

/// The pixels of a small window in its image, their channels `channels`, and how many they are.
#[inline(always)]
fn gather<'x>(
    pool: &MaxPool,
    x: View<'x, f32>,
    n: usize,
    [oy, ox]: [usize; 2],
    channels: Range<usize>,
) -> ([u32; DIRECT], [&'x [f32]; DIRECT], usize) {
    let (h, w) = (x.shape().h, x.shape().w);
    let (mut pixels, mut sources, mut count) = ([0; DIRECT], [&[][..]; DIRECT], 0);
    for iy in pool.rows(oy, h) {
        for ix in pool.columns(ox, w) {
            pixels[count] = (iy * w + ix) as u32;
            sources[count] = &x.at(n, iy, ix)[channels.clone()];
            count += 1;
        }
    }
    (pixels, sources, count)
}

/// `to = max(sources)`, element by element.
#[inline(always)]
fn maximum<'s>(to: &mut [f32], sources: impl Iterator<Item = &'s [f32]> + Clone) {
    let whole = to.len() - to.len() % GROUP;
    for at in (0..whole).step_by(GROUP) {
        maximum_group::<GROUP>(to, at, sources.clone());
    }
    for at in whole..to.len() {
        maximum_group::<1>(to, at, sources.clone());
    }
}

#[inline(always)]
fn maximum_group<'s, const N: usize>(to: &mut [f32], at: usize, sources: impl Iterator<Item = &'s [f32]>) {
    let mut best = [f32::NEG_INFINITY; N];
    for source in sources {
        let source = &source[at..at + N];
        for (best, &value) in best.iter_mut().zip(source) {
            *best = if (value > *best) | value.is_nan() { value } else { *best };
        }
    }
    to[at..at + N].copy_from_slice(&best);
}

/// A run of output pixels from `first`, each window searched whole.
struct Direct<'a> {
    pool: &'a MaxPool,
    x: View<'a, f32>,
    shape: Shape,
    first: usize,
    chunk: ViewMut<'a, f32>,
}

impl Task for Direct<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, _lanes: L) {
        let Shape { h, w, c, .. } = self.shape;
        for i in 0..self.chunk.shape().pixels() {
            let (row, ox) = ((self.first + i) / w, (self.first + i) % w);
            let (_, sources, count) = gather(self.pool, self.x, row / h, [row % h, ox], 0..c);
            maximum(self.chunk.pixel(i), sources[..count].iter().copied());
        }
    }
}

/// A block of the output, whose shape is `shape`, by rows and then by columns.
struct Separable<'a, 'b> {
    pool: &'a MaxPool,
    x: View<'a, f32>,
    shape: Shape,
    block: &'a mut ImageBlock<'b, f32>,
    ring: &'a mut [f32],
}

impl Task for Separable<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _lanes: L) {
        let Separable { pool, x, shape, block, ring } = self;
        let (h, w, c) = (x.shape().h, x.shape().w, block.channels.len());
        let slots = pool.kernel[0].min(h);
        let mut next = 0;
        for oy in 0..shape.h {
            let rows = pool.rows(oy, h);
            for iy in rows.start.max(next)..rows.end {
                for ox in 0..shape.w {
                    let at = ((iy % slots) * shape.w + ox) * c;
                    let row =
                        pool.columns(ox, w).map(|ix| &x.at(block.image, iy, ix)[block.channels.clone()]);
                    maximum(&mut ring[at..at + c], row);
                }
            }
            next = rows.end;
            for ox in 0..shape.w {
                let column = rows.clone().map(|iy| &ring[((iy % slots) * shape.w + ox) * c..][..c]);
                maximum(block.view.pixel(oy * shape.w + ox), column);
            }
        }
    }
}

/// A block of the gradient, each window searched whole.
struct DirectGradient<'a, 'b> {
    pool: &'a MaxPool,
    x: View<'a, f32>,
    dy: View<'a, f32>,
    block: &'a mut ImageBlock<'b, f32>,
}

impl Task for DirectGradient<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _lanes: L) {
        let DirectGradient { pool, x, dy, block } = self;
        block.view.fill(0.0);
        let (out, c) = (dy.shape(), block.channels.len());
        let whole = c - c % GROUP;
        for oy in 0..out.h {
            for ox in 0..out.w {
                let dy = &dy.at(block.image, oy, ox)[block.channels.clone()];
                let (pixels, sources, count) = gather(pool, x, block.image, [oy, ox], block.channels.clone());
                let window = pixels[..count].iter().zip(&sources[..count]);
                for at in (0..whole).step_by(GROUP) {
                    let sources = window.clone().map(|(&pixel, x)| (first(&x[at..]), [pixel; GROUP]));
                    let best = argmax::<GROUP>(sources).1;
                    // Under a mask, so that nothing is scattered.
                    for &pixel in &pixels[..count] {
                        let dx = &mut block.view.pixel(pixel as usize)[at..at + GROUP];
                        let dy = &dy[at..at + GROUP];
                        for i in 0..GROUP {
                            dx[i] += if best[i] == pixel { dy[i] } else { 0.0 };
                        }
                    }
                }
                for at in whole..c {
                    let sources = window.clone().map(|(&pixel, x)| ([x[at]], [pixel]));
                    scatter(&mut block.view, &argmax::<1>(sources).1, dy, at);
                }
            }
        }
    }
}

/// A block of the gradient. In row-major order the first maximum of a window is in the first row
/// whose own maximum reaches it, and is the first in that row: so its pixel is as separable as its
/// value. The ring holds both.
struct SeparableGradient<'a, 'b> {
    pool: &'a MaxPool,
    x: View<'a, f32>,
    dy: View<'a, f32>,
    block: &'a mut ImageBlock<'b, f32>,
    ring: &'a mut [f32],
}

impl Task for SeparableGradient<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _lanes: L) {
        let SeparableGradient { pool, x, dy, block, ring } = self;
        block.view.fill(0.0);
        let (h, w, out, c) = (x.shape().h, x.shape().w, dy.shape(), block.channels.len());
        let slots = pool.kernel[0].min(h);
        let (values, pixels) = ring.split_at_mut(ring.len() / 2);
        let pixels: &mut [u32] = bytemuck::cast_slice_mut(pixels);
        let whole = c - c % GROUP;
        let mut next = 0;
        for oy in 0..out.h {
            let rows = pool.rows(oy, h);
            for iy in rows.start.max(next)..rows.end {
                for ox in 0..out.w {
                    let at = ((iy % slots) * out.w + ox) * c;
                    let (values, pixels) = (&mut values[at..at + c], &mut pixels[at..at + c]);
                    let row = pool.columns(ox, w).map(|ix| {
                        let pixel = [(iy * w + ix) as u32; GROUP];
                        (&x.at(block.image, iy, ix)[block.channels.clone()], pixel)
                    });
                    for at in (0..whole).step_by(GROUP) {
                        let best = argmax::<GROUP>(row.clone().map(|(x, pixel)| (first(&x[at..]), pixel)));
                        values[at..at + GROUP].copy_from_slice(&best.0);
                        pixels[at..at + GROUP].copy_from_slice(&best.1);
                    }
                    for at in whole..c {
                        let best = argmax::<1>(row.clone().map(|(x, pixel)| ([x[at]], [pixel[0]])));
                        (values[at], pixels[at]) = (best.0[0], best.1[0]);
                    }
                }
            }
            next = rows.end;
            for ox in 0..out.w {
                let dy = &dy.at(block.image, oy, ox)[block.channels.clone()];
                let (values, pixels) = (&*values, &*pixels);
                let column = rows.clone().map(|iy| ((iy % slots) * out.w + ox) * c);
                for at in (0..whole).step_by(GROUP) {
                    let sources =
                        column.clone().map(|row| (first(&values[row + at..]), first(&pixels[row + at..])));
                    scatter(&mut block.view, &argmax::<GROUP>(sources).1, dy, at);
                }
                for at in whole..c {
                    let sources = column.clone().map(|row| ([values[row + at]], [pixels[row + at]]));
                    scatter(&mut block.view, &argmax::<1>(sources).1, dy, at);
                }
            }
        }
    }
}

/// The first `N` elements of `from`.
#[inline(always)]
fn first<T: Copy + Default, const N: usize>(from: &[T]) -> [T; N] {
    let mut elements = [T::default(); N];
    elements.copy_from_slice(&from[..N]);
    elements
}

/// The largest value of each lane and the pixel it came with: the first of equals, the last of NaNs.
#[inline(always)]
fn argmax<const N: usize>(mut sources: impl Iterator<Item = ([f32; N], [u32; N])>) -> ([f32; N], [u32; N]) {
    let Some((mut best, mut best_pixel)) = sources.next() else { return ([0.0; N], [0; N]) };
    for (value, pixel) in sources {
        for i in 0..N {
            let takes = (value[i] > best[i]) | value[i].is_nan();
            best[i] = if takes { value[i] } else { best[i] };
            best_pixel[i] = if takes { pixel[i] } else { best_pixel[i] };
        }
    }
    (best, best_pixel)
}

/// Adds `dy[at + i]` to channel `at + i` of the pixel `pixels[i]`.
#[inline(always)]
fn scatter<const N: usize>(dx: &mut ViewMut<'_, f32>, pixels: &[u32; N], dy: &[f32], at: usize) {
    for (i, (&pixel, dy)) in pixels.iter().zip(&dy[at..at + N]).enumerate() {
        dx.pixel(pixel as usize)[at + i] += dy;
    }
}
