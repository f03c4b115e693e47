//! Softmax and cross entropy in one: the loss of a classifier.

mod cases;
mod cpu;
mod cuda;
mod reference;

pub use cases::cases;

use super::{Cost, Gradient, Io, Op, Tape, Value, expect_inputs};
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::{Element, Shape, View};
use crate::{Error, Result};

/// `loss = mean over n of −log softmax(logits[n])[label[n]]`: logits `[n, 1, 1, c]` and labels
/// `[n, 1, 1, 1]`, each a class index in `0..c`, → `[1, 1, 1, 1]`, in nats.
///
/// Computed as `log Σ exp(z − max z) + (max z − z[label])`, which neither overflows nor loses the
/// logarithm beside a large maximum.
///
/// Gradient: `dlogits = (softmax(logits) − onehot(label)) / n · dy`, a
/// [`SoftmaxCrossEntropyGradient`]; the labels get none.
#[derive(Clone, Debug)]
pub struct SoftmaxCrossEntropy;

/// `dlogits` of a [`SoftmaxCrossEntropy`] from (logits, labels, `dy` `[1, 1, 1, 1]`), in place over
/// the logits.
#[derive(Clone, Debug)]
pub struct SoftmaxCrossEntropyGradient;

/// Traces the loss of `logits` `[n, 1, 1, c]` against `labels` `[n, 1, 1, 1]`.
///
/// # Errors
/// Where the shapes do not fit. Running it fails where a label is not an integer in `0..c`.
pub fn trace(tape: &mut dyn Tape, logits: Value, labels: Value) -> Result<Value> {
    tape.apply(Box::new(SoftmaxCrossEntropy), &[logits, labels])
}

/// Fails unless the first two of `inputs` are logits and labels.
fn expect_logits(op: &str, inputs: &[Shape]) -> Result<()> {
    let (logits, labels) = (inputs[0], inputs[1]);
    if logits.n == 0 || logits.c == 0 || (logits.h, logits.w) != (1, 1) || labels != logits.with_c(1) {
        return Err(Error::shape(op, inputs, "takes logits [n, 1, 1, c] and labels [n, 1, 1, 1]"));
    }
    Ok(())
}

/// The class that each row's label names.
fn classes<T: Element>(op: &str, labels: View<'_, T>, count: usize) -> Result<Vec<usize>> {
    (0..labels.shape().n)
        .map(|row| {
            let label = labels.pixel(row)[0].to_f64();
            // Not the other way around, so that NaN is refused.
            if label >= 0.0 && label < count as f64 && label.fract() == 0.0 {
                return Ok(label as usize);
            }
            let message = format!("row {row} has the label {label}, which is no class");
            Err(Error::invalid(message).in_op(op).fix(format!("give an integer from 0 to {}", count - 1)))
        })
        .collect()
}

impl Op for SoftmaxCrossEntropy {
    fn name(&self) -> &'static str {
        "softmax cross entropy"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 2)?;
        expect_logits(self.name(), inputs)?;
        Ok(vec![Shape::scalar()])
    }

    /// For each logit a comparison, a subtraction, an exponential and an addition.
    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(4.0 * inputs[0].elements() as f64)
    }

    fn gradient(
        &self,
        tape: &mut dyn Tape,
        inputs: &[Value],
        _outputs: &[Value],
        output_gradients: &[Option<Value>],
    ) -> Result<Vec<Gradient>> {
        let Some(dy) = output_gradients[0] else { return Ok(vec![Gradient::None; 2]) };
        let dx = tape.apply(Box::new(SoftmaxCrossEntropyGradient), &[inputs[0], inputs[1], dy])?;
        Ok(vec![Gradient::Whole(dx), Gradient::None])
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        let classes = classes(self.name(), io.input(1), io.input(0).shape().c)?;
        reference::forward(io, &classes);
        Ok(())
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        let classes = classes(self.name(), io.input(1), io.input(0).shape().c)?;
        cpu::forward(io, &classes, cpu);
        Ok(())
    }

    fn is_map(&self, _output: usize) -> bool {
        false
    }

    fn cuda_workspace(&self, inputs: &[Shape], _outputs: &[Shape], _target: &Target) -> usize {
        cuda::workspace(inputs[0])
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        cuda::forward(operands)
    }
}

impl Op for SoftmaxCrossEntropyGradient {
    fn name(&self) -> &'static str {
        "softmax cross entropy gradient"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 3)?;
        expect_logits(self.name(), inputs)?;
        if inputs[2] != Shape::scalar() {
            return Err(Error::shape(self.name(), inputs, "dy must be a scalar"));
        }
        Ok(vec![inputs[0]])
    }

    /// As the forward, and a multiplication.
    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(5.0 * inputs[0].elements() as f64)
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0)]
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        let classes = classes(self.name(), io.input(1), io.outputs[0].shape().c)?;
        reference::gradient(io, &classes);
        Ok(())
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        let classes = classes(self.name(), io.input(1), io.outputs[0].shape().c)?;
        cpu::gradient(io, &classes, cpu)
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        cuda::gradient(operands)
    }
}

#[cfg(test)]
mod tests;
