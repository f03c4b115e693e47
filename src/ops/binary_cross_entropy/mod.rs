//! Binary cross-entropy of logits with a map of targets: the objectness loss.

mod cases;
mod cpu;
mod cuda;
mod reference;

pub use cases::cases;
pub(super) use cpu::{sigmoid, term};

use super::{Accesses, Cost, Gradient, Io, Op, Tape, Usage, Value, expect_inputs};
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::Shape;
use crate::{Error, Result};

/// Which channels of a map are logits: `first`, `first + step`, `first + 2·step`, …
///
/// A head's objectness is channel 4 of the 5 + classes channels of each anchor: the loss reads them
/// where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// The first channel.
    pub first: usize,
    /// From one to the next.
    pub step: usize,
}

impl Channels {
    /// Every channel.
    pub const ALL: Channels = Channels { first: 0, step: 1 };
}

/// The mean over all elements of `target` of
/// `−t·ln σ(z) − (1 − t)·ln(1 − σ(z)) = max(z, 0) − z·t + ln(1 + e^−|z|)`,
/// with z the logit in channel `first + step·k` of the pixel and t the target in channel k. The
/// right-hand form neither overflows nor loses digits, whatever z is (PyTorch's
/// `BCEWithLogitsLoss`).
///
/// Inputs: logits `[n, h, w, c]`, target `[n, h, w, k]` with values in 0..1. Output: a scalar.
///
/// Gradient: [`BinaryCrossEntropyGradient`] for the logits; none for the target, which is data.
#[derive(Clone, Debug)]
pub struct BinaryCrossEntropy {
    /// The channels that are logits.
    pub channels: Channels,
}

/// The gradient of [`BinaryCrossEntropy`] with respect to its whole map: `(σ(z) − t)·dy/count` in the
/// channels of the logits, 0 in all others.
///
/// Inputs: logits, target, gradient of the mean (a scalar). Output: `[n, h, w, c]`.
#[derive(Clone, Debug)]
pub struct BinaryCrossEntropyGradient {
    /// The channels that are logits.
    pub channels: Channels,
}

/// Traces the mean binary cross-entropy of the logits in `channels` of `map` with `target`.
///
/// # Errors
/// Where the maps differ in n, h or w, or `map` lacks a channel for one of `target`.
pub fn trace(tape: &mut dyn Tape, map: Value, target: Value, channels: Channels) -> Result<Value> {
    tape.apply(Box::new(BinaryCrossEntropy { channels }), &[map, target])
}

/// Fails unless input 0 has a logit for every element of input 1.
fn expect_logits(op: &str, inputs: &[Shape], channels: Channels) -> Result<()> {
    let (map, target) = (inputs[0], inputs[1]);
    if map.with_c(0) != target.with_c(0) {
        return Err(Error::shape(op, inputs, "the maps must agree in n, h and w"));
    }
    if target.elements() == 0 || channels.step == 0 {
        return Err(Error::shape(op, inputs, "there must be a target, and a step from channel to channel"));
    }
    let last = channels.first + (target.c - 1) * channels.step;
    if last >= map.c {
        return Err(Error::shape(op, inputs, format!("there is no logit in channel {last}")));
    }
    Ok(())
}

impl Op for BinaryCrossEntropy {
    fn name(&self) -> &'static str {
        "binary cross-entropy"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 2)?;
        expect_logits(self.name(), inputs, self.channels)?;
        Ok(vec![Shape::scalar()])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(8.0 * inputs[1].elements() as f64)
    }

    fn accesses(&self, usage: &Usage<'_>) -> Accesses {
        // Of the map only the logits.
        Accesses::once(usage).reading(0, usage.inputs[1].elements())
    }

    fn gradient(
        &self,
        tape: &mut dyn Tape,
        inputs: &[Value],
        _outputs: &[Value],
        output_gradients: &[Option<Value>],
    ) -> Result<Vec<Gradient>> {
        let Some(dy) = output_gradients[0] else { return Ok(vec![Gradient::None; 2]) };
        let op = BinaryCrossEntropyGradient { channels: self.channels };
        let dx = tape.apply(Box::new(op), &[inputs[0], inputs[1], dy])?;
        Ok(vec![Gradient::Whole(dx), Gradient::None])
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::forward(self.channels, io);
        Ok(())
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        cpu::forward(self.channels, io, cpu);
        Ok(())
    }

    fn is_map(&self, _output: usize) -> bool {
        false
    }

    fn cuda_workspace(&self, inputs: &[Shape], _outputs: &[Shape], _target: &Target) -> usize {
        cuda::workspace(inputs[1])
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        cuda::forward(self.channels, operands)
    }
}

impl Op for BinaryCrossEntropyGradient {
    fn name(&self) -> &'static str {
        "binary cross-entropy gradient"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 3)?;
        expect_logits(self.name(), inputs, self.channels)?;
        if inputs[2] != Shape::scalar() {
            return Err(Error::shape(self.name(), inputs, "the gradient must be a scalar"));
        }
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(5.0 * inputs[1].elements() as f64)
    }

    fn accesses(&self, usage: &Usage<'_>) -> Accesses {
        // Of the map only the logits.
        Accesses::once(usage).reading(0, usage.inputs[1].elements())
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::backward(self.channels, io);
        Ok(())
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        cpu::backward(self.channels, io, cpu);
        Ok(())
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        cuda::backward(self.channels, operands)
    }
}

#[cfg(test)]
mod tests;
