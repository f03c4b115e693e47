//! The transforms of F(4×4, 3×3), for the points 0, ±5/8, ±3/2, ∞: with the common 0, ±1, ±2, ∞ the
//! worst error in `winograd_loses_few_digits` is three times as large.
//!
//! With M(x) = x(x² − a²)(x² − b²): a finite point p has in Bᵀ the coefficients of M(x) / (x − p), in G
//! the row (1, p, p²) / M′(p), in Aᵀ the column (1, p, p², p³); ∞ has M(x), (0, 0, 1) and (0, 0, 0, 1).

// Vectors of a tile are indexed by the constants that size it: what the compiler unrolls.
#![allow(clippy::needless_range_loop)]

use super::super::finish::Moments;
use super::super::tile::MAX_WIDTH;
use super::{Block, IN, OUT, POSITIONS};
use crate::runtime::vector::{self, Lanes, Task};

// The points ±A and ±B beside 0 and ∞.
const A: f32 = 0.625;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;

/// Bᵀ of six vectors.
#[inline(always)]
fn input_transform<L: Lanes>(l: L, d: [L::V; IN]) -> [L::V; IN] {
    let (sum, product) = (l.splat(-(A2 + B2)), l.splat(A2 * B2));
    let (a, b, a2, b2) = (l.splat(A), l.splat(B), l.splat(-A2), l.splat(-B2));
    let minus = |v| l.sub(l.splat(0.0), v);
    // Even and odd parts of the rows of ±A and of ±B.
    let (even_a, odd_a) = (l.fma(b2, d[2], d[4]), l.fma(b2, d[1], d[3]));
    let (even_b, odd_b) = (l.fma(a2, d[2], d[4]), l.fma(a2, d[1], d[3]));
    [
        l.fma(product, d[0], l.fma(sum, d[2], d[4])),
        l.fma(a, odd_a, even_a),
        l.fma(minus(a), odd_a, even_a),
        l.fma(b, odd_b, even_b),
        l.fma(minus(b), odd_b, even_b),
        l.fma(product, d[1], l.fma(sum, d[3], d[5])),
    ]
}

/// G of three vectors.
#[inline(always)]
fn weight_transform<L: Lanes>(l: L, g: [L::V; 3]) -> [L::V; IN] {
    // Each point's row is (1, p, p²) over the product of its distances to the other points.
    let point = |p: f32, scale: f32| {
        let even = l.mul(l.splat(scale), l.fma(l.splat(p * p), g[2], g[0]));
        (even, l.mul(l.splat(scale * p), g[1]))
    };
    let (even_a, odd_a) = point(A, 1.0 / (2.0 * A2 * (A2 - B2)));
    let (even_b, odd_b) = point(B, 1.0 / (2.0 * B2 * (B2 - A2)));
    [
        l.mul(l.splat(1.0 / (A2 * B2)), g[0]),
        l.add(even_a, odd_a),
        l.sub(even_a, odd_a),
        l.add(even_b, odd_b),
        l.sub(even_b, odd_b),
        g[2],
    ]
}

/// Aᵀ of six vectors.
#[inline(always)]
fn output_transform<L: Lanes>(l: L, m: [L::V; IN]) -> [L::V; OUT] {
    let (even_a, odd_a) = (l.add(m[1], m[2]), l.sub(m[1], m[2]));
    let (even_b, odd_b) = (l.add(m[3], m[4]), l.sub(m[3], m[4]));
    [
        l.add(m[0], l.add(even_a, even_b)),
        l.fma(l.splat(A), odd_a, l.mul(l.splat(B), odd_b)),
        l.fma(l.splat(A2), even_a, l.mul(l.splat(B2), even_b)),
        l.fma(l.splat(A2 * A), odd_a, l.fma(l.splat(B2 * B), odd_b, m[5])),
    ]
}

/// A of four vectors, the transpose of [`output_transform`].
#[inline(always)]
fn gradient_transform<L: Lanes>(l: L, y: [L::V; OUT]) -> [L::V; IN] {
    let point = |p: f32| {
        let square = l.splat(p * p);
        (l.fma(square, y[2], y[0]), l.mul(l.splat(p), l.fma(square, y[3], y[1])))
    };
    let ((even_a, odd_a), (even_b, odd_b)) = (point(A), point(B));
    [y[0], l.add(even_a, odd_a), l.sub(even_a, odd_a), l.add(even_b, odd_b), l.sub(even_b, odd_b), y[3]]
}

