//! Max pooling on the cpu: vectors of channels, which lie densely, whose maxima stay in registers.
//!
//! Small windows are searched directly. Large ones are separable: first the maximum of each row of a
//! window, then of these over its rows, `kernel_h + kernel_w` comparisons instead of
//! `kernel_h · kernel_w`. The row maxima of the last `kernel_h` rows are kept in a ring, for a block
//! of channels at a time, so that they stay in the cache.
//!
//! Comparisons and selections only, so every instruction set gives the same bits.

use std::ops::Range;

use super::{Io, MaxPool};
use crate::ops::{ImageBlock, image_blocks, pixels_per_chunk};
use crate::runtime::Cpu;
use crate::runtime::vector::{Lanes, MAX_LANES, Task, dispatch};
use crate::tensor::{Shape, View, ViewMut};

/// The largest window that is searched directly.
const DIRECT: usize = 9;
/// Channels that one task handles.
const BLOCK: usize = 32;

fn is_direct(pool: &MaxPool) -> bool {
    pool.kernel[0] * pool.kernel[1] <= DIRECT
}

/// Whether small windows tile the map `x`: each pixel lies in exactly one.
fn is_tiling(pool: &MaxPool, x: Shape) -> bool {
    let [kh, kw] = pool.kernel;
    let tiles = pool.stride == pool.kernel && x.h.is_multiple_of(kh) && x.w.is_multiple_of(kw);
    tiles && is_direct(pool) && pool.rows(0, x.h) == (0..kh) && pool.columns(0, x.w) == (0..kw)
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
    if is_tiling(pool, x.shape()) {
        let step = x.shape().w * pool.kernel[0];
        cpu.for_each(dx.chunks(step).into_iter().enumerate().collect(), |(strip, chunk)| {
            dispatch(cpu, TileGradient { pool, x, dy, strip, chunk });
        });
    } else if is_direct(pool) {
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
) -> ([usize; DIRECT], [&'x [f32]; DIRECT], usize) {
    let (h, w) = (x.shape().h, x.shape().w);
    let (mut pixels, mut sources, mut count) = ([0; DIRECT], [&[][..]; DIRECT], 0);
    for iy in pool.rows(oy, h) {
        for ix in pool.columns(ox, w) {
            pixels[count] = iy * w + ix;
            sources[count] = &x.at(n, iy, ix)[channels.clone()];
            count += 1;
        }
    }
    (pixels, sources, count)
}

/// A vector of `from` at `at`, filled with zeros behind its end.
#[inline(always)]
fn load<L: Lanes>(lanes: L, from: &[f32], at: usize) -> L::V {
    let from = &from[at..];
    match from.len() >= L::LANES {
        // SAFETY: LANES numbers are left.
        true => unsafe { lanes.load(from.as_ptr()) },
        // SAFETY: as many as are left, fewer than LANES.
        false => unsafe { lanes.load_first(from.as_ptr(), from.len()) },
    }
}

/// Writes what of `v` fits into `to` from `at`.
#[inline(always)]
fn store<L: Lanes>(lanes: L, to: &mut [f32], at: usize, v: L::V) {
    let to = &mut to[at..];
    match to.len() >= L::LANES {
        // SAFETY: LANES numbers are left.
        true => unsafe { lanes.store(to.as_mut_ptr(), v) },
        // SAFETY: as many as are left, fewer than LANES.
        false => unsafe { lanes.store_first(to.as_mut_ptr(), to.len(), v) },
    }
}

/// `to = max(sources)`, element by element.
#[inline(always)]
fn maximum<'s, L: Lanes>(lanes: L, to: &mut [f32], sources: impl Iterator<Item = &'s [f32]> + Clone) {
    for at in (0..to.len()).step_by(L::LANES) {
        let mut best = lanes.splat(f32::NEG_INFINITY);
        for source in sources.clone() {
            let value = load(lanes, source, at);
            best = larger(lanes, (best, best), (value, value)).0;
        }
        store(lanes, to, at, best);
    }
}

/// Per lane the pair whose first is larger: `best` where they are equal, `new` where it is NaN.
#[inline(always)]
fn larger<L: Lanes>(lanes: L, best: (L::V, L::V), new: (L::V, L::V)) -> (L::V, L::V) {
    let is_larger = lanes.less(best.0, new.0);
    // Only a NaN is not below infinity here; `min` hands on a NaN in its second operand.
    let is_number = lanes.less(lanes.min(lanes.splat(f32::MAX), new.0), lanes.splat(f32::INFINITY));
    let value = lanes.select(is_number, lanes.select(is_larger, new.0, best.0), new.0);
    let tag = lanes.select(is_number, lanes.select(is_larger, new.1, best.1), new.1);
    (value, tag)
}

/// The largest value of each lane at `at`, and the tag of its source: the first of equals, the last
/// of NaNs. (Loops and not closures over lanes, which would be compiled without their instructions.)
#[inline(always)]
fn argmax<'s, L: Lanes>(
    lanes: L,
    at: usize,
    sources: impl Iterator<Item = (&'s [f32], f32)>,
) -> (L::V, L::V) {
    let mut best = None;
    for (source, tag) in sources {
        let new = (load(lanes, source, at), lanes.splat(tag));
        best = match best {
            Some(best) => Some(larger(lanes, best, new)),
            None => Some(new),
        };
    }
    match best {
        Some(best) => best,
        None => (lanes.splat(0.0), lanes.splat(0.0)),
    }
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
    fn run<L: Lanes>(mut self, lanes: L) {
        let Shape { h, w, c, .. } = self.shape;
        for i in 0..self.chunk.shape().pixels() {
            let (row, ox) = ((self.first + i) / w, (self.first + i) % w);
            let (_, sources, count) = gather(self.pool, self.x, row / h, [row % h, ox], 0..c);
            maximum(lanes, self.chunk.pixel(i), sources[..count].iter().copied());
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
    fn run<L: Lanes>(self, lanes: L) {
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
                    maximum(lanes, &mut ring[at..at + c], row);
                }
            }
            next = rows.end;
            for ox in 0..shape.w {
                let column = rows.clone().map(|iy| &ring[((iy % slots) * shape.w + ox) * c..][..c]);
                maximum(lanes, block.view.pixel(oy * shape.w + ox), column);
            }
        }
    }
}

