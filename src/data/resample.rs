//! Axis-aligned affine maps of images and boxes, and the one resampler behind every resize.

use super::colour::{ColourMatrix, to_bytes};
use super::{Bounds, Image};

/// The grey that is around a picture which does not fill its frame: 0.5.
pub(super) const FILL: [u8; 3] = [128; 3];

/// `x' = scale.0 · x + shift.0`, `y' = scale.1 · y + shift.1`, in pixel edges. A negative scale
/// mirrors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Factors of x and y; never 0.
    pub scale: (f32, f32),
    /// What is added after scaling, in pixels.
    pub shift: (f32, f32),
}

impl Affine {
    /// The map that changes nothing.
    pub const IDENTITY: Affine = Affine { scale: (1.0, 1.0), shift: (0.0, 0.0) };

    /// A picture of `from` pixels (width, height) as large as fits into `to`, centred.
    pub fn letterbox(from: (usize, usize), to: (usize, usize)) -> Self {
        let (from, to) = (as_f32(from), as_f32(to));
        let scale = (to.0 / from.0).min(to.1 / from.1);
        // Whole pixels of margin: the picture's edge then falls between two pixels, not inside one.
        let margin = |from: f32, to: f32| ((to - from * scale) / 2.0).floor().max(0.0);
        Affine { scale: (scale, scale), shift: (margin(from.0, to.0), margin(from.1, to.1)) }
    }

    /// A picture of `from` pixels stretched to `to`.
    pub fn stretch(from: (usize, usize), to: (usize, usize)) -> Self {
        let (from, to) = (as_f32(from), as_f32(to));
        Affine { scale: (to.0 / from.0, to.1 / from.1), shift: (0.0, 0.0) }
    }

    /// Left and right swapped within `width` pixels.
    pub fn flip(width: usize) -> Self {
        Affine { scale: (-1.0, 1.0), shift: (width as f32, 0.0) }
    }

    /// This map, and then `next`.
    pub fn then(self, next: Affine) -> Affine {
        Affine {
            scale: (self.scale.0 * next.scale.0, self.scale.1 * next.scale.1),
            shift: (self.shift.0 * next.scale.0 + next.shift.0, self.shift.1 * next.scale.1 + next.shift.1),
        }
    }

    /// The map back.
    pub fn inverse(self) -> Affine {
        let scale = (1.0 / self.scale.0, 1.0 / self.scale.1);
        Affine { scale, shift: (-self.shift.0 * scale.0, -self.shift.1 * scale.1) }
    }

    /// Where a box comes to lie.
    pub fn map(self, bounds: Bounds) -> Bounds {
        let x = |v: f32| self.scale.0 * v + self.shift.0;
        let y = |v: f32| self.scale.1 * v + self.shift.1;
        let ((a, b), (c, d)) = ((x(bounds.x0), x(bounds.x1)), (y(bounds.y0), y(bounds.y1)));
        Bounds::new(a.min(b), c.min(d), a.max(b), c.max(d))
    }
}

fn as_f32((a, b): (usize, usize)) -> (f32, f32) {
    (a as f32, b as f32)
}

/// Whole pixels `x0..x1`, `y0..y1` of a canvas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub x0: usize,
    pub y0: usize,
    pub x1: usize,
    pub y1: usize,
}

impl Window {
    pub fn of(image: &Image) -> Self {
        Window { x0: 0, y0: 0, x1: image.width(), y1: image.height() }
    }

    pub fn bounds(&self) -> Bounds {
        Bounds::new(self.x0 as f32, self.y0 as f32, self.x1 as f32, self.y1 as f32)
    }
}