/// Gᵀ of six vectors, the transpose of [`weight_transform`].
#[inline(always)]
fn weight_gradient_transform<L: Lanes>(l: L, u: [L::V; IN]) -> [L::V; 3] {
    let point = |p: f32, scale: f32, plus: L::V, minus: L::V| {
        let even = l.mul(l.splat(scale), l.add(plus, minus));
        let odd = l.mul(l.splat(scale * p), l.sub(plus, minus));
        (even, odd, l.mul(l.splat(p * p), even))
    };
    let (even_a, odd_a, square_a) = point(A, 1.0 / (2.0 * A2 * (A2 - B2)), u[1], u[2]);
    let (even_b, odd_b, square_b) = point(B, 1.0 / (2.0 * B2 * (B2 - A2)), u[3], u[4]);
    [
        l.fma(l.splat(1.0 / (A2 * B2)), u[0], l.add(even_a, even_b)),
        l.add(odd_a, odd_b),
        l.add(l.add(square_a, square_b), u[5]),
    ]
}

/// Transforms packed inputs, `[4·rows + 2, columns, c]`, to `[36, tiles, c]`.
pub struct InputTransform {
    /// The packed inputs.
    pub from: *const f32,
    /// Their columns.
    pub columns: usize,
    /// Their channels.
    pub c: usize,
    /// Tiles, down and to the right.
    pub tiles: [usize; 2],
    /// Receives the transformed inputs.
    pub to: *mut f32,
}

impl Task for InputTransform {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let count = self.tiles[0] * self.tiles[1];
        for t in 0..count {
            let pixel = (t / self.tiles[1] * self.columns + t % self.tiles[1]) * OUT;
            let mut i = 0;
            while i < self.c {
                let lanes = L::LANES.min(self.c - i);
                let mut d = [[l.splat(0.0); IN]; IN];
                // SAFETY: whoever made this has the inputs and room for the outputs of all tiles.
                unsafe {
                    let from = self.from.add(pixel * self.c + i);
                    for column in 0..IN {
                        let mut v = [l.splat(0.0); IN];
                        for row in 0..IN {
                            let at = from.add((row * self.columns + column) * self.c);
                            v[row] = if lanes == L::LANES { l.load(at) } else { l.load_first(at, lanes) };
                        }
                        let v = input_transform(l, v);
                        for row in 0..IN {
                            d[row][column] = v[row];
                        }
                    }
                    let to = self.to.add(t * self.c + i);
                    for row in 0..IN {
                        let v = input_transform(l, d[row]);
                        for column in 0..IN {
                            let at = to.add((row * IN + column) * count * self.c);
                            if lanes == L::LANES {
                                l.store(at, v[column]);
                            } else {
                                l.store_first(at, lanes, v[column]);
                            }
                        }
                    }
                }
                i += lanes;
            }
        }
    }
}

/// Transforms one tile's products back to `[4, columns, vectors · LANES]`.
pub struct OutputTransform<'a> {
    /// The tile's products at the first position.
    pub from: *const f32,
    /// Numbers from one position to the next.
    pub position: usize,
    /// Vectors.
    pub vectors: usize,
    /// Columns of results that exist.
    pub columns: usize,
    /// Receives the results.
    pub to: &'a mut [f32; OUT * OUT * MAX_WIDTH],
}

impl Task for OutputTransform<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        for n in 0..self.vectors {
            // SAFETY: whoever made this has products at every position; a row of results has at most
            // 4 columns of at most MAX_WIDTH numbers.
            unsafe {
                let results = results(l, self.from.add(n * L::LANES), self.position);
                for row in 0..OUT {
                    for column in 0..self.columns {
                        let at = (row * self.columns + column) * self.vectors + n;
                        l.store(self.to.as_mut_ptr().add(at * L::LANES), results[row][column]);
                    }
                }
            }
        }
    }
}

