//! Zeros, and the largest of what the matches say.

use super::ObjectnessTarget;
use crate::Result;
use crate::ops::Io;
use crate::ops::matches::Matches;

pub(super) fn forward(op: &ObjectnessTarget, io: &mut Io<'_, f64>) -> Result<()> {
    let values = io.input(0);
    let matches = Matches::new("objectness target", io.input(1), &op.limits())?;
    let map = io.output(0);
    map.fill(0.0);
    for (row, m) in matches.rows() {
        let target = (1.0 - op.ratio) + op.ratio * values.pixel(row)[0].max(0.0);
        let cell = &mut map.at(m.image, m.y, m.x)[m.anchor];
        *cell = cell.max(target);
    }
    Ok(())
}
