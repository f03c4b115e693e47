//! Global average pooling: what stands between the last map of a classifier and its linear layer.

mod cpu;
mod reference;

use super::{Cost, Gradient, Io, Op, Tape, Value, expect_inputs};
use crate::runtime::Cpu;
use crate::tensor::Shape;
use crate::{Error, Result};

/// `y[n, 0, 0, c] = mean over (h, w) of x[n, .., .., c]`: `[n, h, w, c]` → `[n, 1, 1, c]`.
///
/// Gradient: `dx = dy / (h·w)` at every pixel, a [`GlobalAveragePoolGradient`].
#[derive(Clone, Debug)]
pub struct GlobalAveragePool;

/// `dx[n, y, x, c] = dy[n, 0, 0, c] / (h·w)`: `[n, 1, 1, c]` → `[n, h, w, c]`.
#[derive(Clone, Debug)]
pub struct GlobalAveragePoolGradient {
    /// Rows of the map that was averaged.
    pub h: usize,
    /// Columns of the map that was averaged.
    pub w: usize,
}

/// Traces the average of every channel of every image of `x`.
///
/// # Errors
/// Where the map has no pixels.
pub fn trace(tape: &mut dyn Tape, x: Value) -> Result<Value> {
    tape.apply(Box::new(GlobalAveragePool), &[x])
}

impl Op for GlobalAveragePool {
    fn name(&self) -> &'static str {
        "global average pool"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 1)?;
        if inputs[0].h * inputs[0].w == 0 {
            return Err(Error::shape(self.name(), inputs, "the map has no pixels"));
        }
        Ok(vec![Shape::new(inputs[0].n, 1, 1, inputs[0].c)])
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
        let Shape { h, w, .. } = tape.shape(inputs[0]);
        Ok(vec![Gradient::Whole(tape.apply(Box::new(GlobalAveragePoolGradient { h, w }), &[dy])?)])
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::forward(io);
        Ok(())
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        cpu::forward(io, cpu);
        Ok(())
    }
}

impl Op for GlobalAveragePoolGradient {
    fn name(&self) -> &'static str {
        "global average pool gradient"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 1)?;
        let dy = inputs[0];
        if (dy.h, dy.w) != (1, 1) {
            return Err(Error::shape(self.name(), inputs, "dy must have one pixel an image"));
        }
        Ok(vec![Shape::new(dy.n, self.h, self.w, dy.c)])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(inputs[0].elements() as f64)
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::gradient(io);
        Ok(())
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        cpu::gradient(io, cpu);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
