//! A copy: what the compiler inserts where a value must lie in two places.

use super::{Cost, Gradient, Io, Op, Tape, Value, expect_inputs};
use crate::Result;
use crate::runtime::Cpu;
use crate::tensor::Shape;

/// `y = x` in a buffer of its own, or in another concat's slice.
#[derive(Clone, Debug)]
pub struct Copy;

impl Op for Copy {
    fn name(&self) -> &'static str {
        "copy"
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
        output_gradients: &[Option<Value>],
    ) -> Result<Vec<Gradient>> {
        Ok(vec![output_gradients[0].into()])
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        io.settle(0, 0);
        Ok(())
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        io.chunks_in_place(cpu, |_, _| {})
    }
}
