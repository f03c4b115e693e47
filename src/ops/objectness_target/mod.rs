//! What the objectness of every anchor of every cell should be.

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

/// `y[image, y, x, anchor] = (1 − ratio) + ratio·max(0, value[row])` for every match, the largest where
/// several name the same anchor of the same cell; 0 where none does.
///
/// With the CIoU of the predicted boxes as values this is YOLOv5's objectness target: an anchor should
/// be as sure as its box is good. (YOLOv5 keeps whichever match it writes last; the
/// largest does not depend on an order.)
///
/// Inputs: values `[1, 1, capacity, 1]`, a match table `[1, 1, capacity, 10]`. Output: `[n, h, w, anchors]`.
///
/// Gradient: none; a target is not to be learned.
#[derive(Clone, Debug)]
pub struct ObjectnessTarget {
    /// The output's shape `[n, h, w, anchors]`.
    pub map: Shape,
    /// How much of the target is the value: 1 for all of it, 0 for a target of 1 at every match
    /// (YOLOv5's `gr`).
    pub ratio: f64,
}

/// Traces the objectness target of shape `map` `[n, h, w, anchors]`.
///
/// # Errors
/// Where `values` does not have 1 channel or one row for each row of the match table `matches`.
pub fn trace(tape: &mut dyn Tape, values: Value, matches: Value, map: Shape, ratio: f64) -> Result<Value> {
    tape.apply(Box::new(ObjectnessTarget { map, ratio }), &[values, matches])
}

impl ObjectnessTarget {
    fn limits(&self) -> Limits {
        Limits { map: self.map, anchors: self.map.c, ..Limits::NONE }
    }
}

impl Op for ObjectnessTarget {
    fn name(&self) -> &'static str {
        "objectness target"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 2)?;
        expect_table(self.name(), inputs, 1, Some(inputs[0]))?;
        if inputs[0].c != 1 {
            return Err(Error::shape(self.name(), inputs, "there must be one value a row"));
        }
        Ok(vec![self.map])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(4.0 * inputs[0].elements() as f64)
    }

    /// As though every row were used, each for an anchor of its own, as far as there are so many: zeros, then the
    /// larger of what is there and the row's.
    fn accesses(&self, usage: &Usage<'_>) -> Accesses {
        let (map, rows) = (usage.outputs[0].elements(), usage.inputs[0].elements());
        let matched = rows.min(map);
        Accesses::once(usage).reading(0, rows + matched).writing(0, map + matched)
    }

    fn gradient(
        &self,
        _tape: &mut dyn Tape,
        _inputs: &[Value],
        _outputs: &[Value],
        _output_gradients: &[Option<Value>],
    ) -> Result<Vec<Gradient>> {
        Ok(vec![Gradient::None; 2])
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::forward(self, io)
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        cpu::forward(self, io, cpu)
    }

    fn is_map(&self, _output: usize) -> bool {
        false
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        cuda::forward(self, operands)
    }
}

#[cfg(test)]
mod tests;
