//! The loss and its gradient, match by match and class by class.

use super::{limits, target};
use crate::Result;
use crate::ops::Io;
use crate::ops::matches::Matches;

pub(super) fn forward(label_smoothing: f64, io: &mut Io<'_, f64>) -> Result<()> {
    let logits = io.input(0);
    let classes = logits.shape().c;
    let matches = Matches::new("class loss", io.input(1), &limits(classes))?;
    let mut sum = 0.0;
    for (row, m) in matches.rows() {
        for (k, z) in logits.pixel(row).iter().enumerate() {
            let t = target(label_smoothing, k, m.class);
            sum += z.max(0.0) - z * t + (1.0 + (-z.abs()).exp()).ln();
        }
    }
    let count = matches.count() * classes;
    io.output(0).fill(if count == 0 { 0.0 } else { sum / count as f64 });
    Ok(())
}

pub(super) fn backward(label_smoothing: f64, io: &mut Io<'_, f64>) -> Result<()> {
    let (logits, dy) = (io.input(0), io.dense(2)[0]);
    let classes = logits.shape().c;
    let matches = Matches::new("class loss gradient", io.input(1), &limits(classes))?;
    let count = (matches.count() * classes) as f64;
    matches.fill_rows(io.output(0), |row, m, dx| {
        for (k, z) in logits.pixel(row).iter().enumerate() {
            let sigmoid = 1.0 / (1.0 + (-z).exp());
            dx[k] = (sigmoid - target(label_smoothing, k, m.class)) * dy / count;
        }
    });
    Ok(())
}
