//! The micro-kernels: a tile of results held in registers.
//!
//! Two of them are dense. [`Dot`] makes M pixels × N vectors of output channels: it walks the taps
//! and input channels, broadcasts one number of each pixel and multiplies it with the weight panel's
//! row. [`Outer`] makes M weight rows × N vectors of output channels: it walks the pixels, broadcasts
//! M inputs and multiplies each with the pixel's output gradients. On AVX-512 a tile is 14 × 2
//! vectors: 28 accumulators, 2 vectors of weights and one broadcast fill 31 of the 32 registers.
//! Their depth-wise kin, [`DepthDot`] and [`DepthOuter`], have vectors of channels on both sides.
//!
//! Everything is generic over [`Lanes`]; M and N are constants so that the tile lives in registers,
//! and [`by_size!`] picks the constant for a run-time size.

// Tiles of vectors are indexed by the constants that size them: what the compiler unrolls.
#![allow(clippy::needless_range_loop)]

use super::finish::Moments;
use crate::runtime::vector::{Lanes, Task};

/// The most pixels (or weight rows) in a tile, on any instruction set.
pub const MAX_ROWS: usize = 14;
/// Numbers in a cache line.
const LINE: usize = 16;
/// The most channels in a panel.
pub const MAX_WIDTH: usize = 32;
/// The most numbers in a tile.
pub const MAX_TILE: usize = MAX_ROWS * MAX_WIDTH;

/// The tile sizes of an instruction set.
pub struct Tile<L>(std::marker::PhantomData<L>);

impl<L: Lanes> Tile<L> {
    /// Pixels, or weight rows.
    pub const ROWS: usize = match (L::REGISTERS, L::LANES) {
        (32, 16) => 14,
        (32, _) => 6,
        (16, _) => 6,
        _ => 3,
    };
    /// Vectors of output channels.
    pub const VECTORS: usize = if L::REGISTERS == 32 && L::LANES < 16 { 4 } else { 2 };
}

/// Runs `$task::<M, N>($arguments)` for the run-time sizes `$m` in 1..=14 and `$n` in 1..=4.
macro_rules! by_size {
    (@row $l:expr, $m:expr, $task:ident, $arguments:expr, $n:literal, $($size:literal)*) => {
        match $m {
            $($size => $l.call($task::<$size, $n>($arguments)),)*
            _ => unreachable!("a tile has at most 14 rows"),
        }
    };
    ($l:expr, $m:expr, $n:expr, $task:ident, $arguments:expr) => {
        match $n {
            1 => by_size!(@row $l, $m, $task, $arguments, 1, 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            2 => by_size!(@row $l, $m, $task, $arguments, 2, 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            3 => by_size!(@row $l, $m, $task, $arguments, 3, 1 2 3 4 5 6),
            4 => by_size!(@row $l, $m, $task, $arguments, 4, 1 2 3 4 5 6),
            _ => unreachable!("a tile has at most 4 vectors"),
        }
    };
}

/// An epilogue simple enough to run in the tile's registers.
pub struct Store<'a> {
    /// The panel's first channel of the map's pixel 0.
    pub y: *mut f32,
    /// Numbers from there to each pixel of the tile.
    pub pixels: &'a [usize; MAX_ROWS],
    /// A bias per channel of the panel, zero beyond the last.
    pub bias: &'a [f32; MAX_WIDTH],
    /// max(v, slope · v): 1 for linear, 0.1 for leaky.
    pub slope: f32,
    /// Add to what the map holds.
    pub accumulate: bool,
    /// The statistics of what comes after the bias.
    pub moments: Option<*mut Moments>,
    /// Whether the statistics start with this tile.
    pub first: bool,
}

/// What [`Dot`] and [`DepthDot`] read and write.
pub struct DotArguments<'a> {
    /// The source of input pixels.
    pub x: *const f32,
    /// Where each pixel of the tile starts in `x`.
    pub pixels: &'a [usize; MAX_ROWS],
    /// Where each run of taps starts from its pixel.
    pub segments: &'a [usize],
    /// Numbers in a run: taps side by side × input channels.
    pub run: usize,
    /// The weight panel, `[segments · run, N · LANES]`.
    pub weight: *const f32,
    /// Pixels to ask for in time, and the numbers from one to the next: as many as the tile has.
    pub coming: Option<(*const f32, usize)>,
    /// How many of the panel's channels exist.
    pub channels: usize,
    /// Where the tile goes, if its epilogue is simple.
    pub store: Option<Store<'a>>,
    /// Receives the tile, `[M, N · LANES]`, otherwise.
    pub tile: *mut f32,
}

/// M pixels × N vectors of output channels.
pub struct Dot<'a, const M: usize, const N: usize>(pub &'a DotArguments<'a>);

