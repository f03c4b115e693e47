//! The equations as they stand in the definition.

use super::Grid;
use crate::Result;
use crate::ops::Io;
use crate::ops::matches::{Match, Matches};

/// The logistic function.
fn sigmoid(t: f64) -> f64 {
    1.0 / (1.0 + (-t).exp())
}

pub(super) fn forward(grid: &Grid, io: &mut Io<'_, f64>) -> Result<()> {
    let logits = io.input(0);
    let matches = Matches::new("decode box", io.input(1), &grid.limits())?;
    matches.fill_rows(io.output(0), |row, m: &Match, y| {
        let t = logits.pixel(row);
        let [anchor_w, anchor_h] = grid.anchors[m.anchor];
        y[0] = (2.0 * sigmoid(t[0]) - 0.5 + m.x as f64) * grid.stride;
        y[1] = (2.0 * sigmoid(t[1]) - 0.5 + m.y as f64) * grid.stride;
        y[2] = (2.0 * sigmoid(t[2])).powi(2) * f64::from(anchor_w);
        y[3] = (2.0 * sigmoid(t[3])).powi(2) * f64::from(anchor_h);
    });
    Ok(())
}

pub(super) fn backward(grid: &Grid, io: &mut Io<'_, f64>) -> Result<()> {
    let (logits, dy) = (io.input(0), io.input(2));
    let matches = Matches::new("decode box gradient", io.input(1), &grid.limits())?;
    matches.fill_rows(io.output(0), |row, m: &Match, dx| {
        let (t, dy) = (logits.pixel(row), dy.pixel(row));
        let [anchor_w, anchor_h] = grid.anchors[m.anchor];
        let slope = |t: f64| sigmoid(t) * (1.0 - sigmoid(t));
        dx[0] = dy[0] * 2.0 * slope(t[0]) * grid.stride;
        dx[1] = dy[1] * 2.0 * slope(t[1]) * grid.stride;
        dx[2] = dy[2] * 8.0 * sigmoid(t[2]) * slope(t[2]) * f64::from(anchor_w);
        dx[3] = dy[3] * 8.0 * sigmoid(t[3]) * slope(t[3]) * f64::from(anchor_h);
    });
    Ok(())
}
