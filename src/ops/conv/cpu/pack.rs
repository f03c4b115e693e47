//! Packing: weights into panels and back, map rows into a padded scratch.

// Tiles of vectors are indexed by the constants that size them: what the compiler unrolls.
#![allow(clippy::needless_range_loop)]

use super::Prologue;
use super::taps::{Axis, Layout, Panel};
use super::tile::MAX_WIDTH;
use crate::runtime::Activation;
use crate::runtime::vector::{self, Lanes, Task};
use crate::tensor::View;

/// Which of the weight's two channel axes a panel's lanes run over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Direction {
    /// Lanes are output channels, k runs over input channels.
    Forward,
    /// Lanes are input channels, k runs over output channels: the input gradient.
    Backward,
}

/// A weight `[c_out, kernel_h, kernel_w, c_in / groups]`: where each of a panel's numbers lies.
#[derive(Clone, Copy)]
struct Strides {
    /// From one source channel (k) to the next.
    source: usize,
    /// From one result channel (lane) to the next.
    lane: usize,
    /// From one column of taps to the next.
    tap: usize,
    /// The weight's kernel width.
    kernel_w: usize,
    /// The panel's first number at tap (0, 0).
    start: usize,
}

impl Strides {
    fn new(layout: &Layout, panel: &Panel, direction: Direction, kernel: [usize; 2]) -> Self {
        let area = kernel[0] * kernel[1];
        let kernel_w = kernel[1];
        if layout.depthwise {
            return Strides { source: 0, lane: area, tap: 1, kernel_w, start: panel.channel * area };
        }
        let lane = panel.channel - panel.group * layout.c_out;
        match direction {
            Direction::Forward => {
                let row = area * layout.c_in;
                Strides { source: 1, lane: row, tap: layout.c_in, kernel_w, start: panel.channel * row }
            }
            Direction::Backward => {
                // Here c_in counts the weight's output channels, c_out its input channels.
                let row = area * layout.c_out;
                let start = panel.group * layout.c_in * row + lane;
                Strides { source: row, lane: 1, tap: layout.c_out, kernel_w, start }
            }
        }
    }

    fn tap(&self, row: usize, column: usize) -> usize {
        self.start + (row * self.kernel_w + column) * self.tap
    }
}

/// Packs one panel of `weight` for the taps of `rows` × `columns` into `to`, `[k, vectors · lanes]`.
pub fn pack_panel(
    layout: &Layout,
    panel: &Panel,
    direction: Direction,
    kernel: [usize; 2],
    [rows, columns]: [&Axis; 2],
    weight: &[f32],
    to: &mut [f32],
) {
    let strides = Strides::new(layout, panel, direction, kernel);
    let width = panel.vectors * layout.lanes;
    let depth = layout.k(1);
    let taps = rows.taps.iter().flat_map(|r| columns.taps.iter().map(move |c| (r.kernel, c.kernel)));
    for ((row, column), block) in taps.zip(to.chunks_exact_mut(depth * width)) {
        let start = strides.tap(row, column);
        if strides.lane == 1 {
            for (k, line) in block.chunks_exact_mut(width).enumerate() {
                let from = start + k * strides.source;
                line[..panel.channels].copy_from_slice(&weight[from..from + panel.channels]);
                line[panel.channels..].fill(0.0);
            }
            continue;
        }
        // A transpose, in blocks that stay in the first-level cache. Both kinds of strided lanes have
        // adjacent source channels (one, where depth-wise).
        for (b, lines) in block.chunks_mut(64 * width).enumerate() {
            let height = lines.len() / width;
            if panel.channels < width {
                lines.fill(0.0);
            }
            for lane in 0..panel.channels {
                let from = &weight[start + lane * strides.lane + b * 64..][..height];
                for (line, value) in lines.chunks_exact_mut(width).zip(from) {
                    line[lane] = *value;
                }
            }
        }
    }
}

/// Adds up partial gradients, packed like weights, and brings one panel's into the weight's order.
pub struct UnpackPanel<'a> {
    /// The panel.
    pub panel: Panel,
    /// Rows of a packed panel.
    pub k: usize,
    /// The panel's partial sums.
    pub partials: &'a [&'a [f32]],
    /// Receives the gradients of the panel's output channels, `[channels, k]`.
    pub weight: &'a mut [f32],
}

impl Task for UnpackPanel<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        const ROWS: usize = 64;
        let (k, width) = (self.k, self.panel.vectors * L::LANES);
        let mut total = [0.0f32; ROWS * MAX_WIDTH];
        // Forward packing keeps (tap row, tap column, input channel) in the weight's own order, so a
        // panel is the transpose of its rows; in blocks that stay in the first-level cache.
        for block in (0..k).step_by(ROWS) {
            let rows = ROWS.min(k - block);
            let total = &mut total[..rows * width];
            for (i, partial) in self.partials.iter().enumerate() {
                let part = &partial[block * width..][..rows * width];
                if i == 0 {
                    total.copy_from_slice(part);
                } else {
                    vector::zip(l, total, part, |a, b| l.add(a, b));
                }
            }
            for (lane, row) in self.weight.chunks_exact_mut(k).enumerate() {
                for (value, line) in row[block..block + rows].iter_mut().zip(total.chunks_exact(width)) {
                    *value = line[lane];
                }
            }
        }
    }
}

