//! Chunks of pixels in parallel: terms in f32, sums in f64.

use super::Channels;
use crate::ops::reduction::sum_in_chunks;
use crate::ops::{Io, pixels_per_chunk};
use crate::runtime::Cpu;

/// The cross-entropy of logit `z` with target `t`.
pub(crate) fn term(z: f32, t: f32) -> f32 {
    z.max(0.0) - z * t + (-z.abs()).exp().ln_1p()
}

/// The logistic function; e⁻ᶻ may become infinite, its reciprocal is then 0.
pub(crate) fn sigmoid(z: f32) -> f32 {
    1.0 / (1.0 + (-z).exp())
}

pub(super) fn forward(channels: Channels, io: &mut Io<'_, f32>, cpu: &Cpu) {
    let (map, target) = (io.input(0), io.input(1));
    let shape = target.shape();
    let sum = sum_in_chunks(cpu, shape.pixels(), pixels_per_chunk(map.shape()), |pixels| {
        pixels
            .flat_map(|pixel| {
                let logits = map.pixel(pixel)[channels.first..].iter().step_by(channels.step);
                logits.zip(target.pixel(pixel)).map(|(&z, &t)| f64::from(term(z, t)))
            })
            .sum()
    });
    io.output(0).fill((sum / shape.elements() as f64) as f32);
}

pub(super) fn backward(channels: Channels, io: &mut Io<'_, f32>, cpu: &Cpu) {
    let (map, target) = (io.input(0), io.input(1));
    let scale = io.dense(2)[0] / target.shape().elements() as f32;
    let step = pixels_per_chunk(map.shape());
    let chunks: Vec<_> = io.outputs[0].reborrow().chunks(step).into_iter().enumerate().collect();
    cpu.for_each(chunks, |(index, mut chunk)| {
        for i in 0..chunk.shape().pixels() {
            let (logits, target) = (map.pixel(index * step + i), target.pixel(index * step + i));
            let dx = chunk.pixel(i);
            dx.fill(0.0);
            for (k, t) in target.iter().enumerate() {
                let channel = channels.first + channels.step * k;
                dx[channel] = (sigmoid(logits[channel]) - t) * scale;
            }
        }
    });
}
