//! A copy: what the compiler inserts where a value must lie in two places.

mod cases;

use super::{Cost, Gradient, Io, Op, Tape, Value, expect_inputs, grid};
use crate::Result;
use crate::runtime::Cpu;
use crate::runtime::cuda::{DeviceView, Launch, Operands, Target};
use crate::tensor::Shape;

pub use cases::cases;

/// The launch that copies `x` to `y`, of one shape, whatever their channel slices and element types.
pub(super) fn launch(x: DeviceView, y: DeviceView) -> Launch {
    grid::elementwise(Launch::new("copy.cu", "copy"), [("X_TYPE", x), ("Y_TYPE", y)])
}

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

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        Ok(operands.inputs[0].map(|x| launch(x, operands.outputs[0])).into_iter().collect())
    }
}
