//! The mean of squares: the plainest loss, for tests, benches and cost measurements.

mod cpu;
mod reference;

use super::{Cost, Gradient, Io, Op, Tape, Value, expect_inputs};
use crate::runtime::Cpu;
use crate::tensor::Shape;
use crate::{Error, Result};

/// `y = Σ x² / N` over all `N` elements: `[n, h, w, c]` → `[1, 1, 1, 1]`.
///
/// Summed in f64, chunk by chunk in a fixed order: the number of threads changes no bit.
///
/// Gradient: `dx = 2x / N · dy`, a [`MeanSquareGradient`].
#[derive(Clone, Debug)]
pub struct MeanSquare;

/// `dx = 2x / N · dy` from (x, `dy` `[1, 1, 1, 1]`), in place over `x`.
#[derive(Clone, Debug)]
pub struct MeanSquareGradient;

/// Traces the mean of the squares of `x`.
///
/// # Errors
/// Where `x` has no elements.
pub fn trace(tape: &mut dyn Tape, x: Value) -> Result<Value> {
    tape.apply(Box::new(MeanSquare), &[x])
}

impl Op for MeanSquare {
    fn name(&self) -> &'static str {
        "mean square"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 1)?;
        if inputs[0].elements() == 0 {
            return Err(Error::shape(self.name(), inputs, "the mean of nothing is undefined"));
        }
        Ok(vec![Shape::scalar()])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(2.0 * inputs[0].elements() as f64)
    }

    fn gradient(
        &self,
        tape: &mut dyn Tape,
        inputs: &[Value],
        _outputs: &[Value],
        output_gradients: &[Option<Value>],
    ) -> Result<Vec<Gradient>> {
        let Some(dy) = output_gradients[0] else { return Ok(vec![Gradient::None]) };
        Ok(vec![Gradient::Whole(tape.apply(Box::new(MeanSquareGradient), &[inputs[0], dy])?)])
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::forward(io);
        Ok(())
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        cpu::forward(io, cpu);
        Ok(())
    }
}

impl Op for MeanSquareGradient {
    fn name(&self) -> &'static str {
        "mean square gradient"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 2)?;
        if inputs[1] != Shape::scalar() {
            return Err(Error::shape(self.name(), inputs, "dy must be a scalar"));
        }
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(inputs[0].elements() as f64)
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0)]
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::gradient(io);
        Ok(())
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        cpu::gradient(io, cpu);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
