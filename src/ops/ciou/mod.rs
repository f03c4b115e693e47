//! Complete IoU: how well predicted boxes fit their objects, with a gradient even where they are apart.

mod cases;
mod cpu;
mod cuda;
mod reference;

pub use cases::cases;

use super::decode_box::expect_boxes;
use super::{Cost, Gradient, Io, Op, Tape, Value, expect_inputs};
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::Shape;
use crate::{Error, Result};

/// What keeps the three quotients from 0/0, as in YOLOv5's `bbox_iou`: added to the union, to the
/// squared diagonal and to α's denominator. Here boxes are in pixels, there in cells.
pub const EPSILON: f64 = 1e-7;

/// CIoU of each predicted box with its target (Zheng et al. 2020, Distance-IoU Loss):
///
/// ```text
/// CIoU = IoU − ρ²/c² − αv
/// ρ²   the squared distance of the centres, c² that of the enclosing box's corners
/// v    = 4/π²·(atan(w_target/h_target) − atan(w/h))²
/// α    = v / (1 − IoU + v)
/// ```
///
/// with [`EPSILON`] in each denominator. It lies in (−2, 1], 1 for equal boxes.
///
/// Inputs: boxes `[1, 1, capacity, 4]` (centre x, centre y, width, height in pixels of the network's
/// input), a match table `[1, 1, capacity, 10]` with the targets. Output: `[1, 1, capacity, 1]`, 0 for
/// an unused row.
///
/// Gradient: [`CiouGradient`]; none for the table.
#[derive(Clone, Debug)]
pub struct Ciou {
    /// Whether the gradient takes α for a constant. The paper treats it as a weight and YOLOv5
    /// computes it outside the graph, so training does; then the gradient is not that of the value.
    /// `false` gives the value's own gradient, which finite differences can check; the two differ by
    /// the one term −v·dα.
    pub detach_alpha: bool,
}

/// The gradient of [`Ciou`] with respect to the boxes.
///
/// Where an edge of the box lies exactly on its target's, minimum and maximum have a kink; each side
/// gets half, as in PyTorch, so that a perfect box has no gradient of its IoU. Boxes that just touch
/// are taken as apart.
///
/// Inputs: boxes, match table, gradient of the CIoU `[1, 1, capacity, 1]`. Output: `[1, 1, capacity, 4]`.
#[derive(Clone, Debug)]
pub struct CiouGradient {
    /// As in [`Ciou`].
    pub detach_alpha: bool,
}

/// Traces the CIoU of `boxes` with the targets in `matches`.
///
/// # Errors
/// Where `boxes` does not have 4 channels or one row for each row of the match table.
pub fn trace(tape: &mut dyn Tape, boxes: Value, matches: Value, detach_alpha: bool) -> Result<Value> {
    tape.apply(Box::new(Ciou { detach_alpha }), &[boxes, matches])
}

impl Op for Ciou {
    fn name(&self) -> &'static str {
        "CIoU"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 2)?;
        expect_boxes(self.name(), inputs)?;
        Ok(vec![inputs[0].with_c(1)])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(55.0 * inputs[0].pixels() as f64)
    }

    fn gradient(
        &self,
        tape: &mut dyn Tape,
        inputs: &[Value],
        _outputs: &[Value],
        output_gradients: &[Option<Value>],
    ) -> Result<Vec<Gradient>> {
        let Some(dy) = output_gradients[0] else { return Ok(vec![Gradient::None; 2]) };
        let op = CiouGradient { detach_alpha: self.detach_alpha };
        let dx = tape.apply(Box::new(op), &[inputs[0], inputs[1], dy])?;
        Ok(vec![Gradient::Whole(dx), Gradient::None])
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::forward(io)
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        cpu::forward(io, cpu)
    }

    fn is_map(&self, _output: usize) -> bool {
        false
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        cuda::forward(operands)
    }
}

impl Op for CiouGradient {
    fn name(&self) -> &'static str {
        "CIoU gradient"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 3)?;
        expect_boxes(self.name(), inputs)?;
        if inputs[2] != inputs[0].with_c(1) {
            return Err(Error::shape(self.name(), inputs, "the gradient must have one channel a row"));
        }
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(150.0 * inputs[0].pixels() as f64)
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::backward(self.detach_alpha, io)
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        cpu::backward(self.detach_alpha, io, cpu)
    }

    fn is_map(&self, _output: usize) -> bool {
        false
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        cuda::backward(self.detach_alpha, operands)
    }
}

#[cfg(test)]
mod tests;