/// Draws `source`, moved by `map`, onto the pixels of `canvas` inside `window`, and returns the
/// part of the window that it covered, in changed colours where `colour` is given. The rest stays
/// as it was.
///
/// The filter is a triangle as wide as a source pixel or a target pixel, whichever is larger:
/// bilinear interpolation when enlarging, an antialiasing average when shrinking. It is separable;
/// columns go first because their inner loop runs along memory.
pub(super) fn draw(
    source: &Image,
    map: Affine,
    canvas: &mut Image,
    window: Window,
    colour: Option<&ColourMatrix>,
) -> Window {
    let across = Taps::new(source.width(), map.scale.0, map.shift.0, window.x0, window.x1);
    let down = Taps::new(source.height(), map.scale.1, map.shift.1, window.y0, window.y1);
    let covered = Window { x0: across.start, y0: down.start, x1: across.end(), y1: down.end() };
    let (low, high) = across.reach();
    let mut row = vec![0.0_f32; 3 * (high - low)];
    let mut line = vec![0.0_f32; 3 * across.len()];
    let (stride, source_stride) = (3 * canvas.width(), 3 * source.width());
    for y in 0..down.len() {
        for (k, (from, weight)) in down.taps(y).enumerate() {
            let pixels = &source.pixels()[from * source_stride..][3 * low..3 * high];
            // The first tap stores, so that the row need not be cleared.
            if k == 0 {
                row.iter_mut().zip(pixels).for_each(|(sum, &v)| *sum = weight * f32::from(v));
            } else {
                row.iter_mut().zip(pixels).for_each(|(sum, &v)| *sum += weight * f32::from(v));
            }
        }
        for (x, pixel) in line.chunks_exact_mut(3).enumerate() {
            let (first, weights) = across.run(x);
            let mut sum = [0.0_f32; 3];
            for (v, &weight) in row[3 * (first - low)..].chunks_exact(3).zip(weights) {
                sum[0] += weight * v[0];
                sum[1] += weight * v[1];
                sum[2] += weight * v[2];
            }
            pixel.copy_from_slice(&sum);
        }
        if let Some(colour) = colour {
            colour.apply_row(&mut line);
        }
        let start = (down.start + y) * stride + 3 * across.start;
        to_bytes(&line, &mut canvas.pixels_mut()[start..][..line.len()]);
    }
    covered
}

/// The weights of one axis: for each target position a run of source positions.
struct Taps {
    /// First target position that the source covers.
    start: usize,
    firsts: Vec<usize>,
    /// Where each run's weights start; one more at the end.
    offsets: Vec<usize>,
    weights: Vec<f32>,
}

impl Taps {
    fn new(source: usize, scale: f32, shift: f32, low: usize, high: usize) -> Self {
        let (inverse, size) = (1.0 / f64::from(scale), source as f64);
        let centre = |target: usize| (target as f64 + 0.5 - f64::from(shift)) * inverse;
        // A pixel is covered where its centre is.
        let inside = |target: &usize| (0.0..=size).contains(&centre(*target));
        let start = (low..high).find(inside).unwrap_or(high);
        let end = (start..high).rev().find(inside).map_or(start, |last| last + 1);
        let reach = inverse.abs().max(1.0);
        let mut taps = Taps { start, firsts: Vec::new(), offsets: vec![0], weights: Vec::new() };
        for target in start..end {
            let centre = centre(target);
            let from = (centre - reach - 0.5).ceil().clamp(0.0, size - 1.0) as usize;
            let to = (centre + reach - 0.5).floor().clamp(0.0, size - 1.0) as usize;
            let weight = |at: usize| (1.0 - (at as f64 + 0.5 - centre).abs() / reach).max(0.0) as f32;
            // Weights of 0 at the ends would only cost time; the nearest pixel's is above 0.
            let from = (from..to).find(|&at| weight(at) > 0.0).unwrap_or(to);
            let to = (from..=to).rev().find(|&at| weight(at) > 0.0).unwrap_or(from);
            let sum: f32 = (from..=to).map(weight).sum();
            taps.weights.extend((from..=to).map(|at| weight(at) / sum));
            taps.firsts.push(from);
            taps.offsets.push(taps.weights.len());
        }
        taps
    }

    fn len(&self) -> usize {
        self.firsts.len()
    }

    fn end(&self) -> usize {
        self.start + self.len()
    }

    /// First source position and weights of target `start + i`.
    fn run(&self, i: usize) -> (usize, &[f32]) {
        (self.firsts[i], &self.weights[self.offsets[i]..self.offsets[i + 1]])
    }

    fn taps(&self, i: usize) -> impl Iterator<Item = (usize, f32)> + '_ {
        let (first, weights) = self.run(i);
        weights.iter().enumerate().map(move |(k, &weight)| (first + k, weight))
    }

    /// The source positions that any run touches.
    fn reach(&self) -> (usize, usize) {
        let low = self.firsts.iter().copied().min().unwrap_or(0);
        let ends = (0..self.len()).map(|i| self.firsts[i] + self.offsets[i + 1] - self.offsets[i]);
        (low, ends.max().unwrap_or(low))
    }
}