/// One vector of a tile's results.
///
/// # Safety
/// A vector is readable at all 36 positions, `position` numbers apart from `from`.
#[inline(always)]
unsafe fn results<L: Lanes>(l: L, from: *const f32, position: usize) -> [[L::V; OUT]; OUT] {
    let mut m = [[l.splat(0.0); IN]; OUT];
    for column in 0..IN {
        let mut v = [l.splat(0.0); IN];
        for row in 0..IN {
            // SAFETY: the caller's promise.
            v[row] = unsafe { l.load(from.add((row * IN + column) * position)) };
        }
        let v = output_transform(l, v);
        for row in 0..OUT {
            m[row][column] = v[row];
        }
    }
    let mut y = [[l.splat(0.0); OUT]; OUT];
    for row in 0..OUT {
        y[row] = output_transform(l, m[row]);
    }
    y
}

/// Transforms one whole tile's products back and finishes it in registers: bias, statistics, and
/// max(v, slope · v).
pub struct OutputStore<'a> {
    /// The tile's products at the first position.
    pub from: *const f32,
    /// Numbers from one position to the next.
    pub position: usize,
    /// Vectors.
    pub vectors: usize,
    /// Channels that exist.
    pub channels: usize,
    /// The panel's first channel of the tile's first pixel.
    pub y: *mut f32,
    /// Numbers from one pixel to the next: down and to the right.
    pub pitches: [usize; 2],
    /// A bias per channel of the panel, zero beyond the last.
    pub bias: &'a [f32; MAX_WIDTH],
    /// 1 for linear, 0.1 for leaky.
    pub slope: f32,
    /// The statistics of what comes after the bias.
    pub moments: Option<&'a mut Moments>,
    /// Whether the statistics start with this tile.
    pub first: bool,
}

impl Task for OutputStore<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let slope = l.splat(self.slope);
        let mut moments = self.moments;
        for n in 0..self.vectors {
            let at = n * L::LANES;
            let lanes = L::LANES.min(self.channels - at);
            // SAFETY: whoever made this has products at every position and `channels` of the panel's
            // channels at every pixel; a panel has at most MAX_WIDTH channels.
            unsafe {
                let bias = l.load(self.bias.as_ptr().add(at));
                let mut z = results(l, self.from.add(at), self.position);
                for v in z.as_flattened_mut() {
                    *v = l.add(*v, bias);
                }
                if let Some(moments) = &mut moments {
                    let [pivot, sum, square] = [&mut moments.pivot, &mut moments.sum, &mut moments.square]
                        .map(|numbers| numbers.as_mut_ptr().add(at));
                    if self.first {
                        l.store(pivot, z[0][0]);
                    }
                    let (pivot, mut s, mut q) = (l.load(pivot), l.load(sum), l.load(square));
                    for v in z.as_flattened() {
                        let d = l.sub(*v, pivot);
                        s = l.add(s, d);
                        q = l.fma(d, d, q);
                    }
                    l.store(sum, s);
                    l.store(square, q);
                }
                for row in 0..OUT {
                    for column in 0..OUT {
                        let to = self.y.add(row * self.pitches[0] + column * self.pitches[1] + at);
                        let v = l.max(l.mul(slope, z[row][column]), z[row][column]);
                        if lanes == L::LANES {
                            l.store(to, v);
                        } else {
                            l.store_first(to, lanes, v);
                        }
                    }
                }
            }
        }
    }
}

/// Transforms one panel of weights in place: `[9, c_in, width]` at the end of the panel becomes
/// `[36, c_in, width]`.
pub struct WeightTransform<'a> {
    /// The panel: room for all 36 positions.
    pub panel: &'a mut [f32],
}

impl Task for WeightTransform<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let each = self.panel.len() / POSITIONS;
        let numbers = self.panel.as_mut_ptr();
        for i in (0..each).step_by(L::LANES) {
            // A vector's nine weights lie where its last nine positions go: they are read first.
            // SAFETY: i + LANES ≤ each (panels are whole vectors), and position < 36.
            unsafe {
                let tap = |k: usize| l.load(numbers.add((POSITIONS - 9 + k) * each + i));
                let mut g = [[l.splat(0.0); 3]; IN];
                for column in 0..3 {
                    let v = weight_transform(l, [tap(column), tap(3 + column), tap(6 + column)]);
                    for row in 0..IN {
                        g[row][column] = v[row];
                    }
                }
                for row in 0..IN {
                    let v = weight_transform(l, g[row]);
                    for column in 0..IN {
                        l.store(numbers.add((row * IN + column) * each + i), v[column]);
                    }
                }
            }
        }
    }
}

