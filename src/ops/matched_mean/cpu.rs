//! One pass by one thread, summed in f64: a table has hundreds of rows, less than a hand-over is worth.

use super::MatchedMean;
use crate::Result;
use crate::ops::Io;
use crate::ops::matches::{Limits, Matches};

pub(super) fn forward(op: &MatchedMean, io: &mut Io<'_, f32>) -> Result<()> {
    let values = io.input(0);
    let matches = Matches::new("matched mean", io.input(1), &Limits::NONE)?;
    let (mut sum, mut count) = (0.0, 0usize);
    for (row, _) in matches.rows() {
        sum += f64::from(values.pixel(row)[0]);
        count += 1;
    }
    let mean = if count == 0 { 0.0 } else { op.scale * sum / count as f64 + op.offset };
    io.output(0).fill(mean as f32);
    Ok(())
}

pub(super) fn backward(scale: f64, io: &mut Io<'_, f32>) -> Result<()> {
    let matches = Matches::new("matched mean gradient", io.input(0), &Limits::NONE)?;
    let share = (scale * f64::from(io.dense(1)[0]) / matches.count().max(1) as f64) as f32;
    matches.fill_rows(io.output(0), |_, _, dx| dx[0] = share);
    Ok(())
}
