//! Max pooling on the cpu: loops over channels, which lie densely, in groups that stay in registers.
//!
//! Small windows are searched directly. Large ones are separable: first the maximum of each row of a
//! window, then of these over its rows, `kernel_h + kernel_w` comparisons instead of
//! `kernel_h · kernel_w`. The row maxima of the last `kernel_h` rows are kept in a ring, for a block
//! of channels at a time, so that they stay in the cache.

use super::{Io, MaxPool};
use crate::ops::{ImageBlock, image_blocks, pixels_per_chunk};
use crate::runtime::Cpu;
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
    if !is_direct(pool) {
        let ring = ring_elements(pool, x.shape(), y.shape());
        let (columns, shape) = (y.shape().w, y.shape());
        for_each_block(y, io.workspace, ring, cpu, |block, ring| {
            forward_block(pool, x, shape.h, columns, block, ring);
        });
        return;
    }
    let (shape, step) = (y.shape(), pixels_per_chunk(y.shape()));
    cpu.for_each(y.chunks(step).into_iter().enumerate().collect(), |(index, mut chunk)| {
        for i in 0..chunk.shape().pixels() {
            let (row, ox) = ((index * step + i) / shape.w, (index * step + i) % shape.w);
            let (n, oy) = (row / shape.h, row % shape.h);
            let columns = pool.columns(ox, x.shape().w);
            let sources =
                pool.rows(oy, x.shape().h).flat_map(|iy| columns.clone().map(move |ix| x.at(n, iy, ix)));
            maximum(chunk.pixel(i), sources);
        }
    });
}

