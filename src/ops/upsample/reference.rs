//! Upsampling as it is defined.

use super::Io;
use crate::tensor::Shape;

pub(super) fn forward(factor: usize, io: &mut Io<'_, f64>) {
    let x = io.input(0);
    let y = io.output(0);
    for_each_pixel(y.shape(), |n, i, j| y.at(n, i, j).copy_from_slice(x.at(n, i / factor, j / factor)));
}

pub(super) fn gradient(factor: usize, io: &mut Io<'_, f64>) {
    let dy = io.input(0);
    let dx = io.output(0);
    dx.fill(0.0);
    for_each_pixel(dy.shape(), |n, i, j| {
        let dx = dx.at(n, i / factor, j / factor);
        dx.iter_mut().zip(dy.at(n, i, j)).for_each(|(dx, dy)| *dx += dy);
    });
}

fn for_each_pixel(shape: Shape, mut body: impl FnMut(usize, usize, usize)) {
    for n in 0..shape.n {
        for i in 0..shape.h {
            for j in 0..shape.w {
                body(n, i, j);
            }
        }
    }
}
