//! Gather and scatter, a row after the other.

use super::limits;
use crate::Result;
use crate::ops::Io;
use crate::ops::matches::Matches;

pub(super) fn gather(io: &mut Io<'_, f64>) -> Result<()> {
    let map = io.input(0);
    let columns = io.outputs[0].shape().c;
    let matches = Matches::new("gather", io.input(1), &limits(map.shape(), columns))?;
    matches.fill_rows(io.output(0), |_, m, y| {
        for (column, y) in y.iter_mut().enumerate() {
            *y = map.at(m.image, m.y, m.x)[m.anchor * columns + column];
        }
    });
    Ok(())
}

pub(super) fn scatter(io: &mut Io<'_, f64>) -> Result<()> {
    let rows = io.input(0);
    let columns = rows.shape().c;
    let matches = Matches::new("scatter", io.input(1), &limits(io.outputs[0].shape(), columns))?;
    let map = io.output(0);
    map.fill(0.0);
    for (row, m) in matches.rows() {
        for column in 0..columns {
            map.at(m.image, m.y, m.x)[m.anchor * columns + column] += rows.pixel(row)[column];
        }
    }
    Ok(())
}