pub(super) fn gradient(pool: &MaxPool, io: &mut Io<'_, f32>, cpu: &Cpu) {
    let (x, dy) = (io.input(0), io.input(1));
    let dx = io.outputs[0].reborrow();
    if is_direct(pool) {
        cpu.for_each(image_blocks(dx, BLOCK), |mut block| gradient_direct(pool, x, dy, &mut block));
    } else {
        let ring = 2 * ring_elements(pool, x.shape(), dy.shape());
        for_each_block(dx, io.workspace, ring, cpu, |block, ring| {
            gradient_block(pool, x, dy, block, ring);
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
            *best = if value > *best || value.is_nan() { value } else { *best };
        }
    }
    to[at..at + N].copy_from_slice(&best);
}

/// One block of the separable forward.
fn forward_block(
    pool: &MaxPool,
    x: View<'_, f32>,
    out_h: usize,
    out_w: usize,
    block: &mut ImageBlock<'_, f32>,
    ring: &mut [f32],
) {
    let (h, w, c) = (x.shape().h, x.shape().w, block.channels.len());
    let slots = pool.kernel[0].min(h);
    let mut next = 0;
    for oy in 0..out_h {
        let rows = pool.rows(oy, h);
        for iy in rows.start.max(next)..rows.end {
            for ox in 0..out_w {
                let at = ((iy % slots) * out_w + ox) * c;
                let sources =
                    pool.columns(ox, w).map(|ix| &x.at(block.image, iy, ix)[block.channels.clone()]);
                maximum(&mut ring[at..at + c], sources);
            }
        }
        next = rows.end;
        for ox in 0..out_w {
            let ring = &*ring;
            let sources = rows.clone().map(|iy| &ring[((iy % slots) * out_w + ox) * c..][..c]);
            maximum(block.view.pixel(oy * out_w + ox), sources);
        }
    }
}

/// One block of the gradient for small windows: per window the ordinal of its maximum, then `dy` is
/// added under the mask `ordinal = k` to every element `k`, which needs no scatter.
fn gradient_direct(pool: &MaxPool, x: View<'_, f32>, dy: View<'_, f32>, block: &mut ImageBlock<'_, f32>) {
    block.view.fill(0.0);
    let (h, w, out) = (x.shape().h, x.shape().w, dy.shape());
    let channels = block.channels.clone();
    for oy in 0..out.h {
        for ox in 0..out.w {
            let (rows, columns) = (pool.rows(oy, h), pool.columns(ox, w));
            let dy = &dy.at(block.image, oy, ox)[channels.clone()];
            let mut pixels = [0; DIRECT];
            let mut sources = [&[][..]; DIRECT];
            let mut count = 0;
            for iy in rows {
                for ix in columns.clone() {
                    pixels[count] = iy * w + ix;
                    sources[count] = &x.at(block.image, iy, ix)[channels.clone()];
                    count += 1;
                }
            }
            let (pixels, sources) = (&pixels[..count], &sources[..count]);
            let whole = dy.len() - dy.len() % GROUP;
            for at in (0..whole).step_by(GROUP) {
                add_at_maximum::<GROUP>(&mut block.view, pixels, sources, dy, at);
            }
            for at in whole..dy.len() {
                add_at_maximum::<1>(&mut block.view, pixels, sources, dy, at);
            }
        }
    }
}

#[inline(always)]
fn add_at_maximum<const N: usize>(
    dx: &mut ViewMut<'_, f32>,
    pixels: &[usize],
    sources: &[&[f32]],
    dy: &[f32],
    at: usize,
) {
    let mut best = [f32::NEG_INFINITY; N];
    let mut ordinal = [0.0; N];
    for (k, source) in sources.iter().enumerate() {
        let source = &source[at..at + N];
        for i in 0..N {
            let takes = source[i] > best[i] || source[i].is_nan();
            best[i] = if takes { source[i] } else { best[i] };
            ordinal[i] = if takes { k as f32 } else { ordinal[i] };
        }
    }
    let dy = &dy[at..at + N];
    for (k, &pixel) in pixels.iter().enumerate() {
        let dx = &mut dx.pixel(pixel)[at..at + N];
        for i in 0..N {
            dx[i] += if ordinal[i] == k as f32 { dy[i] } else { 0.0 };
        }
    }
}

/// One block of the separable gradient. In row-major order the first maximum of a window is in the
/// first row whose own maximum reaches it, and is the first in that row: so the position is as
/// separable as the value. The ring holds both, the column as f32.
fn gradient_block(
    pool: &MaxPool,
    x: View<'_, f32>,
    dy: View<'_, f32>,
    block: &mut ImageBlock<'_, f32>,
    ring: &mut [f32],
) {
    block.view.fill(0.0);
    let (h, w, out, c) = (x.shape().h, x.shape().w, dy.shape(), block.channels.len());
    let slots = pool.kernel[0].min(h);
    let (values, columns) = ring.split_at_mut(ring.len() / 2);
    let whole = c - c % GROUP;
    let mut next = 0;
    for oy in 0..out.h {
        let rows = pool.rows(oy, h);
        for iy in rows.start.max(next)..rows.end {
            for ox in 0..out.w {
                let at = ((iy % slots) * out.w + ox) * c;
                let (values, columns) = (&mut values[at..at + c], &mut columns[at..at + c]);
                let sources =
                    pool.columns(ox, w).map(|ix| (ix, &x.at(block.image, iy, ix)[block.channels.clone()]));
                for at in (0..whole).step_by(GROUP) {
                    row_maximum::<GROUP>(values, columns, at, sources.clone());
                }
                for at in whole..c {
                    row_maximum::<1>(values, columns, at, sources.clone());
                }
            }
        }
        next = rows.end;
        for ox in 0..out.w {
            let dy = &dy.at(block.image, oy, ox)[block.channels.clone()];
            let (values, columns) = (&*values, &*columns);
            let sources = rows.clone().map(|iy| {
                let at = ((iy % slots) * out.w + ox) * c;
                (iy, &values[at..at + c], &columns[at..at + c])
            });
            for at in (0..whole).step_by(GROUP) {
                scatter_at_maximum::<GROUP>(&mut block.view, w, dy, at, sources.clone());
            }
            for at in whole..c {
                scatter_at_maximum::<1>(&mut block.view, w, dy, at, sources.clone());
            }
        }
    }
}

#[inline(always)]
fn row_maximum<'s, const N: usize>(
    values: &mut [f32],
    columns: &mut [f32],
    at: usize,
    mut sources: impl Iterator<Item = (usize, &'s [f32])>,
) {
    let Some((column, first)) = sources.next() else { return };
    let mut best = [0.0; N];
    best.copy_from_slice(&first[at..at + N]);
    let mut best_column = [column as f32; N];
    for (column, source) in sources {
        let source = &source[at..at + N];
        for i in 0..N {
            let takes = source[i] > best[i] || source[i].is_nan();
            best[i] = if takes { source[i] } else { best[i] };
            best_column[i] = if takes { column as f32 } else { best_column[i] };
        }
    }
    values[at..at + N].copy_from_slice(&best);
    columns[at..at + N].copy_from_slice(&best_column);
}

#[inline(always)]
fn scatter_at_maximum<'s, const N: usize>(
    dx: &mut ViewMut<'_, f32>,
    w: usize,
    dy: &[f32],
    at: usize,
    mut sources: impl Iterator<Item = (usize, &'s [f32], &'s [f32])>,
) {
    let Some((row, values, columns)) = sources.next() else { return };
    let mut best = [0.0; N];
    best.copy_from_slice(&values[at..at + N]);
    let mut best_column = [0.0; N];
    best_column.copy_from_slice(&columns[at..at + N]);
    let mut best_row = [row as f32; N];
    for (row, values, columns) in sources {
        let (values, columns) = (&values[at..at + N], &columns[at..at + N]);
        for i in 0..N {
            let takes = values[i] > best[i] || values[i].is_nan();
            best[i] = if takes { values[i] } else { best[i] };
            best_column[i] = if takes { columns[i] } else { best_column[i] };
            best_row[i] = if takes { row as f32 } else { best_row[i] };
        }
    }
    for i in 0..N {
        dx.pixel(best_row[i] as usize * w + best_column[i] as usize)[at + i] += dy[at + i];
    }
}
