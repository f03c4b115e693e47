//! The class loss: each class of a matched anchor a yes-or-no question of its own.

mod cases;
mod cpu;
mod cuda;
mod reference;

pub use cases::cases;

use super::matches::{Limits, expect_table};
use super::{Accesses, Cost, Gradient, Io, Op, Tape, Usage, Value, expect_inputs};
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::Shape;
use crate::{Error, Result};

/// The mean over matches and classes of the binary cross-entropy `max(z, 0) − z·t + ln(1 + e^−|z|)`
/// of the class's logit z with t = 1 − ε/2 for the object's class, ε/2 for the others; 0 where there is
/// no match. (YOLOv3 introduced it; ε is label smoothing, as in YOLOv5.)
///
/// Inputs: logits `[1, 1, capacity, classes]`, a match table `[1, 1, capacity, 10]`. Output: a scalar.
///
/// Gradient: [`ClassLossGradient`]; none for the table.
#[derive(Clone, Debug)]
pub struct ClassLoss {
    /// ε, from 0 (none) to 1.
    pub label_smoothing: f64,
}

/// The gradient of [`ClassLoss`]: `(σ(z) − t)·dy/(matches·classes)` for a match, 0 for an unused row.
///
/// Inputs: logits, match table, gradient of the mean (a scalar). Output: `[1, 1, capacity, classes]`.
#[derive(Clone, Debug)]
pub struct ClassLossGradient {
    /// As in [`ClassLoss`].
    pub label_smoothing: f64,
}

/// Traces the class loss of `logits`.
///
/// # Errors
/// Where there is not one row of `logits` for each row of the match table `matches`.
pub fn trace(tape: &mut dyn Tape, logits: Value, matches: Value, label_smoothing: f64) -> Result<Value> {
    tape.apply(Box::new(ClassLoss { label_smoothing }), &[logits, matches])
}

/// The limits of a table for rows of `classes` logits.
fn limits(classes: usize) -> Limits {
    Limits { classes, ..Limits::NONE }
}

/// The target of class `k` for an object of class `class`.
fn target(label_smoothing: f64, k: usize, class: usize) -> f64 {
    if k == class { 1.0 - label_smoothing / 2.0 } else { label_smoothing / 2.0 }
}

impl Op for ClassLoss {
    fn name(&self) -> &'static str {
        "class loss"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 2)?;
        expect_table(self.name(), inputs, 1, Some(inputs[0]))?;
        Ok(vec![Shape::scalar()])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(8.0 * inputs[0].elements() as f64)
    }

    fn gradient(
        &self,
        tape: &mut dyn Tape,
        inputs: &[Value],
        _outputs: &[Value],
        output_gradients: &[Option<Value>],
    ) -> Result<Vec<Gradient>> {
        let Some(dy) = output_gradients[0] else { return Ok(vec![Gradient::None; 2]) };
        let op = ClassLossGradient { label_smoothing: self.label_smoothing };
        let dx = tape.apply(Box::new(op), &[inputs[0], inputs[1], dy])?;
        Ok(vec![Gradient::Whole(dx), Gradient::None])
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::forward(self.label_smoothing, io)
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        cpu::forward(self.label_smoothing, io, cpu)
    }

    fn is_map(&self, _output: usize) -> bool {
        false
    }

    fn cuda_workspace(&self, inputs: &[Shape], _outputs: &[Shape], _target: &Target) -> usize {
        cuda::workspace(inputs[0])
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        cuda::forward(self.label_smoothing, operands)
    }
}

impl Op for ClassLossGradient {
    fn name(&self) -> &'static str {
        "class loss gradient"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 3)?;
        expect_table(self.name(), inputs, 1, Some(inputs[0]))?;
        if inputs[2] != Shape::scalar() {
            return Err(Error::shape(self.name(), inputs, "the gradient must be a scalar"));
        }
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(5.0 * inputs[0].elements() as f64)
    }

    /// As though every row were used; their number is counted first.
    fn accesses(&self, usage: &Usage<'_>) -> Accesses {
        let table = usage.inputs[1];
        Accesses::once(usage).reading(1, table.elements() + table.pixels())
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::backward(self.label_smoothing, io)
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        cpu::backward(self.label_smoothing, io, cpu)
    }

    fn cuda_workspace(&self, inputs: &[Shape], _outputs: &[Shape], _target: &Target) -> usize {
        cuda::backward_workspace(inputs[0])
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        cuda::backward(self.label_smoothing, operands)
    }
}

#[cfg(test)]
mod tests;
