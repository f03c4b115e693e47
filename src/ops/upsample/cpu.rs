//! Upsampling on the cpu: each thread writes its own run of pixels and reads what belongs there.

use super::Io;
use crate::ops::pixels_per_chunk;
use crate::runtime::Cpu;

pub(super) fn forward(factor: usize, io: &mut Io<'_, f32>, cpu: &Cpu) {
    let x = io.input(0);
    for_each_pixel(io, cpu, |n, i, j, y| y.copy_from_slice(x.at(n, i / factor, j / factor)));
}

pub(super) fn gradient(factor: usize, io: &mut Io<'_, f32>, cpu: &Cpu) {
    let dy = io.input(0);
    for_each_pixel(io, cpu, |n, i, j, dx| {
        dx.copy_from_slice(dy.at(n, i * factor, j * factor));
        for k in 1..factor * factor {
            let dy = dy.at(n, i * factor + k / factor, j * factor + k % factor);
            dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy);
        }
    });
}

/// Calls `body(n, row, column, pixel)` for every pixel of output 0, in parallel.
fn for_each_pixel(
    io: &mut Io<'_, f32>,
    cpu: &Cpu,
    body: impl Fn(usize, usize, usize, &mut [f32]) + Sync + Send,
) {
    let output = io.outputs[0].reborrow();
    let (shape, step) = (output.shape(), pixels_per_chunk(output.shape()));
    cpu.for_each(output.chunks(step).into_iter().enumerate().collect(), |(index, mut chunk)| {
        for i in 0..chunk.shape().pixels() {
            let (row, column) = ((index * step + i) / shape.w, (index * step + i) % shape.w);
            body(row / shape.h, row % shape.h, column, chunk.pixel(i));
        }
    });
}