/// Transforms the output gradients of a block and panel to `[36, tiles, vectors · LANES]`.
pub struct GradientTransform<'a> {
    /// The panel's first channel of the block's first pixel.
    pub from: *const f32,
    /// Numbers from one pixel to the next: down and to the right.
    pub pitches: [usize; 2],
    /// The block.
    pub block: &'a Block,
    /// Channels that exist.
    pub channels: usize,
    /// Vectors.
    pub vectors: usize,
    /// Receives the transformed gradients.
    pub to: *mut f32,
    /// Receives the sum of the gradients of every channel, `[vectors · LANES]`.
    pub sums: &'a mut [f32; MAX_WIDTH],
}

impl Task for GradientTransform<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let Block { results, tiles, .. } = *self.block;
        let count = tiles[0] * tiles[1];
        let width = self.vectors * L::LANES;
        for n in 0..self.vectors {
            let lanes = L::LANES.min(self.channels - n * L::LANES);
            let mut sum = l.splat(0.0);
            for t in 0..count {
                let tile = [t / tiles[1] * OUT, t % tiles[1] * OUT];
                let [rows, columns] = [0, 1].map(|i| OUT.min(results[i] - tile[i]));
                let pixel = tile[0] * self.pitches[0] + tile[1] * self.pitches[1];
                let mut m = [[l.splat(0.0); OUT]; IN];
                // SAFETY: whoever made this has gradients at every pixel of the block, and room for
                // the transformed ones of all tiles.
                unsafe {
                    let from = self.from.add(pixel + n * L::LANES);
                    for column in 0..OUT {
                        let mut v = [l.splat(0.0); OUT];
                        for row in 0..OUT {
                            if row < rows && column < columns {
                                let at = from.add(row * self.pitches[0] + column * self.pitches[1]);
                                v[row] = if lanes == L::LANES { l.load(at) } else { l.load_first(at, lanes) };
                            }
                            sum = l.add(sum, v[row]);
                        }
                        let v = gradient_transform(l, v);
                        for row in 0..IN {
                            m[row][column] = v[row];
                        }
                    }
                    let to = self.to.add(t * width + n * L::LANES);
                    for row in 0..IN {
                        let v = gradient_transform(l, m[row]);
                        for column in 0..IN {
                            l.store(to.add((row * IN + column) * count * width), v[column]);
                        }
                    }
                }
            }
            // SAFETY: a panel has at most MAX_WIDTH channels.
            unsafe { l.store(self.sums.as_mut_ptr().add(n * L::LANES), sum) };
        }
    }
}

/// Adds the other sums of one panel's transformed weight gradients, `[36, c_in, width]`, to the first
/// and transforms them back, in place: `[9, c_in, width]` at its start.
pub struct WeightGradientTransform<'a> {
    /// The first sum.
    pub panel: &'a mut [f32],
    /// The others.
    pub others: &'a [&'a [f32]],
}

impl Task for WeightGradientTransform<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let each = self.panel.len() / POSITIONS;
        for other in self.others {
            vector::zip(l, self.panel, other, |a, b| l.add(a, b));
        }
        let numbers = self.panel.as_mut_ptr();
        for i in (0..each).step_by(L::LANES) {
            // All positions of a vector are read before its taps are written.
            // SAFETY: i + LANES ≤ each (panels are whole vectors), and position < 36.
            unsafe {
                let mut g = [[l.splat(0.0); IN]; 3];
                for column in 0..IN {
                    let mut v = [l.splat(0.0); IN];
                    for row in 0..IN {
                        v[row] = l.load(numbers.add((row * IN + column) * each + i));
                    }
                    let v = weight_gradient_transform(l, v);
                    for row in 0..3 {
                        g[row][column] = v[row];
                    }
                }
                for row in 0..3 {
                    let v = weight_gradient_transform(l, g[row]);
                    for column in 0..3 {
                        l.store(numbers.add((row * 3 + column) * each + i), v[column]);
                    }
                }
            }
        }
    }
}
