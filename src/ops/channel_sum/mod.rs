//! The sum of a map over its pixels: the gradient of a bias.

pub mod cases;
pub mod cuda;

use super::{Cost, Io, Op, Tape, Value, expect_inputs};
use crate::Result;
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::Shape;

/// `y[c] = Σ x[pixel, c]`: `[n, h, w, c]` → `[1, 1, 1, c]`.
#[derive(Clone, Debug)]
pub struct ChannelSum;

/// Traces the sum of `x` over its pixels.
///
/// # Errors
/// None in practice.
pub fn trace(tape: &mut dyn Tape, x: Value) -> Result<Value> {
    tape.apply(Box::new(ChannelSum), &[x])
}

impl Op for ChannelSum {
    fn name(&self) -> &'static str {
        "channel sum"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 1)?;
        Ok(vec![Shape::vector(inputs[0].c)])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(inputs[0].elements() as f64)
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        let x = io.input(0);
        io.outputs[0].fill(0.0);
        for i in 0..x.shape().pixels() {
            io.outputs[0].pixel(0).iter_mut().zip(x.pixel(i)).for_each(|(y, x)| *y += x);
        }
        Ok(())
    }

    fn cpu_workspace(&self, inputs: &[Shape], _outputs: &[Shape], _cpu: &Cpu) -> usize {
        super::reduce::workspace(inputs[0], 1)
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        let x = io.input(0);
        let sums = super::reduce::channels(cpu, x.shape(), 1, io.workspace, |pixels, partial| {
            for i in pixels {
                partial.iter_mut().zip(x.pixel(i)).for_each(|(y, x)| *y += x);
            }
        });
        for (c, y) in io.outputs[0].pixel(0).iter_mut().enumerate() {
            *y = sums.of(0, c) as f32;
        }
        Ok(())
    }

    fn is_map(&self, _output: usize) -> bool {
        false
    }

    fn cuda_workspace(&self, inputs: &[Shape], _outputs: &[Shape], target: &Target) -> usize {
        cuda::workspace(inputs[0].pixels(), inputs[0].c, target)
    }

    fn cuda(&self, operands: &Operands, target: &Target) -> Result<Vec<Launch>> {
        Ok(cuda::map(operands.input(0), operands.outputs[0].address, operands.workspace, target))
    }
}

#[cfg(test)]
mod tests {
    use super::ChannelSum;
    use crate::ops::testing::check_cpu_random;
    use crate::tensor::Shape;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn cpu_is_the_reference(n in 1..3usize, h in 1..30usize, w in 1..30usize, c in 1..70usize, seed: u64) {
            check_cpu_random(&ChannelSum, &[Shape::new(n, h, w, c)], seed, 1e-4);
        }
    }
}
