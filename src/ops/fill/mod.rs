//! A constant: what stands where no gradient flows, and where a backward begins.

use super::{Case, Cost, Gradient, Io, Op, Tape, Value, expect_inputs, grid};
use crate::Result;
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::Shape;

/// A map of `shape` with every element `value`. No inputs, no gradient.
#[derive(Clone, Debug)]
pub struct Fill {
    /// The output's shape.
    pub shape: Shape,
    /// The value of every element.
    pub value: f64,
}

/// Traces a constant.
///
/// # Errors
/// None in practice.
pub fn trace(tape: &mut dyn Tape, shape: Shape, value: f64) -> Result<Value> {
    tape.apply(Box::new(Fill { shape, value }), &[])
}

impl Op for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 0)?;
        Ok(vec![self.shape])
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
        Ok(vec![])
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        io.outputs[0].fill(self.value);
        Ok(())
    }

    fn cpu(&self, io: &mut Io<'_, f32>, _cpu: &Cpu) -> Result<()> {
        io.outputs[0].fill(self.value as f32);
        Ok(())
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        let launch = grid::elementwise(Launch::new("fill.cu", "fill"), [("Y_TYPE", operands.outputs[0])]);
        Ok(vec![launch.float(self.value)])
    }
}

/// Cases for every device.
pub fn cases() -> Vec<Case> {
    let shapes = [Shape::scalar(), Shape::new(2, 3, 5, 7), Shape::new(1, 13, 11, 32)];
    let case = |shape| Case::random(Fill { shape, value: 0.5 }, &[], 1);
    shapes.map(case).to_vec()
}
