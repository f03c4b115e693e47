//! Max pooling as it is defined: every window element by element.

use super::{Io, MaxPool};
use crate::tensor::{Shape, View};

pub(super) fn forward(pool: &MaxPool, io: &mut Io<'_, f64>) {
    let x = io.input(0);
    let y = io.output(0);
    for_each_output(y.shape(), |pixel, n, oy, ox, c| {
        y.pixel(pixel)[c] = x.pixel(maximum(pool, x, n, oy, ox, c))[c];
    });
}

pub(super) fn gradient(pool: &MaxPool, io: &mut Io<'_, f64>) {
    let (x, dy) = (io.input(0), io.input(1));
    let dx = io.output(0);
    dx.fill(0.0);
    for_each_output(dy.shape(), |pixel, n, oy, ox, c| {
        dx.pixel(maximum(pool, x, n, oy, ox, c))[c] += dy.pixel(pixel)[c];
    });
}

/// Calls `body(pixel, n, oy, ox, c)` for every element of a map of `shape`.
fn for_each_output(shape: Shape, mut body: impl FnMut(usize, usize, usize, usize, usize)) {
    for pixel in 0..shape.pixels() {
        let (row, ox) = (pixel / shape.w, pixel % shape.w);
        for c in 0..shape.c {
            body(pixel, row / shape.h, row % shape.h, ox, c);
        }
    }
}

/// The pixel of `x` where the window of output (`n`, `oy`, `ox`) has its maximum in channel `c`: the
/// first of equals, the last of NaNs.
fn maximum(pool: &MaxPool, x: View<'_, f64>, n: usize, oy: usize, ox: usize, c: usize) -> usize {
    let shape = x.shape();
    let mut best: Option<usize> = None;
    for iy in pool.rows(oy, shape.h) {
        for ix in pool.columns(ox, shape.w) {
            let pixel = (n * shape.h + iy) * shape.w + ix;
            let value = x.pixel(pixel)[c];
            if best.is_none_or(|best| value > x.pixel(best)[c] || value.is_nan()) {
                best = Some(pixel);
            }
        }
    }
    best.unwrap_or_default()
}
