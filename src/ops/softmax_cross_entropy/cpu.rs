//! Softmax cross entropy on the cpu. The sums are in f64: a batch of logits is small beside any map,
//! and the mean must not depend on how rows are shared out.

use super::Io;
use crate::Result;
use crate::ops::pixels_per_chunk;
use crate::runtime::Cpu;

pub(super) fn forward(io: &mut Io<'_, f32>, classes: &[usize], cpu: &Cpu) {
    let logits = io.input(0);
    let mut losses = vec![0.0; classes.len()];
    let step = pixels_per_chunk(logits.shape());
    cpu.for_each(losses.chunks_mut(step).enumerate().collect(), |(index, losses)| {
        for (i, loss) in losses.iter_mut().enumerate() {
            let row = index * step + i;
            let logits = logits.pixel(row);
            let max = maximum(logits);
            let sum: f64 = logits.iter().map(|z| f64::from((z - max).exp())).sum();
            *loss = sum.ln() + (f64::from(max) - f64::from(logits[classes[row]]));
        }
    });
    let mean = losses.iter().sum::<f64>() / classes.len() as f64;
    io.output(0).fill(mean as f32);
}

pub(super) fn gradient(io: &mut Io<'_, f32>, classes: &[usize], cpu: &Cpu) -> Result<()> {
    let scale = f64::from(io.dense(2)[0]) / classes.len() as f64;
    io.chunks_in_place(cpu, |first, chunk| {
        for i in 0..chunk.shape().pixels() {
            let row = chunk.pixel(i);
            let max = maximum(row);
            let mut sum = 0.0;
            for z in row.iter_mut() {
                *z = (*z - max).exp();
                sum += f64::from(*z);
            }
            let class = classes[first + i];
            let at_class = ((f64::from(row[class]) / sum - 1.0) * scale) as f32;
            let factor = (scale / sum) as f32;
            row.iter_mut().for_each(|z| *z *= factor);
            row[class] = at_class;
        }
    })
}

/// The largest logit. A NaN needs no care here: it makes the sum NaN.
fn maximum(logits: &[f32]) -> f32 {
    logits.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}
