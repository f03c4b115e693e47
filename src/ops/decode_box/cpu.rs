//! Rows in parallel, in f32: a box takes four exponentials.

use super::Grid;
use crate::Result;
use crate::ops::Io;
use crate::ops::matches::Matches;
use crate::runtime::Cpu;

/// σ(t) and 1 − σ(t), neither by a difference that would cancel.
fn sigmoid(t: f32) -> (f32, f32) {
    let e = (-t.abs()).exp();
    let (large, small) = (1.0 / (1.0 + e), e / (1.0 + e));
    if t >= 0.0 { (large, small) } else { (small, large) }
}

pub(super) fn forward(grid: &Grid, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
    let logits = io.input(0);
    let stride = grid.stride as f32;
    let matches = Matches::new("decode box", io.input(1), &grid.limits())?;
    matches.fill_rows_parallel(cpu, io.outputs[0].reborrow(), |row, m, y| {
        let t = logits.pixel(row);
        let (cell, anchor) = ([m.x as f32, m.y as f32], grid.anchors[m.anchor]);
        for axis in 0..2 {
            y[axis] = (2.0 * sigmoid(t[axis]).0 - 0.5 + cell[axis]) * stride;
            let ratio = 2.0 * sigmoid(t[2 + axis]).0;
            y[2 + axis] = ratio * ratio * anchor[axis];
        }
    });
    Ok(())
}

pub(super) fn backward(grid: &Grid, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
    let (logits, dy) = (io.input(0), io.input(2));
    let stride = grid.stride as f32;
    let matches = Matches::new("decode box gradient", io.input(1), &grid.limits())?;
    matches.fill_rows_parallel(cpu, io.outputs[0].reborrow(), |row, m, dx| {
        let (t, dy) = (logits.pixel(row), dy.pixel(row));
        let anchor = grid.anchors[m.anchor];
        for axis in 0..2 {
            let (s, rest) = sigmoid(t[axis]);
            dx[axis] = dy[axis] * 2.0 * s * rest * stride;
            let (s, rest) = sigmoid(t[2 + axis]);
            dx[2 + axis] = dy[2 + axis] * 8.0 * s * s * rest * anchor[axis];
        }
    });
    Ok(())
}
