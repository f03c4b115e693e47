//! AdamW: Adam with decoupled weight decay.

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

/// One step of AdamW (Loshchilov and Hutter 2019, algorithm 2), as PyTorch's `AdamW`:
///
/// ```text
/// m' = β₁·m + (1 − β₁)·gradient
/// v' = β₂·v + (1 − β₂)·gradient²                 (m and v begin as 0)
/// m̂  = m' / (1 − β₁ᵗ),   v̂ = v' / (1 − β₂ᵗ)
/// parameter' = parameter·(1 − rate·weight_decay) − rate · m̂ / (√v̂ + ε)
/// ```
///
/// Inputs: parameter, gradient, m, v (one shape), and `[1, 1, 1, 2]`: the learning rate and the step
/// count t, 1 at the first step. Outputs: parameter', m', v', in place. No gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamW {
    /// β₁ of the first moment.
    pub beta1: f64,
    /// β₂ of the second moment.
    pub beta2: f64,
    /// ε, which bounds the step where gradients vanish.
    pub epsilon: f64,
    /// The decay, times the learning rate, of the parameter itself.
    pub weight_decay: f64,
}

impl Default for AdamW {
    /// PyTorch's: β = (0.9, 0.999), ε = 1e-8, decay 0.01.
    fn default() -> Self {
        AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }
    }
}

/// What a step reads.
#[derive(Clone, Copy, Debug)]
pub struct Inputs {
    /// The parameter.
    pub parameter: Value,
    /// The gradient of the loss with respect to it.
    pub gradient: Value,
    /// The state m, zeros before the first step.
    pub first_moment: Value,
    /// The state v, zeros before the first step.
    pub second_moment: Value,
    /// The learning rate and the step count t ≥ 1, `[1, 1, 1, 2]`.
    pub rate_and_step: Value,
}

/// Traces a step and returns (parameter', first moment', second moment').
///
/// # Errors
/// Where the shapes do not fit. Running it fails where the step count is below 1.
pub fn trace(tape: &mut dyn Tape, adamw: AdamW, inputs: Inputs) -> Result<(Value, Value, Value)> {
    let Inputs { parameter, gradient, first_moment, second_moment, rate_and_step } = inputs;
    let inputs = [parameter, gradient, first_moment, second_moment, rate_and_step];
    match tape.add_node(Box::new(adamw), &inputs)?[..] {
        [parameter, first, second] => Ok((parameter, first, second)),
        _ => Err(Error::internal("a step has three outputs")),
    }
}

/// The factors of one step, the same for all elements.
struct Factors {
    /// 1 − rate·decay.
    keep: f64,
    /// rate / (1 − β₁ᵗ).
    rate: f64,
    /// 1 / √(1 − β₂ᵗ).
    root: f64,
}

impl AdamW {
    fn factors(&self, rate: f64, step: f64) -> Result<Factors> {
        if step.is_nan() || step < 1.0 {
            let error = Error::invalid(format!("the step count is {step}")).in_op(self.name());
            return Err(error.fix("count the first step as 1"));
        }
        Ok(Factors {
            keep: 1.0 - rate * self.weight_decay,
            rate: rate / (1.0 - self.beta1.powf(step)),
            root: 1.0 / (1.0 - self.beta2.powf(step)).sqrt(),
        })
    }
}

impl Op for AdamW {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 5)?;
        expect_same(self.name(), &inputs[..4])?;
        if inputs[4] != Shape::vector(2) {
            let message = "learning rate and step count must be one vector of two";
            return Err(Error::shape(self.name(), inputs, message));
        }
        Ok(vec![inputs[0]; 3])
    }

    /// First moment 3, second 4, root and its correction 2, step 5.
    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(14.0 * inputs[0].elements() as f64)
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0), (2, 1), (3, 2)]
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::run(self, io)
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        cpu::run(self, io, cpu)
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