/// A row of windows that tile the map, of the gradient: each element is written once, and none is read.
struct TileGradient<'a> {
    pool: &'a MaxPool,
    x: View<'a, f32>,
    dy: View<'a, f32>,
    strip: usize,
    chunk: ViewMut<'a, f32>,
}

impl Task for TileGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        let (Shape { w, c, .. }, [kh, kw]) = (self.x.shape(), self.pool.kernel);
        let out = self.dy.shape().w;
        for ox in 0..out {
            let dy = self.dy.pixel(self.strip * out + ox);
            let (mut pixels, mut sources) = ([0; DIRECT], [&[][..]; DIRECT]);
            for k in 0..kh * kw {
                pixels[k] = k / kw * w + ox * kw + k % kw;
                sources[k] = self.x.pixel(self.strip * kh * w + pixels[k]);
            }
            for at in (0..c).step_by(L::LANES) {
                let window = sources[..kh * kw].iter().enumerate().map(|(k, x)| (*x, k as f32));
                let ordinal = argmax(lanes, at, window).1;
                let dy = load(lanes, dy, at);
                for (k, &pixel) in pixels[..kh * kw].iter().enumerate() {
                    let difference = lanes.abs(lanes.sub(ordinal, lanes.splat(k as f32)));
                    let is_here = lanes.less(difference, lanes.splat(0.5));
                    store(lanes, self.chunk.pixel(pixel), at, lanes.select(is_here, dy, lanes.splat(0.0)));
                }
            }
        }
    }
}

