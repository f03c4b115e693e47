//! The epilogue: what happens to a tile between the micro-kernel and the map.

use super::tile::{MAX_ROWS, MAX_WIDTH};
use crate::runtime::Activation;
use crate::runtime::vector::{Lanes, Task};

/// Per channel of a panel: sums over the pixels seen so far of z − pivot and (z − pivot)². The pivot
/// is the first pixel's value: sums of differences do not cancel where the mean is far from zero.
#[repr(align(64))]
pub struct Moments {
    /// The first pixel.
    pub pivot: [f32; MAX_WIDTH],
    /// Σ(z − pivot).
    pub sum: [f32; MAX_WIDTH],
    /// Σ(z − pivot)².
    pub square: [f32; MAX_WIDTH],
}

impl Moments {
    /// Of no pixel.
    pub fn new() -> Self {
        Moments { pivot: [0.0; MAX_WIDTH], sum: [0.0; MAX_WIDTH], square: [0.0; MAX_WIDTH] }
    }
}

/// A residual as a tile sees it.
#[derive(Clone, Copy)]
pub struct TileResidual {
    /// The panel's first channel at pixel 0.
    pub base: *const f32,
    /// The residual's and the result's numbers from one pixel to the next.
    pub strides: [usize; 2],
    /// Channels of the panel that have one.
    pub channels: usize,
    /// Added before the activation.
    pub before_activation: bool,
}

/// Finishes a tile of `pixels` × `vectors`: bias, statistics, activation, residual, store.
pub struct Finish<'a> {
    /// The tile, `[pixels, vectors · LANES]`.
    pub tile: *const f32,
    /// Pixels.
    pub count: usize,
    /// Vectors.
    pub vectors: usize,
    /// Channels that exist.
    pub channels: usize,
    /// The panel's first channel of the map's pixel 0.
    pub y: *mut f32,
    /// Numbers from there to each pixel of the tile.
    pub pixels: &'a [usize; MAX_ROWS],
    /// A bias per channel of the panel, zero beyond the last.
    pub bias: &'a [f32; MAX_WIDTH],
    /// The activation.
    pub activation: Activation,
    /// The residual.
    pub residual: Option<TileResidual>,
    /// The statistics of what comes after the bias.
    pub moments: Option<&'a mut Moments>,
    /// Whether the statistics start with this tile.
    pub first: bool,
}

impl Task for Finish<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        if let Some(moments) = self.moments.take() {
            self.gather(l, moments);
        }
        if self.residual.is_some() {
            return self.general(l);
        }
        // Constants, so that each loop holds one activation.
        match self.activation {
            Activation::Linear => self.plain(l, Activation::Linear),
            Activation::Relu => self.plain(l, Activation::Relu),
            Activation::Leaky => self.plain(l, Activation::Leaky),
            Activation::Silu => self.plain(l, Activation::Silu),
            Activation::Mish => self.plain(l, Activation::Mish),
            Activation::Sigmoid => self.plain(l, Activation::Sigmoid),
        }
    }
}

// SAFETY of the blocks below: whoever makes a `Finish` gives a tile of count × vectors, pixels of
// the map, and as many biases and channels as it says.
impl Finish<'_> {
    /// The channels of vector `j` that exist.
    #[inline(always)]
    fn lanes<L: Lanes>(&self, j: usize) -> usize {
        L::LANES.min(self.channels - j * L::LANES)
    }

    #[inline(always)]
    fn bias<L: Lanes>(&self, l: L, j: usize) -> L::V {
        // SAFETY: a panel has at most MAX_WIDTH channels.
        unsafe { l.load(self.bias.as_ptr().add(j * L::LANES)) }
    }

    #[inline(always)]
    fn value<L: Lanes>(&self, l: L, p: usize, j: usize) -> L::V {
        // SAFETY: above.
        unsafe { l.load(self.tile.add((p * self.vectors + j) * L::LANES)) }
    }

    #[inline(always)]
    fn plain<L: Lanes>(&self, l: L, activation: Activation) {
        for j in 0..self.vectors {
            let (bias, lanes) = (self.bias(l, j), self.lanes::<L>(j));
            for p in 0..self.count {
                let v = activation.apply_lanes(l, l.add(self.value(l, p, j), bias));
                // SAFETY: above.
                unsafe {
                    let to = self.y.add(self.pixels[p] + j * L::LANES);
                    if lanes == L::LANES {
                        l.store(to, v);
                    } else {
                        l.store_first(to, lanes, v);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn general<L: Lanes>(&self, l: L) {
        let Some(residual) = self.residual else { return };
        for j in 0..self.vectors {
            let (bias, lanes) = (self.bias(l, j), self.lanes::<L>(j));
            let masked = residual.channels.saturating_sub(j * L::LANES).min(L::LANES);
            for p in 0..self.count {
                let mut v = l.add(self.value(l, p, j), bias);
                // SAFETY: above; `masked` channels of the residual exist at every pixel.
                unsafe {
                    let pixel = self.pixels[p] / residual.strides[1] * residual.strides[0];
                    let r = l.load_first(residual.base.wrapping_add(pixel + j * L::LANES), masked);
                    if residual.before_activation {
                        v = self.activation.apply_lanes(l, l.add(v, r));
                    } else {
                        v = l.add(self.activation.apply_lanes(l, v), r);
                    }
                    let to = self.y.add(self.pixels[p] + j * L::LANES);
                    l.store_first(to, lanes, v);
                }
            }
        }
    }

    #[inline(always)]
    fn gather<L: Lanes>(&self, l: L, moments: &mut Moments) {
        for j in 0..self.vectors {
            let bias = self.bias(l, j);
            let at = j * L::LANES;
            // SAFETY: a panel has at most MAX_WIDTH channels, and the rest is above.
            unsafe {
                if self.first {
                    l.store(moments.pivot.as_mut_ptr().add(at), l.add(self.value(l, 0, j), bias));
                }
                let pivot = l.sub(l.load(moments.pivot.as_ptr().add(at)), bias);
                let (mut sum, mut square) = (l.splat(0.0), l.splat(0.0));
                for p in 0..self.count {
                    let d = l.sub(self.value(l, p, j), pivot);
                    sum = l.add(sum, d);
                    square = l.fma(d, d, square);
                }
                let to = moments.sum.as_mut_ptr().add(at);
                l.store(to, l.add(l.load(to), sum));
                let to = moments.square.as_mut_ptr().add(at);
                l.store(to, l.add(l.load(to), square));
            }
        }
    }
}
