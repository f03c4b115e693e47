//! The mean of squares: the plainest loss, for tests, benches and cost measurements.

mod cases;
mod cpu;
mod reference;

use super::{Cost, Gradient, Io, Op, Tape, Value, expect_inputs, grid};
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::Shape;
use crate::{Error, Result};

pub use cases::cases;

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

    fn is_map(&self, _output: usize) -> bool {
        false
    }

    fn cuda_workspace(&self, inputs: &[Shape], _outputs: &[Shape], _target: &Target) -> usize {
        grid::scalar_partials_bytes(inputs[0].elements())
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        let [x] = grid::flat([operands.input(0)]);
        let (pack, elements) = (x.pack(), x.shape.elements());
        let packs = elements / pack;
        let runs = grid::runs_of_packs(packs);
        let first = Launch::new("mean_square.cu", "mean_square").define("X_TYPE", x.dtype);
        let first = grid::per_pack(first, x.shape, pack).grid(runs.blocks, 1, 1);
        let first = first.view(x).int(x.pixel_stride).address(operands.workspace).int(packs).int(runs.run);
        let mean = 1.0 / elements as f64;
        Ok(vec![first, grid::sum_partials(operands.workspace, runs.blocks, 1, mean, operands.outputs[0])])
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

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        let dx = operands.outputs[0];
        let launch = Launch::new("mean_square_gradient.cu", "mean_square_gradient");
        let launch = grid::elementwise(launch, [("X_TYPE", operands.input_or(0, 0)), ("DX_TYPE", dx)]);
        Ok(vec![launch.view(operands.input(1)).float(2.0 / dx.shape.elements() as f64)])
    }
}

#[cfg(test)]
mod tests;
