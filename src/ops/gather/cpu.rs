//! Gather by rows in parallel; scatter into a map that was zeroed in parallel.

use super::limits;
use crate::Result;
use crate::ops::matches::Matches;
use crate::ops::{Io, pixels_per_chunk};
use crate::runtime::Cpu;

pub(super) fn gather(io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
    let map = io.input(0);
    let columns = io.outputs[0].shape().c;
    let matches = Matches::new("gather", io.input(1), &limits(map.shape(), columns))?;
    matches.fill_rows_parallel(cpu, io.outputs[0].reborrow(), |_, m, y| {
        let first = m.anchor * columns;
        y.copy_from_slice(&map.pixel(m.pixel(map.shape()))[first..first + columns]);
    });
    Ok(())
}

/// The zeros are the work: a map has many cells and few matches. The rows are added by one thread, in
/// the order of the table, so that the sum of a cell with several matches is always the same.
pub(super) fn scatter(io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
    let rows = io.input(0);
    let columns = rows.shape().c;
    let map = io.outputs[0].shape();
    let matches = Matches::new("scatter", io.input(1), &limits(map, columns))?;
    let chunks = io.outputs[0].reborrow().chunks(pixels_per_chunk(map));
    cpu.for_each(chunks, |mut chunk| chunk.fill(0.0));
    for (row, m) in matches.rows() {
        let first = m.anchor * columns;
        let cell = &mut io.outputs[0].pixel(m.pixel(map))[first..first + columns];
        for (cell, value) in cell.iter_mut().zip(rows.pixel(row)) {
            *cell += value;
        }
    }
    Ok(())
}
