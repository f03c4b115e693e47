//! A channel range of a map. In a compiled program it is a view: no bytes move.

mod cases;

use std::ops::Range;

use super::{Cost, Gradient, Io, Layout, Op, Tape, Value, copy, expect_inputs};
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::Shape;
use crate::{Error, Result};

pub use cases::cases;

/// `y = x[.., start..end]`: the channels `start..end` of every pixel.
///
/// Gradient: `dx[.., start..end] = dy`; where all slices of `x` are used, `dx` is their concat.
#[derive(Clone, Debug)]
pub struct Slice {
    /// The first channel.
    pub start: usize,
    /// One past the last channel.
    pub end: usize,
}

/// Traces the channels `range` of `x`; the whole of `x` is returned as it is.
///
/// # Errors
/// Where the range is empty or leaves the channels.
pub fn trace(tape: &mut dyn Tape, x: Value, range: Range<usize>) -> Result<Value> {
    if range == (0..tape.shape(x).c) {
        return Ok(x);
    }
    tape.apply(Box::new(Slice { start: range.start, end: range.end }), &[x])
}

impl Op for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 1)?;
        let (start, end) = (self.start, self.end);
        if start >= end || end > inputs[0].c {
            let message = format!("channels {start}..{end} are not a part of {}", inputs[0].c);
            return Err(Error::shape(self.name(), inputs, message));
        }
        Ok(vec![inputs[0].with_c(end - start)])
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
        Ok(vec![output_gradients[0].map_or(Gradient::None, |dy| Gradient::Channels(self.start, dy))])
    }

    fn layout(&self) -> Layout {
        Layout::Slice { offset: self.start }
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        let x = io.input(0).channels(self.start..self.end);
        io.outputs[0].copy_from(x);
        Ok(())
    }

    fn cpu(&self, io: &mut Io<'_, f32>, _cpu: &Cpu) -> Result<()> {
        let x = io.input(0).channels(self.start..self.end);
        io.outputs[0].copy_from(x);
        Ok(())
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        let x = operands.input(0).channels(self.start, self.end - self.start);
        Ok(vec![copy::launch(x, operands.outputs[0])])
    }
}
