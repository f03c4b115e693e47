//! The mean of squares on the cpu.

use super::Io;
use crate::ops::pixels_per_chunk;
use crate::runtime::Cpu;

/// Sums side by side, so that they are not one chain of additions.
const LANES: usize = 8;

pub(super) fn forward(io: &mut Io<'_, f32>, cpu: &Cpu) {
    let x = io.input(0);
    let (pixels, step) = (x.shape().pixels(), pixels_per_chunk(x.shape()));
    // Chunks depend on the shape alone, and are added up in order.
    let mut partial = vec![0.0; pixels.div_ceil(step)];
    cpu.for_each(partial.iter_mut().enumerate().collect(), |(index, partial)| {
        let run = index * step..((index + 1) * step).min(pixels);
        *partial = run.map(|i| sum_of_squares(x.pixel(i))).sum::<f64>();
    });
    let mean = partial.iter().sum::<f64>() / x.shape().elements() as f64;
    io.output(0).fill(mean as f32);
}

fn sum_of_squares(x: &[f32]) -> f64 {
    let mut sums = [0.0f64; LANES];
    for run in x.chunks(LANES) {
        for (sum, &x) in sums.iter_mut().zip(run) {
            *sum += f64::from(x) * f64::from(x);
        }
    }
    sums.iter().sum()
}

pub(super) fn gradient(io: &mut Io<'_, f32>, cpu: &Cpu) {
    let factor = (2.0 * f64::from(io.dense(1)[0]) / io.outputs[0].shape().elements() as f64) as f32;
    io.elementwise_in_place(cpu, &[(0, 0)], [], |[], [x]| x.iter_mut().for_each(|v| *v *= factor));
}