impl<const M: usize, const N: usize> Task for Dot<'_, M, N> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        if M > Tile::<L>::ROWS || N > Tile::<L>::VECTORS {
            unreachable!("larger than this instruction set's tile");
        }
        let a = self.0;
        let mut sums = [[l.splat(0.0); N]; M];
        let mut weight = a.weight;
        // SAFETY: the caller made `pixels`, `segments` and `run` so that every read lies in its
        // source of pixels, `weight` of segments · run rows, and `tile` of M rows.
        unsafe {
            for &segment in a.segments {
                let mut x = [a.x; M];
                for m in 0..M {
                    x[m] = a.x.add(a.pixels[m] + segment);
                }
                let mut k = 0;
                while k < a.run {
                    if let Some((coming, stride)) = a.coming {
                        for m in 0..M {
                            l.prefetch(coming.wrapping_add(m * stride + k));
                        }
                    }
                    let end = a.run.min(k + LINE);
                    while k < end {
                        let mut w = [l.splat(0.0); N];
                        for n in 0..N {
                            w[n] = l.load(weight.add(n * L::LANES));
                        }
                        weight = weight.add(N * L::LANES);
                        for m in 0..M {
                            let value = l.splat(*x[m].add(k));
                            for n in 0..N {
                                sums[m][n] = l.fma(value, w[n], sums[m][n]);
                            }
                        }
                        k += 1;
                    }
                }
            }
            if let Some(store) = &a.store {
                return finish(l, store, a.channels, &sums);
            }
            for m in 0..M {
                for n in 0..N {
                    l.store(a.tile.add((m * N + n) * L::LANES), sums[m][n]);
                }
            }
        }
    }
}

/// The simple epilogue, in registers.
///
/// # Safety
/// The map has `channels` of the panel's channels at each pixel of the tile.
#[inline(always)]
unsafe fn finish<L: Lanes, const M: usize, const N: usize>(
    l: L,
    store: &Store,
    channels: usize,
    sums: &[[L::V; N]; M],
) {
    let slope = l.splat(store.slope);
    let mut bias = [l.splat(0.0); N];
    // SAFETY: `bias` is a panel wide; the rest is the caller's promise.
    unsafe {
        for n in 0..N {
            bias[n] = l.load(store.bias.as_ptr().add(n * L::LANES));
        }
        if let Some(moments) = store.moments {
            gather(l, &mut *moments, store.first, &bias, sums);
        }
        if channels == N * L::LANES && !store.accumulate {
            for m in 0..M {
                for n in 0..N {
                    let v = l.add(sums[m][n], bias[n]);
                    l.store(store.y.add(store.pixels[m] + n * L::LANES), l.max(l.mul(slope, v), v));
                }
            }
            return;
        }
        for m in 0..M {
            for n in 0..N {
                let lanes = L::LANES.min(channels - n * L::LANES);
                let at = store.y.add(store.pixels[m] + n * L::LANES);
                let v = l.add(sums[m][n], bias[n]);
                let mut v = l.max(l.mul(slope, v), v);
                if store.accumulate {
                    v = l.add(l.load_first(at, lanes), v);
                }
                l.store_first(at, lanes, v);
            }
        }
    }
}

/// Adds a tile to the statistics.
#[inline(always)]
fn gather<L: Lanes, const M: usize, const N: usize>(
    l: L,
    moments: &mut Moments,
    first: bool,
    bias: &[L::V; N],
    sums: &[[L::V; N]; M],
) {
    for n in 0..N {
        let at = n * L::LANES;
        // SAFETY: a panel's N vectors fit the moments' MAX_WIDTH numbers.
        unsafe {
            let [pivot, sum, square] = [&mut moments.pivot, &mut moments.sum, &mut moments.square]
                .map(|numbers| numbers.as_mut_ptr().add(at));
            if first {
                l.store(pivot, l.add(sums[0][n], bias[n]));
            }
            let pivot = l.sub(l.load(pivot), bias[n]);
            let (mut s, mut q) = (l.splat(0.0), l.splat(0.0));
            for m in 0..M {
                let d = l.sub(sums[m][n], pivot);
                s = l.add(s, d);
                q = l.fma(d, d, q);
            }
            l.store(sum, l.add(l.load(sum), s));
            l.store(square, l.add(l.load(square), q));
        }
    }
}

/// M pixels of one vector of channels, each channel by itself; N is 1.
pub struct DepthDot<'a, const M: usize, const N: usize>(pub &'a DotArguments<'a>);

