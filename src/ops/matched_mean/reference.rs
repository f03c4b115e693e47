//! The mean as it is defined: the sum of the terms over their number.

use super::MatchedMean;
use crate::Result;
use crate::ops::Io;
use crate::ops::matches::{Limits, Matches};

pub(super) fn forward(op: &MatchedMean, io: &mut Io<'_, f64>) -> Result<()> {
    let values = io.input(0);
    let matches = Matches::new("matched mean", io.input(1), &Limits::NONE)?;
    let sum: f64 = matches.rows().map(|(row, _)| op.scale * values.pixel(row)[0] + op.offset).sum();
    io.output(0).fill(if matches.count() == 0 { 0.0 } else { sum / matches.count() as f64 });
    Ok(())
}

pub(super) fn backward(scale: f64, io: &mut Io<'_, f64>) -> Result<()> {
    let matches = Matches::new("matched mean gradient", io.input(0), &Limits::NONE)?;
    let dy = io.dense(1)[0];
    matches.fill_rows(io.output(0), |_, _, dx| dx[0] = scale * dy / matches.count() as f64);
    Ok(())
}
