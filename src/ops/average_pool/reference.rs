//! Global average pooling as it is defined.

use super::Io;

pub(super) fn forward(io: &mut Io<'_, f64>) {
    let x = io.input(0);
    let (shape, y) = (x.shape(), io.output(0));
    for n in 0..shape.n {
        for c in 0..shape.c {
            let pixels = (0..shape.h * shape.w).map(|i| x.pixel(n * shape.h * shape.w + i)[c]);
            y.pixel(n)[c] = pixels.sum::<f64>() / (shape.h * shape.w) as f64;
        }
    }
}

pub(super) fn gradient(io: &mut Io<'_, f64>) {
    let dy = io.input(0);
    let dx = io.output(0);
    let (shape, area) = (dx.shape(), dx.shape().h * dx.shape().w);
    for pixel in 0..shape.pixels() {
        for c in 0..shape.c {
            dx.pixel(pixel)[c] = dy.pixel(pixel / area)[c] / area as f64;
        }
    }
}
