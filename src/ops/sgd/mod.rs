//! Stochastic gradient descent with momentum.

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

/// One step of SGD with momentum (Polyak 1964; Nesterov's form after Sutskever et al. 2013), as
/// PyTorch's `SGD` without dampening:
///
/// ```text
/// g  = gradient + weight_decay · parameter
/// v' = momentum · v + g                          (v begins as 0)
/// parameter' = parameter − rate · v'             plain
/// parameter' = parameter − rate · (g + momentum · v')   Nesterov
/// ```
///
/// Inputs: parameter, gradient, velocity v (one shape), learning rate `[1, 1, 1, 1]` and momentum
/// `[1, 1, 1, 1]`, both read at every step: schedules and warm-up change them. Outputs: parameter'
/// and v', in place. No gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Sgd {
    /// The L2 penalty's factor, added to the gradient; 0 for biases and normalisations.
    pub weight_decay: f64,
    /// Whether the step looks ahead.
    pub nesterov: bool,
}

/// What a step reads.
#[derive(Clone, Copy, Debug)]
pub struct Inputs {
    /// The parameter.
    pub parameter: Value,
    /// The gradient of the loss with respect to it.
    pub gradient: Value,
    /// The state v, zeros before the first step.
    pub velocity: Value,
    /// The learning rate, a scalar.
    pub rate: Value,
    /// The momentum, a scalar.
    pub momentum: Value,
}

/// Traces a step and returns (parameter', velocity').
///
/// # Errors
/// Where parameter, gradient and velocity differ in shape, or rate or momentum is no scalar.
pub fn trace(tape: &mut dyn Tape, sgd: Sgd, inputs: Inputs) -> Result<(Value, Value)> {
    let Inputs { parameter, gradient, velocity, rate, momentum } = inputs;
    match tape.add_node(Box::new(sgd), &[parameter, gradient, velocity, rate, momentum])?[..] {
        [parameter, velocity] => Ok((parameter, velocity)),
        _ => Err(Error::internal("a step has two outputs")),
    }
}

impl Op for Sgd {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 5)?;
        expect_same(self.name(), &inputs[..3])?;
        if inputs[3] != Shape::scalar() || inputs[4] != Shape::scalar() {
            return Err(Error::shape(self.name(), inputs, "learning rate and momentum must be scalars"));
        }
        Ok(vec![inputs[0]; 2])
    }

    /// Decay 2, velocity 2, step 2; looking ahead 2 more.
    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        let each = if self.nesterov { 8.0 } else { 6.0 };
        Cost::flops(each * inputs[0].elements() as f64)
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0), (2, 1)]
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::run(self, io);
        Ok(())
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        cpu::run(self, io, cpu);
        Ok(())
    }

    fn is_map(&self, _output: usize) -> bool {
        false
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        cuda::run(self, operands)
    }
}

#[cfg(test)]
mod tests;