impl<const M: usize, const N: usize> Task for DepthDot<'_, M, N> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        if M > Tile::<L>::ROWS || N > 1 {
            unreachable!("larger than this instruction set's tile");
        }
        let a = self.0;
        let mut sums = [l.splat(0.0); M];
        // SAFETY: as in `Dot`; a pixel has `channels` numbers from where it starts.
        unsafe {
            for (k, &segment) in a.segments.iter().enumerate() {
                let w = l.load(a.weight.add(k * L::LANES));
                for m in 0..M {
                    let from = a.x.add(a.pixels[m] + segment);
                    let x =
                        if a.channels == L::LANES { l.load(from) } else { l.load_first(from, a.channels) };
                    sums[m] = l.fma(x, w, sums[m]);
                }
            }
            if let Some(store) = &a.store {
                return finish(l, store, a.channels, &sums.map(|sum| [sum]));
            }
            for m in 0..M {
                l.store(a.tile.add(m * L::LANES), sums[m]);
            }
        }
    }
}

/// What [`Outer`] and [`DepthOuter`] read and write: rows × columns pixels of a chunk.
pub struct OuterArguments<'a> {
    /// The input of the chunk's first pixel, at the tile's first weight row.
    pub x: *const f32,
    /// Rows of pixels.
    pub rows: usize,
    /// Pixels in a row.
    pub columns: usize,
    /// Numbers in `x` from one row of pixels to the next.
    pub row_pitch: usize,
    /// Numbers in `x` from one pixel to the next.
    pub column_pitch: usize,
    /// Depth-wise: where each tap of the tile starts from its pixel.
    pub segments: &'a [usize],
    /// Depth-wise: how many of the vector's channels exist.
    pub channels: usize,
    /// Output gradients, `[rows · columns, N · LANES]`.
    pub dy: *const f32,
    /// The tile `[M, N · LANES]` that the chunk's sums are added to.
    pub sums: *mut f32,
    /// Whether `sums` holds nothing yet.
    pub first: bool,
}

/// M weight rows × N vectors of output channels.
pub struct Outer<'a, const M: usize, const N: usize>(pub &'a OuterArguments<'a>);

impl<const M: usize, const N: usize> Task for Outer<'_, M, N> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        if M > Tile::<L>::ROWS || N > Tile::<L>::VECTORS {
            unreachable!("larger than this instruction set's tile");
        }
        let a = self.0;
        let mut sums = [[l.splat(0.0); N]; M];
        let mut dy = a.dy;
        // SAFETY: the caller made the pitches so that M numbers are readable at every pixel, `dy` of
        // rows · columns rows, and `sums` of M rows.
        unsafe {
            for row in 0..a.rows {
                let mut x = a.x.add(row * a.row_pitch);
                for _ in 0..a.columns {
                    let mut g = [l.splat(0.0); N];
                    for n in 0..N {
                        g[n] = l.load(dy.add(n * L::LANES));
                    }
                    dy = dy.add(N * L::LANES);
                    for m in 0..M {
                        let value = l.splat(*x.add(m));
                        for n in 0..N {
                            sums[m][n] = l.fma(value, g[n], sums[m][n]);
                        }
                    }
                    // Wrapping: after the last pixel this leaves the source.
                    x = x.wrapping_add(a.column_pitch);
                }
            }
            for m in 0..M {
                for n in 0..N {
                    let to = a.sums.add((m * N + n) * L::LANES);
                    l.store(to, if a.first { sums[m][n] } else { l.add(l.load(to), sums[m][n]) });
                }
            }
        }
    }
}

/// M taps of one vector of channels, each channel by itself; N is 1.
pub struct DepthOuter<'a, const M: usize, const N: usize>(pub &'a OuterArguments<'a>);

impl<const M: usize, const N: usize> Task for DepthOuter<'_, M, N> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        if M > Tile::<L>::ROWS || N > 1 {
            unreachable!("larger than this instruction set's tile");
        }
        let a = self.0;
        let mut sums = [l.splat(0.0); M];
        let mut dy = a.dy;
        // SAFETY: as in `Outer`; `channels` numbers are readable at every tap of every pixel.
        unsafe {
            for row in 0..a.rows {
                for column in 0..a.columns {
                    let pixel = a.x.add(row * a.row_pitch + column * a.column_pitch);
                    let g = l.load(dy);
                    dy = dy.add(L::LANES);
                    for m in 0..M {
                        let from = pixel.add(a.segments[m]);
                        let x = if a.channels == L::LANES {
                            l.load(from)
                        } else {
                            l.load_first(from, a.channels)
                        };
                        sums[m] = l.fma(x, g, sums[m]);
                    }
                }
            }
            for m in 0..M {
                let to = a.sums.add(m * L::LANES);
                l.store(to, if a.first { sums[m] } else { l.add(l.load(to), sums[m]) });
            }
        }
    }
}

pub(super) use by_size;
