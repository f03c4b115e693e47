//! The mean over matches of what a loss makes of each.

mod cases;
mod cpu;
mod cuda;
mod reference;

pub use cases::cases;

use super::matches::expect_table;
use super::{Accesses, Cost, Gradient, Io, Op, Tape, Usage, Value, expect_inputs};
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::Shape;
use crate::{Error, Result};

/// `y = 1/m · Σ (scale·value[row] + offset)` over the m matches; 0 where there is none.
///
/// With scale −1 and offset 1 over CIoU it is the box loss, mean(1 − CIoU).
///
/// Inputs: values `[1, 1, capacity, 1]`, a match table `[1, 1, capacity, 10]`. Output: a scalar.
///
/// Gradient: [`MatchedMeanGradient`]; none for the table.
#[derive(Clone, Debug)]
pub struct MatchedMean {
    /// What a value is multiplied by.
    pub scale: f64,
    /// What is added to the product.
    pub offset: f64,
}

/// The gradient of [`MatchedMean`]: `dvalue[row] = scale/m·dy` for a match, 0 for an unused row.
///
/// Inputs: match table, gradient of the mean (a scalar). Output: `[1, 1, capacity, 1]`.
#[derive(Clone, Debug)]
pub struct MatchedMeanGradient {
    /// As in [`MatchedMean`].
    pub scale: f64,
}

/// Traces the mean of `scale·value + offset` over the matches.
///
/// # Errors
/// Where `values` does not have 1 channel or one row for each row of the match table `matches`.
pub fn trace(tape: &mut dyn Tape, values: Value, matches: Value, scale: f64, offset: f64) -> Result<Value> {
    tape.apply(Box::new(MatchedMean { scale, offset }), &[values, matches])
}

impl Op for MatchedMean {
    fn name(&self) -> &'static str {
        "matched mean"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 2)?;
        expect_table(self.name(), inputs, 1, Some(inputs[0]))?;
        if inputs[0].c != 1 {
            return Err(Error::shape(self.name(), inputs, "there must be one value a row"));
        }
        Ok(vec![Shape::scalar()])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(inputs[0].elements() as f64)
    }

    fn gradient(
        &self,
        tape: &mut dyn Tape,
        inputs: &[Value],
        _outputs: &[Value],
        output_gradients: &[Option<Value>],
    ) -> Result<Vec<Gradient>> {
        let Some(dy) = output_gradients[0] else { return Ok(vec![Gradient::None; 2]) };
        let dx = tape.apply(Box::new(MatchedMeanGradient { scale: self.scale }), &[inputs[1], dy])?;
        Ok(vec![Gradient::Whole(dx), Gradient::None])
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::forward(self, io)
    }

    fn cpu(&self, io: &mut Io<'_, f32>, _cpu: &Cpu) -> Result<()> {
        cpu::forward(self, io)
    }

    fn is_map(&self, _output: usize) -> bool {
        false
    }

    fn cuda_workspace(&self, inputs: &[Shape], _outputs: &[Shape], _target: &Target) -> usize {
        cuda::workspace(inputs[0].pixels())
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        cuda::forward(self, operands)
    }
}

impl Op for MatchedMeanGradient {
    fn name(&self) -> &'static str {
        "matched mean gradient"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 2)?;
        expect_table(self.name(), inputs, 0, None)?;
        if inputs[1] != Shape::scalar() {
            return Err(Error::shape(self.name(), inputs, "the gradient must be a scalar"));
        }
        Ok(vec![inputs[0].with_c(1)])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(inputs[0].pixels() as f64)
    }

    /// As though every row were used; their number is counted first.
    fn accesses(&self, usage: &Usage<'_>) -> Accesses {
        let table = usage.inputs[0];
        Accesses::once(usage).reading(0, table.elements() + table.pixels())
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::backward(self.scale, io)
    }

    fn cpu(&self, io: &mut Io<'_, f32>, _cpu: &Cpu) -> Result<()> {
        cpu::backward(self.scale, io)
    }

    fn is_map(&self, _output: usize) -> bool {
        false
    }

    fn cuda_workspace(&self, inputs: &[Shape], _outputs: &[Shape], _target: &Target) -> usize {
        cuda::backward_workspace(inputs[0].pixels())
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        cuda::backward(self.scale, operands)
    }
}

#[cfg(test)]
mod tests;
