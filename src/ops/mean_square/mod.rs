//! The mean of squares: the plainest loss, for tests, benches and cost measurements.

mod cases;
mod cpu;
mod reference;

use super::{Cost, Gradient, Io, Op, Tape, Value, expect_inputs, grid, partial_sum};
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

/// Packs that a block sums, where that does not make too many blocks.
const PACKS_A_BLOCK: usize = 1024;

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
        partial_sum::workspace(partial_sum::blocks(inputs[0].elements(), PACKS_A_BLOCK))
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        let [x] = grid::flat([operands.input(0)]);
        let (pack, elements) = (x.pack(), x.shape.elements());
        let packs = elements / pack;
        let blocks = partial_sum::blocks(packs, PACKS_A_BLOCK);
        let sums = partial_sum::sums(operands, blocks, 1.0 / elements as f64, operands.outputs[0]);
        let launch = Launch::new("mean_square.cu", "mean_square").define("X_TYPE", x.dtype);
        let launch = grid::per_pack(launch, x.shape, pack).grid(blocks, 1, 1).view(x).int(x.pixel_stride);
        let launch = launch.address(sums.address).int(packs).int(packs.div_ceil(blocks)).float(sums.factor);
        Ok([launch].into_iter().chain(sums.finish).collect())
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
