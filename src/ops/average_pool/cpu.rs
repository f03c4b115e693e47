//! Global average pooling on the cpu: blocks of channels summed in f64, so that the average of a
//! large map is as exact as that of a small one.

use super::Io;
use crate::ops::{image_blocks, pixels_per_chunk};
use crate::runtime::Cpu;

/// Channels that one task sums: two cache lines.
const BLOCK: usize = 32;

pub(super) fn forward(io: &mut Io<'_, f32>, cpu: &Cpu) {
    let x = io.input(0);
    let area = x.shape().h * x.shape().w;
    cpu.for_each(image_blocks(io.outputs[0].reborrow(), BLOCK), |mut block| {
        let mut sums = [0.0f64; BLOCK];
        for pixel in block.image * area..(block.image + 1) * area {
            for (sum, x) in sums.iter_mut().zip(&x.pixel(pixel)[block.channels.clone()]) {
                *sum += f64::from(*x);
            }
        }
        for (y, sum) in block.view.pixel(0).iter_mut().zip(&sums) {
            *y = (sum / area as f64) as f32;
        }
    });
}

pub(super) fn gradient(io: &mut Io<'_, f32>, cpu: &Cpu) {
    let dy = io.input(0);
    let dx = io.outputs[0].reborrow();
    let (step, area) = (pixels_per_chunk(dx.shape()), dx.shape().h * dx.shape().w);
    let scale = 1.0 / area as f32;
    cpu.for_each(dx.chunks(step).into_iter().enumerate().collect(), |(index, mut chunk)| {
        for i in 0..chunk.shape().pixels() {
            let dy = dy.pixel((index * step + i) / area);
            chunk.pixel(i).iter_mut().zip(dy).for_each(|(dx, dy)| *dx = dy * scale);
        }
    });
}