/// A block of the gradient, each window searched whole for the ordinal k of its maximum; then `dy` is
/// added to element k under the mask `ordinal = k`, which needs no scatter.
struct DirectGradient<'a, 'b> {
    pool: &'a MaxPool,
    x: View<'a, f32>,
    dy: View<'a, f32>,
    block: &'a mut ImageBlock<'b, f32>,
}

impl Task for DirectGradient<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let DirectGradient { pool, x, dy, block } = self;
        let (Shape { h, w, .. }, out) = (x.shape(), dy.shape());
        let mut cleared = 0;
        for oy in 0..out.h {
            // Zeros just before they are added to: a map is larger than the cache.
            let end = pool.rows(oy, h).end;
            (cleared * w..end * w).for_each(|pixel| block.view.pixel(pixel).fill(0.0));
            cleared = end;
            for ox in 0..out.w {
                let dy = &dy.at(block.image, oy, ox)[block.channels.clone()];
                let (pixels, sources, count) = gather(pool, x, block.image, [oy, ox], block.channels.clone());
                for at in (0..dy.len()).step_by(L::LANES) {
                    let window = sources[..count].iter().enumerate().map(|(k, x)| (*x, k as f32));
                    let ordinal = argmax(lanes, at, window).1;
                    let dy = load(lanes, dy, at);
                    for (k, &pixel) in pixels[..count].iter().enumerate() {
                        let difference = lanes.abs(lanes.sub(ordinal, lanes.splat(k as f32)));
                        let is_here = lanes.less(difference, lanes.splat(0.5));
                        let dx = block.view.pixel(pixel);
                        let sum = lanes.add(load(lanes, dx, at), lanes.select(is_here, dy, lanes.splat(0.0)));
                        store(lanes, dx, at, sum);
                    }
                }
            }
        }
        (cleared * w..h * w).for_each(|pixel| block.view.pixel(pixel).fill(0.0));
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
    fn run<L: Lanes>(self, lanes: L) {
        let SeparableGradient { pool, x, dy, block, ring } = self;
        block.view.fill(0.0);
        let (h, w, out, c) = (x.shape().h, x.shape().w, dy.shape(), block.channels.len());
        let slots = pool.kernel[0].min(h);
        // Pixels are held as the bits of an f32: they are moved, never computed with.
        let (values, pixels) = ring.split_at_mut(ring.len() / 2);
        let mut next = 0;
        for oy in 0..out.h {
            let rows = pool.rows(oy, h);
            for iy in rows.start.max(next)..rows.end {
                for ox in 0..out.w {
                    let start = ((iy % slots) * out.w + ox) * c;
                    let (values, pixels) = (&mut values[start..start + c], &mut pixels[start..start + c]);
                    for at in (0..c).step_by(L::LANES) {
                        let row = pool.columns(ox, w).map(|ix| {
                            let x = &x.at(block.image, iy, ix)[block.channels.clone()];
                            (x, f32::from_bits((iy * w + ix) as u32))
                        });
                        let best = argmax(lanes, at, row);
                        store(lanes, values, at, best.0);
                        store(lanes, pixels, at, best.1);
                    }
                }
            }
            next = rows.end;
            for ox in 0..out.w {
                let dy = &dy.at(block.image, oy, ox)[block.channels.clone()];
                for at in (0..c).step_by(L::LANES) {
                    let part =
                        |iy: usize| ((iy % slots) * out.w + ox) * c..((iy % slots) * out.w + ox + 1) * c;
                    let top = part(rows.start);
                    let mut best = (load(lanes, &values[top.clone()], at), load(lanes, &pixels[top], at));
                    for part in (rows.start + 1..rows.end).map(part) {
                        let new = (load(lanes, &values[part.clone()], at), load(lanes, &pixels[part], at));
                        best = larger(lanes, best, new);
                    }
                    let mut places = [0.0; MAX_LANES];
                    store(lanes, &mut places, 0, best.1);
                    let channels = at..(at + L::LANES).min(c);
                    for (channel, pixel) in channels.zip(&places) {
                        block.view.pixel(pixel.to_bits() as usize)[channel] += dy[channel];
                    }
                }
            }
        }
    }
}
