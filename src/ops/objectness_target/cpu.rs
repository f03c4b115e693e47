//! Zeros in parallel, then the few matches by one thread.

use super::ObjectnessTarget;
use crate::Result;
use crate::ops::matches::Matches;
use crate::ops::{Io, pixels_per_chunk};
use crate::runtime::Cpu;

pub(super) fn forward(op: &ObjectnessTarget, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
    let values = io.input(0);
    let matches = Matches::new("objectness target", io.input(1), &op.limits())?;
    let chunks = io.outputs[0].reborrow().chunks(pixels_per_chunk(op.map));
    cpu.for_each(chunks, |mut chunk| chunk.fill(0.0));
    let (base, ratio) = ((1.0 - op.ratio) as f32, op.ratio as f32);
    for (row, m) in matches.rows() {
        let target = base + ratio * values.pixel(row)[0].max(0.0);
        let cell = &mut io.outputs[0].pixel(m.pixel(op.map))[m.anchor];
        *cell = cell.max(target);
    }
    Ok(())
}
