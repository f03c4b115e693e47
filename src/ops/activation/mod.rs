//! An activation on its own; behind a norm or a bias it is fused into its neighbour.

mod cases;

use super::{Cost, Gradient, Io, Op, Tape, Value, expect_inputs, expect_same, grid};
use crate::Result;
pub use crate::runtime::Activation;
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::runtime::vector::{Lanes, Task, activate, dispatch, zip};
use crate::tensor::Shape;

pub use cases::cases;

/// `y = act(x)`, elementwise. Gradient: `dx = dy·act'(x)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Activate(pub Activation);

/// Traces `activation(x)`; the linear one is `x` itself.
///
/// # Errors
/// None in practice.
pub fn trace(tape: &mut dyn Tape, x: Value, activation: Activation) -> Result<Value> {
    match activation {
        Activation::Linear => Ok(x),
        _ => tape.apply(Box::new(Activate(activation)), &[x]),
    }
}

impl Op for Activate {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 1)?;
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(inputs[0].elements() as f64)
    }

    fn gradient(
        &self,
        tape: &mut dyn Tape,
        inputs: &[Value],
        _outputs: &[Value],
        output_gradients: &[Option<Value>],
    ) -> Result<Vec<Gradient>> {
        let Some(dy) = output_gradients[0] else { return Ok(vec![Gradient::None]) };
        Ok(vec![Gradient::Whole(tape.apply(Box::new(ActivateGradient(self.0)), &[dy, inputs[0]])?)])
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0)]
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        io.settle(0, 0);
        for i in 0..io.outputs[0].shape().pixels() {
            io.outputs[0].pixel(i).iter_mut().for_each(|y| *y = self.0.apply(*y));
        }
        Ok(())
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        io.chunks_in_place(cpu, |_, chunk| match chunk.as_mut_slice() {
            Some(all) => activate(cpu, self.0, all),
            None => (0..chunk.shape().pixels()).for_each(|i| activate(cpu, self.0, chunk.pixel(i))),
        })
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        let launch = Launch::new("activation.cu", "activate").define("ACTIVATION", self.0);
        let views = [("X_TYPE", operands.input_or(0, 0)), ("Y_TYPE", operands.outputs[0])];
        Ok(vec![grid::elementwise(launch, views)])
    }
}

/// `dx = dy·act'(x)`. Inputs: dy, x, of the same shape; dx over dy where it is free.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivateGradient(pub Activation);

impl Op for ActivateGradient {
    fn name(&self) -> &'static str {
        "activation gradient"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 2)?;
        expect_same(self.name(), inputs)?;
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(2.0 * inputs[0].elements() as f64)
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0)]
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        io.settle(0, 0);
        let x = io.input(1);
        for i in 0..x.shape().pixels() {
            for (dx, x) in io.outputs[0].pixel(i).iter_mut().zip(x.pixel(i)) {
                *dx *= self.0.derivative(*x);
            }
        }
        Ok(())
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        struct Row<'a>(Activation, &'a mut [f32], &'a [f32]);
        impl Task for Row<'_> {
            type Output = ();
            #[inline(always)]
            fn run<L: Lanes>(self, l: L) {
                zip(l, self.1, self.2, |dy, x| l.mul(dy, self.0.derivative_lanes(l, x)));
            }
        }
        let x = io.input(1);
        io.chunks_in_place(cpu, |first, chunk| {
            for i in 0..chunk.shape().pixels() {
                dispatch(cpu, Row(self.0, chunk.pixel(i), x.pixel(first + i)));
            }
        })
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        let launch =
            Launch::new("activation_gradient.cu", "activation_gradient").define("ACTIVATION", self.0);
        let (dy, x, dx) = (operands.input_or(0, 0), operands.input(1), operands.outputs[0]);
        Ok(vec![grid::elementwise(launch, [("DY_TYPE", dy), ("X_TYPE", x), ("DX_TYPE", dx)])])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autograd::finite_difference::check;
    use crate::graph::Init;
    use crate::ops::testing::check_cpu_random;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn cpu_is_the_reference(n in 1..3usize, h in 1..9usize, w in 1..9usize, c in 1..70usize,
                                act in prop::sample::select(Activation::ALL.to_vec()), seed: u64) {
            let shape = Shape::new(n, h, w, c);
            check_cpu_random(&Activate(act), &[shape], seed, 1e-6);
            check_cpu_random(&ActivateGradient(act), &[shape, shape], seed, 2e-6);
        }
    }

    #[test]
    fn gradients() {
        for (seed, act) in Activation::ALL.into_iter().enumerate() {
            check(seed as u64, |g| {
                let x = g.parameter("x", Shape::new(1, 3, 3, 2), Init::Uniform { bound: 4.0 })?;
                Ok(vec![trace(g, x, act)?])
            })
            .unwrap();
        }
    }
}