/// Copies a rectangle of a map into scratch, dense, with zeros where it leaves the map and the
/// prologue applied where it does not.
pub struct PackRows<'a> {
    /// The map's channels to copy.
    pub x: View<'a, f32>,
    /// Applied to every number that exists; already cut to the same channels.
    pub prologue: Option<Prologue<'a>>,
    /// The image.
    pub image: usize,
    /// The rectangle's first row, may lie outside.
    pub row: isize,
    /// Its rows.
    pub rows: usize,
    /// The rectangle's first column, may lie outside.
    pub column: isize,
    /// Its columns.
    pub columns: usize,
    /// Receives `[rows, columns, c]`, pixels `pitch` apart.
    pub to: *mut f32,
    /// Numbers from one of its pixels to the next.
    pub pitch: usize,
}

impl Task for PackRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let shape = self.x.shape();
        let (c, stride, pitch) = (shape.c, self.x.pixel_stride(), self.pitch);
        // The part of a row that exists.
        let left = (-self.column).clamp(0, self.columns as isize) as usize;
        let end = (shape.w as isize - self.column).clamp(left as isize, self.columns as isize) as usize;
        for r in 0..self.rows {
            let y = self.row + r as isize;
            // SAFETY: `to` has room for rows · columns pixels; the pixels read are those of
            // row y, columns column + left .. column + end, which lie in the map.
            unsafe {
                let to = self.to.add(r * self.columns * pitch);
                if y < 0 || y >= shape.h as isize || left == end {
                    to.write_bytes(0, self.columns * pitch);
                    continue;
                }
                let pixel =
                    (self.image * shape.h + y as usize) * shape.w + (self.column + left as isize) as usize;
                let from = self.x.as_ptr().add(pixel * stride);
                to.write_bytes(0, left * pitch);
                to.add(end * pitch).write_bytes(0, (self.columns - end) * pitch);
                let to = to.add(left * pitch);
                match self.prologue {
                    None if stride == c && pitch == c => to.copy_from_nonoverlapping(from, (end - left) * c),
                    None => {
                        for p in 0..end - left {
                            copy(l, from.add(p * stride), to.add(p * pitch), c);
                        }
                    }
                    Some(prologue) => {
                        let strip = Strip { from, stride, to, pitch, c, pixels: end - left };
                        strip.apply(l, &prologue);
                    }
                }
            }
        }
    }
}

/// Copies `count` numbers, without the call that `memcpy` is.
///
/// # Safety
/// Both are `count` long.
#[inline(always)]
unsafe fn copy<L: Lanes>(l: L, from: *const f32, to: *mut f32, count: usize) {
    let mut i = 0;
    // SAFETY: i + LANES ≤ count, then i + rest = count.
    unsafe {
        while i + L::LANES <= count {
            l.store(to.add(i), l.load(from.add(i)));
            i += L::LANES;
        }
        if i < count {
            l.store_first(to.add(i), count - i, l.load_first(from.add(i), count - i));
        }
    }
}

/// Pixels side by side that a prologue goes over.
struct Strip {
    from: *const f32,
    stride: usize,
    to: *mut f32,
    pitch: usize,
    c: usize,
    pixels: usize,
}

// SAFETY of the blocks below: whoever makes a `Strip` has c readable numbers at every pixel of
// `from`, and as many writable ones at every pixel of `to`; the prologue has c channels.
impl Strip {
    #[inline(always)]
    fn apply<L: Lanes>(&self, l: L, prologue: &Prologue) {
        // Constants, so that each loop holds one activation.
        match prologue.activation {
            Activation::Linear => self.with(l, prologue, Activation::Linear),
            Activation::Relu => self.with(l, prologue, Activation::Relu),
            Activation::Leaky => self.with(l, prologue, Activation::Leaky),
            Activation::Silu => self.with(l, prologue, Activation::Silu),
            Activation::Mish => self.with(l, prologue, Activation::Mish),
            Activation::Sigmoid => self.with(l, prologue, Activation::Sigmoid),
        }
    }

    #[inline(always)]
    fn with<L: Lanes>(&self, l: L, prologue: &Prologue, activation: Activation) {
        let mut i = 0;
        while i + 4 * L::LANES <= self.c {
            self.vectors::<L, 4>(l, prologue, activation, i);
            i += 4 * L::LANES;
        }
        while i + L::LANES <= self.c {
            self.vectors::<L, 1>(l, prologue, activation, i);
            i += L::LANES;
        }
        if i == self.c {
            return;
        }
        let rest = self.c - i;
        // SAFETY: above, i + rest = c.
        unsafe {
            let scale = l.load_first(prologue.scale.as_ptr().add(i), rest);
            let shift = l.load_first(prologue.shift.as_ptr().add(i), rest);
            for p in 0..self.pixels {
                let v = l.load_first(self.from.add(p * self.stride + i), rest);
                let v = activation.apply_lanes(l, l.fma(v, scale, shift));
                l.store_first(self.to.add(p * self.pitch + i), rest, v);
            }
        }
    }

    /// Channels i to i + N · LANES of all pixels.
    #[inline(always)]
    fn vectors<L: Lanes, const N: usize>(&self, l: L, prologue: &Prologue, activation: Activation, i: usize) {
        let (mut scale, mut shift) = ([l.splat(0.0); N], [l.splat(0.0); N]);
        // SAFETY: above, i + N · LANES ≤ c.
        unsafe {
            for n in 0..N {
                scale[n] = l.load(prologue.scale.as_ptr().add(i + n * L::LANES));
                shift[n] = l.load(prologue.shift.as_ptr().add(i + n * L::LANES));
            }
            for p in 0..self.pixels {
                let (from, to) = (self.from.add(p * self.stride + i), self.to.add(p * self.pitch + i));
                for n in 0..N {
                    let v = l.fma(l.load(from.add(n * L::LANES)), scale[n], shift[n]);
                    l.store(to.add(n * L::LANES), activation.apply_lanes(l, v));
                }
            }
        }
    }
}
