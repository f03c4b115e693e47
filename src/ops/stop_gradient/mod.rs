//! Stop-gradient: the value passes, its gradient does not (THEORY §3, the paper's figure 9).

use super::{Case, Cost, Gradient, Io, Layout, Op, Tape, Value, copy, expect_inputs};
use crate::Result;
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::Shape;

/// `y = x`, `dx = 0`. In a compiled program it is `x` itself.
#[derive(Clone, Debug)]
pub struct StopGradient;

/// Traces `x` cut off from the backward.
///
/// # Errors
/// None in practice.
pub fn trace(tape: &mut dyn Tape, x: Value) -> Result<Value> {
    tape.apply(Box::new(StopGradient), &[x])
}

impl Op for StopGradient {
    fn name(&self) -> &'static str {
        "stop gradient"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 1)?;
        Ok(vec![inputs[0]])
    }

    fn cost(&self, _inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::default()
    }

    fn gradient(
        &self,
        _tape: &mut dyn Tape,
        _inputs: &[Value],
        _outputs: &[Value],
        _output_gradients: &[Option<Value>],
    ) -> Result<Vec<Gradient>> {
        Ok(vec![Gradient::None])
    }

    fn layout(&self) -> Layout {
        Layout::Identity
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        io.settle(0, 0);
        Ok(())
    }

    fn cpu(&self, io: &mut Io<'_, f32>, _cpu: &Cpu) -> Result<()> {
        io.settle(0, 0);
        Ok(())
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        Ok(operands.inputs[0].map(|x| copy::launch(x, operands.outputs[0])).into_iter().collect())
    }
}

/// Cases for every device: where it runs at all, it copies.
pub fn cases() -> Vec<Case> {
    vec![Case::random(StopGradient, &[Shape::new(2, 3, 5, 8)], 1)]
}
