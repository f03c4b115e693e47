//! The boxes that a detection head's raw numbers stand for.

mod cases;
mod cpu;
mod cuda;
mod reference;

pub use cases::cases;

use super::matches::{Limits, expect_table};
use super::{Cost, Gradient, Io, Op, Tape, Value, expect_inputs};
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::Shape;
use crate::{Error, Result};

/// The anchor boxes of one head level.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// The side of a cell in pixels of the network's input.
    pub stride: f64,
    /// The (width, height) of each anchor, in pixels of the network's input.
    pub anchors: Vec<[f32; 2]>,
}

/// Decodes matched rows, with σ the logistic function:
///
/// ```text
/// centre x = (2σ(t₀) − ½ + x)·stride      width  = (2σ(t₂))²·anchor width
/// centre y = (2σ(t₁) − ½ + y)·stride      height = (2σ(t₃))²·anchor height
/// ```
///
/// (YOLOv5 and YOLOv7; Scaled-YOLOv4, Wang et al. 2021, had it first.) The centre reaches half a cell
/// beyond its own, so that neighbours can predict it too; a side is at most 4 times the anchor's.
///
/// Inputs: logits `[1, 1, capacity, 4]`, a match table `[1, 1, capacity, 10]`, which gives cell and
/// anchor. Output: boxes `[1, 1, capacity, 4]`: centre x, centre y, width, height in pixels of the
/// network's input; zeros for an unused row.
///
/// Gradient: [`DecodeBoxGradient`]; none for the table.
#[derive(Clone, Debug)]
pub struct DecodeBox {
    /// Stride and anchors of the level.
    pub grid: Grid,
}

/// The gradient of [`DecodeBox`]: with s = σ(t),
/// `dt₀ = 2s₀(1 − s₀)·stride·dy₀`, `dt₂ = 8s₂²(1 − s₂)·anchor width·dy₂`, and likewise down the column.
///
/// Inputs: logits, match table, gradient of the boxes. Output: `[1, 1, capacity, 4]`.
#[derive(Clone, Debug)]
pub struct DecodeBoxGradient {
    /// Stride and anchors of the level.
    pub grid: Grid,
}

/// Traces the boxes of `logits`.
///
/// # Errors
/// Where `logits` does not have 4 channels or one row for each row of the match table `matches`.
pub fn trace(tape: &mut dyn Tape, logits: Value, matches: Value, grid: Grid) -> Result<Value> {
    tape.apply(Box::new(DecodeBox { grid }), &[logits, matches])
}

impl Grid {
    fn limits(&self) -> Limits {
        Limits { anchors: self.anchors.len(), ..Limits::NONE }
    }
}

impl Op for DecodeBox {
    fn name(&self) -> &'static str {
        "decode box"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 2)?;
        expect_boxes(self.name(), inputs)?;
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(7.0 * inputs[0].elements() as f64)
    }

    fn gradient(
        &self,
        tape: &mut dyn Tape,
        inputs: &[Value],
        _outputs: &[Value],
        output_gradients: &[Option<Value>],
    ) -> Result<Vec<Gradient>> {
        let Some(dy) = output_gradients[0] else { return Ok(vec![Gradient::None; 2]) };
        let op = DecodeBoxGradient { grid: self.grid.clone() };
        let dx = tape.apply(Box::new(op), &[inputs[0], inputs[1], dy])?;
        Ok(vec![Gradient::Whole(dx), Gradient::None])
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::forward(&self.grid, io)
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        cpu::forward(&self.grid, io, cpu)
    }

    /// A box in two bytes would be off by pixels.
    fn is_map(&self, _output: usize) -> bool {
        false
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        cuda::forward(&self.grid, operands)
    }
}

impl Op for DecodeBoxGradient {
    fn name(&self) -> &'static str {
        "decode box gradient"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 3)?;
        expect_boxes(self.name(), inputs)?;
        if inputs[2] != inputs[0] {
            return Err(Error::shape(self.name(), inputs, "the gradient must have the shape of the boxes"));
        }
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(8.0 * inputs[0].elements() as f64)
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::backward(&self.grid, io)
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        cpu::backward(&self.grid, io, cpu)
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        cuda::backward(&self.grid, operands)
    }
}

/// Fails unless input 0 is rows of 4 and input 1 their match table.
pub(super) fn expect_boxes(op: &str, inputs: &[Shape]) -> Result<()> {
    expect_table(op, inputs, 1, Some(inputs[0]))?;
    if inputs[0].c != 4 {
        return Err(Error::shape(op, inputs, "a box takes 4 channels"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
