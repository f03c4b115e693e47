//! A change of element type: what the compiler inserts where a weight is wanted as maps are stored.

mod cases;

pub use cases::cases;

use super::{Cost, Gradient, Io, Op, Tape, Value, copy, expect_inputs};
use crate::Result;
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::Shape;

/// `y = x`, a map: rounded to nearest where the device stores maps in two bytes, the same numbers where it does
/// not. x and y of any shape.
///
/// Gradient: dy as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Cast;

impl Op for Cast {
    fn name(&self) -> &'static str {
        "cast"
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

    fn makes_maps(&self) -> bool {
        true
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        io.settle(0, 0);
        Ok(())
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        io.chunks_in_place(cpu, |_, _| {})
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        Ok(vec![copy::launch(operands.input(0), operands.outputs[0])])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::check_cpu_random;
    use crate::runtime::cuda::{Argument, DeviceView};
    use crate::tensor::DType;

    #[test]
    fn cpu_is_the_reference() {
        check_cpu_random(&Cast, &[Shape::new(2, 3, 5, 7)], 1, 0.0);
        check_cpu_random(&Cast, &[Shape::vector(9)], 2, 0.0);
    }

    #[test]
    fn a_launch_covers_every_element_once() {
        let shape = Shape::new(3, 3, 3, 24);
        let view = |dtype, address| DeviceView { address, shape, pixel_stride: 24, dtype };
        let operands = Operands {
            inputs: vec![Some(view(DType::F32, 4096))],
            outputs: vec![view(DType::Bf16, 65536)],
            workspace: 0,
            status: 0,
        };
        let target = Target { arch: 80, multiprocessors: 4, shared_bytes: 99 << 10, map: DType::Bf16 };
        let launch = &Cast.cuda(&operands, &target).unwrap()[0];
        // 16 bytes of the wider type are 4 elements.
        assert_eq!(launch.arguments.last(), Some(&Argument::Int(27 * 24 / 4)));
        assert_eq!(launch.grid, [1, 1, 1]);
    }
}
