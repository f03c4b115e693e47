//! Packing: weights into panels and back, map rows into a padded scratch.

use super::Prologue;
use super::taps::{Axis, Layout, Panel};
use crate::runtime::vector::{Lanes, Task};
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
        // A transpose, in blocks that stay in the first-level cache.
        for (b, lines) in block.chunks_mut(64 * width).enumerate() {
            for lane in 0..width {
                let column = lines[lane..].iter_mut().step_by(width);
                if lane < panel.channels {
                    let from = start + lane * strides.lane + b * 64 * strides.source;
                    column.enumerate().for_each(|(k, v)| *v = weight[from + k * strides.source]);
                } else {
                    column.for_each(|v| *v = 0.0);
                }
            }
        }
    }
}

/// Where [`unpack_panel`] adds up the partial gradients of one panel and writes them.
pub struct Unpack<'a> {
    /// The panels' layout.
    pub layout: &'a Layout,
    /// Rows of a packed panel.
    pub k: usize,
    /// Partial sums, each packed like weights.
    pub partials: &'a [&'a [f32]],
}

impl Unpack<'_> {
    /// Writes the gradients of `panel`'s weights into `weight`, the part of the weight's gradient
    /// that belongs to the panel's output channels.
    pub fn panel(&self, panel: &Panel, weight: &mut [f32]) {
        let (width, k) = (panel.vectors * self.layout.lanes, self.k);
        // Forward packing keeps (tap row, tap column, input channel) in the weight's own order, so a
        // panel is the transpose of its rows; in blocks that stay in the first-level cache.
        for block in (0..k).step_by(64) {
            for (lane, row) in weight.chunks_exact_mut(k).enumerate() {
                for (i, value) in row[block..k.min(block + 64)].iter_mut().enumerate() {
                    let from = panel.before * k + (block + i) * width + lane;
                    *value = self.partials.iter().map(|partial| partial[from]).sum();
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
    /// Receives `[rows, columns, c]`.
    pub to: *mut f32,
}

impl Task for PackRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let shape = self.x.shape();
        let (c, stride) = (shape.c, self.x.pixel_stride());
        // The part of a row that exists.
        let left = (-self.column).clamp(0, self.columns as isize) as usize;
        let end = (shape.w as isize - self.column).clamp(left as isize, self.columns as isize) as usize;
        for r in 0..self.rows {
            let y = self.row + r as isize;
            // SAFETY: `to` has room for rows · columns · c numbers; the pixels read are those of
            // row y, columns column + left .. column + end, which lie in the map.
            unsafe {
                let to = self.to.add(r * self.columns * c);
                if y < 0 || y >= shape.h as isize || left == end {
                    to.write_bytes(0, self.columns * c);
                    continue;
                }
                let pixel =
                    (self.image * shape.h + y as usize) * shape.w + (self.column + left as isize) as usize;
                let from = self.x.as_ptr().add(pixel * stride);
                to.write_bytes(0, left * c);
                to.add(end * c).write_bytes(0, (self.columns - end) * c);
                let to = to.add(left * c);
                match self.prologue {
                    None if stride == c => to.copy_from_nonoverlapping(from, (end - left) * c),
                    None => {
                        for p in 0..end - left {
                            copy(l, from.add(p * stride), to.add(p * c), c);
                        }
                    }
                    Some(prologue) => {
                        for p in 0..end - left {
                            apply(l, &prologue, from.add(p * stride), to.add(p * c), c);
                        }
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

/// Writes the prologue of `count` channels.
///
/// # Safety
/// Both are `count` long, and so are the prologue's vectors.
#[inline(always)]
unsafe fn apply<L: Lanes>(l: L, prologue: &Prologue, from: *const f32, to: *mut f32, count: usize) {
    let (scale, shift) = (prologue.scale.as_ptr(), prologue.shift.as_ptr());
    let mut i = 0;
    // SAFETY: i + LANES ≤ count, then i + rest = count.
    unsafe {
        while i + L::LANES <= count {
            let v = l.fma(l.load(from.add(i)), l.load(scale.add(i)), l.load(shift.add(i)));
            l.store(to.add(i), prologue.activation.apply_lanes(l, v));
            i += L::LANES;
        }
        if i < count {
            let rest = count - i;
            let (scale, shift) = (l.load_first(scale.add(i), rest), l.load_first(shift.add(i), rest));
            let v = l.fma(l.load_first(from.add(i), rest), scale, shift);
            l.store_first(to.add(i), rest, prologue.activation.apply_lanes(l, v));
        }
    }
}
