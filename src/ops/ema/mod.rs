//! Exponential moving average: the smoothed weights that are evaluated and kept.

mod cases;
mod cpu;
mod cuda;
mod reference;

pub use cases::cases;

use super::{Cost, Io, Op, Tape, Value, expect_inputs, expect_same};
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::Shape;
use crate::{Error, Result};

/// `average' = decay · average + (1 − decay) · value`, in place over the average.
///
/// Inputs: average and value of one shape, and the decay `[1, 1, 1, 1]`, which is read at every step
/// so that it can rise from 0 while the average is young. With a decay of exactly 0 the average
/// becomes the value, with 1 it stays. No gradient.
#[derive(Clone, Debug)]
pub struct Ema;

/// Traces one step of an average.
///
/// # Errors
/// Where average and value differ in shape, or the decay is no scalar.
pub fn trace(tape: &mut dyn Tape, average: Value, value: Value, decay: Value) -> Result<Value> {
    tape.apply(Box::new(Ema), &[average, value, decay])
}

impl Op for Ema {
    fn name(&self) -> &'static str {
        "exponential moving average"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 3)?;
        expect_same(self.name(), &inputs[..2])?;
        if inputs[2] != Shape::scalar() {
            return Err(Error::shape(self.name(), inputs, "the decay must be a scalar"));
        }
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(3.0 * inputs[0].elements() as f64)
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0)]
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::run(io);
        Ok(())
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        cpu::run(io, cpu, self.in_place());
        Ok(())
    }

    fn is_map(&self, _output: usize) -> bool {
        false
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        cuda::run(operands)
    }
}

#[cfg(test)]
mod tests;
