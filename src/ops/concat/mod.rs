//! Concatenation by channel. In a compiled program it moves no bytes: its producers write straight
//! into their slices, and only where a part cannot live there is it copied.

mod cases;

use super::{Cost, Gradient, Io, Layout, Op, Tape, Value, copy, slice};
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::{Element, Shape};
use crate::{Error, Result};

pub use cases::cases;

/// `y[.., Σc₀..] = [x₀, x₁, …]`: maps of equal `[n, h, w]` side by side by channel.
///
/// Gradient: each input's is its slice of `dy`.
#[derive(Clone, Debug)]
pub struct Concat;

/// Traces the concatenation of `parts`; a single part is returned as it is.
///
/// # Errors
/// Where `parts` is empty, or the maps differ in size.
pub fn trace(tape: &mut dyn Tape, parts: &[Value]) -> Result<Value> {
    match parts {
        [single] => Ok(*single),
        _ => tape.apply(Box::new(Concat), parts),
    }
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let Some(first) = inputs.first() else {
            return Err(Error::shape(self.name(), inputs, "needs at least one input"));
        };
        if inputs.iter().any(|s| s.with_c(0) != first.with_c(0)) {
            return Err(Error::shape(self.name(), inputs, "the maps must agree in n, h and w"));
        }
        Ok(vec![first.with_c(inputs.iter().map(|s| s.c).sum())])
    }

    fn cost(&self, _inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::default()
    }

    fn gradient(
        &self,
        tape: &mut dyn Tape,
        inputs: &[Value],
        _outputs: &[Value],
        output_gradients: &[Option<Value>],
    ) -> Result<Vec<Gradient>> {
        let Some(dy) = output_gradients[0] else { return Ok(vec![Gradient::None; inputs.len()]) };
        let mut offset = 0;
        inputs
            .iter()
            .map(|&input| {
                let channels = tape.shape(input).c;
                let part = slice::trace(tape, dy, offset..offset + channels)?;
                offset += channels;
                Ok(Gradient::Whole(part))
            })
            .collect()
    }

    fn layout(&self) -> Layout {
        Layout::Concat
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        copy_parts(io);
        Ok(())
    }

    fn cpu(&self, io: &mut Io<'_, f32>, _cpu: &Cpu) -> Result<()> {
        copy_parts(io);
        Ok(())
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        let mut offset = 0;
        let parts = (0..operands.inputs.len()).map(|part| {
            let x = operands.input(part);
            let y = operands.outputs[0].channels(offset, x.shape.c);
            offset += x.shape.c;
            copy::launch(x, y)
        });
        Ok(parts.collect())
    }
}

/// Copies each part into its slice.
fn copy_parts<T: Element>(io: &mut Io<'_, T>) {
    let mut offset = 0;
    for part in 0..io.inputs.len() {
        let source = io.input(part);
        let channels = source.shape().c;
        io.outputs[0].reborrow().channels(offset..offset + channels).copy_from(source);
        offset += channels;
    }
}
