//! The rows of a detection head's map that the loss looks at, and their way back into the map.

mod cases;
mod cpu;
mod cuda;
mod reference;

pub use cases::cases;

use super::matches::{Limits, expect_table};
use super::{Accesses, Cost, Gradient, Io, Op, Tape, Usage, Value, expect_inputs};
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::Shape;
use crate::{Error, Result};

/// `y[row] = map[image, y, x, anchor·columns .. (anchor + 1)·columns]` for every match; zeros for an
/// unused row.
///
/// Inputs: a head's map `[n, h, w, anchors·columns]`, a match table `[1, 1, capacity, 10]`
/// ([`super::matches`]). Output: `[1, 1, capacity, columns]`. With columns = 5 + classes a row is an
/// anchor's raw prediction (YOLOv3 and after: x, y, w, h, objectness, classes).
///
/// Gradient: [`Scatter`]; none for the table.
#[derive(Clone, Debug)]
pub struct Gather {
    /// Anchors of the level; the map's channels are `anchors` times the output's.
    pub anchors: usize,
}

/// `map[image, y, x, anchor·columns ..] += dy[row]` for every match, zero elsewhere: the gradient of
/// [`Gather`].
///
/// Inputs: rows `[1, 1, capacity, columns]`, a match table. Several matches may name the same anchor
/// of the same cell; their rows are added in the order of the table.
///
/// Gradient: [`Gather`] (the two are linear and each other's transpose).
#[derive(Clone, Debug)]
pub struct Scatter {
    /// The map's shape `[n, h, w, anchors·columns]`.
    pub map: Shape,
}

/// Traces the rows of `map` that `matches` names.
///
/// # Errors
/// Where the map's channels are not a multiple of `anchors`, or `matches` is no match table.
pub fn trace(tape: &mut dyn Tape, map: Value, matches: Value, anchors: usize) -> Result<Value> {
    tape.apply(Box::new(Gather { anchors }), &[map, matches])
}

/// The limits of a table for a map of `map` whose anchors have `columns` channels each.
fn limits(map: Shape, columns: usize) -> Limits {
    Limits { map, anchors: map.c / columns.max(1), ..Limits::NONE }
}

impl Op for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 2)?;
        expect_table(self.name(), inputs, 1, None)?;
        let channels = inputs[0].c;
        match channels.checked_rem(self.anchors) {
            Some(0) => Ok(vec![inputs[1].with_c(channels / self.anchors)]),
            _ => {
                let message = format!("{channels} channels cannot be shared by {} anchors", self.anchors);
                Err(Error::shape(self.name(), inputs, message))
            }
        }
    }

    fn cost(&self, _inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::default()
    }

    /// As though every row were used, each for an anchor of its own, as far as there are so many.
    fn accesses(&self, usage: &Usage<'_>) -> Accesses {
        let (map, rows) = (usage.inputs[0].elements(), usage.outputs[0].elements());
        Accesses::once(usage).reading(0, rows.min(map))
    }

    fn gradient(
        &self,
        tape: &mut dyn Tape,
        inputs: &[Value],
        _outputs: &[Value],
        output_gradients: &[Option<Value>],
    ) -> Result<Vec<Gradient>> {
        let Some(dy) = output_gradients[0] else { return Ok(vec![Gradient::None; 2]) };
        let map = tape.shape(inputs[0]);
        let dx = tape.apply(Box::new(Scatter { map }), &[dy, inputs[1]])?;
        Ok(vec![Gradient::Whole(dx), Gradient::None])
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::gather(io)
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        cpu::gather(io, cpu)
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        cuda::gather(self.anchors, operands)
    }
}

impl Op for Scatter {
    fn name(&self) -> &'static str {
        "scatter"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 2)?;
        expect_table(self.name(), inputs, 1, Some(inputs[0]))?;
        match self.map.c.checked_rem(inputs[0].c) {
            Some(0) => Ok(vec![self.map]),
            _ => {
                let message = format!("rows of {} channels do not make a map of {}", inputs[0].c, self.map);
                Err(Error::shape(self.name(), inputs, message))
            }
        }
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(inputs[0].elements() as f64)
    }

    /// As though every row were used, each for an anchor of its own, as far as there are so many: zeros, then rows.
    fn accesses(&self, usage: &Usage<'_>) -> Accesses {
        let (map, rows) = (usage.outputs[0].elements(), usage.inputs[0].elements());
        Accesses::once(usage).writing(0, map + rows.min(map))
    }

    fn gradient(
        &self,
        tape: &mut dyn Tape,
        inputs: &[Value],
        _outputs: &[Value],
        output_gradients: &[Option<Value>],
    ) -> Result<Vec<Gradient>> {
        let Some(dy) = output_gradients[0] else { return Ok(vec![Gradient::None; 2]) };
        let anchors = self.map.c / tape.shape(inputs[0]).c;
        Ok(vec![Gradient::Whole(trace(tape, dy, inputs[1], anchors)?), Gradient::None])
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::scatter(io)
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        cpu::scatter(io, cpu)
    }

    fn cuda_workspace(&self, inputs: &[Shape], _outputs: &[Shape], _target: &Target) -> usize {
        cuda::scatter_workspace(self.map, inputs[0])
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        cuda::scatter(operands)
    }
}

#[cfg(test)]
mod tests;
