//! Chunks of rows in parallel: terms in f32, sums in f64.

use super::{limits, target};
use crate::Result;
use crate::ops::Io;
use crate::ops::binary_cross_entropy::{sigmoid, term};
use crate::ops::matches::{Matches, ROWS_PER_CHUNK};
use crate::ops::reduction::sum_in_chunks;
use crate::runtime::Cpu;

pub(super) fn forward(label_smoothing: f64, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
    let logits = io.input(0);
    let classes = logits.shape().c;
    let matches = Matches::new("class loss", io.input(1), &limits(classes))?;
    let sum = sum_in_chunks(cpu, matches.capacity(), ROWS_PER_CHUNK, |rows| {
        let mut sum = 0.0;
        for (row, m) in matches.rows_in(rows) {
            for (k, &z) in logits.pixel(row).iter().enumerate() {
                sum += f64::from(term(z, target(label_smoothing, k, m.class) as f32));
            }
        }
        sum
    });
    let count = matches.count() * classes;
    io.output(0).fill((sum / count.max(1) as f64) as f32);
    Ok(())
}

pub(super) fn backward(label_smoothing: f64, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
    let (logits, dy) = (io.input(0), io.dense(2)[0]);
    let classes = logits.shape().c;
    let matches = Matches::new("class loss gradient", io.input(1), &limits(classes))?;
    let scale = dy / (matches.count() * classes).max(1) as f32;
    matches.fill_rows_parallel(cpu, io.outputs[0].reborrow(), |row, m, dx| {
        for (k, (dx, &z)) in dx.iter_mut().zip(logits.pixel(row)).enumerate() {
            *dx = (sigmoid(z) - target(label_smoothing, k, m.class) as f32) * scale;
        }
    });
    Ok(())
}
