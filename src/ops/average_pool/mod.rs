//! Global average pooling: what stands between the last map of a classifier and its linear layer.

mod cases;
mod cpu;
mod reference;

use super::{Cost, Gradient, Io, Op, Tape, Value, expect_inputs, grid};
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::Shape;
use crate::{Error, Result};

pub use cases::cases;

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

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        let (x, y) = (operands.input(0), operands.outputs[0]);
        let columns = grid::Columns::new(x.shape.c, grid::common_pack(&[x, y]));
        let launch = columns.launch(Launch::new("average_pool.cu", "average_pool"), x.shape.n);
        let launch = launch.define("X_TYPE", x.dtype).define("Y_TYPE", y.dtype).view(x).int(x.pixel_stride);
        Ok(vec![launch.view(y).int(y.pixel_stride).int(x.shape.h * x.shape.w)])
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

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        let (dy, dx) = (operands.input(0), operands.outputs[0]);
        let launch = Launch::new("average_pool_gradient.cu", "average_pool_gradient");
        let launch = launch.define("DX_TYPE", dx.dtype).define("DY_TYPE", dy.dtype);
        let launch = grid::per_pack(launch, dx.shape, grid::common_pack(&[dx, dy]));
        let launch = launch.view(dx).int(dx.pixel_stride).int(dx.shape.pixels());
        Ok(vec![launch.view(dy).int(dy.pixel_stride).int(self.h * self.w)])
    }
}

#[cfg(test)]
mod tests;
