//! Nearest-neighbour upsampling: how a coarse map joins a finer one.

mod cases;
mod cpu;
mod reference;

use super::{Cost, Gradient, Io, Op, Tape, Value, expect_inputs, grid};
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::Shape;
use crate::{Error, Result};

pub use cases::cases;

/// `y[n, i, j, c] = x[n, i / factor, j / factor, c]`: `[n, h, w, c]` → `[n, factor·h, factor·w, c]`.
///
/// Gradient: the sum over each block of `factor × factor`, an [`UpsampleGradient`].
#[derive(Clone, Debug)]
pub struct Upsample {
    /// How often each row and each column is repeated.
    pub factor: usize,
}

/// `dx[n, i, j, c] = Σ dy[n, factor·i + a, factor·j + b, c]` over `a, b < factor`.
#[derive(Clone, Debug)]
pub struct UpsampleGradient {
    /// The factor of the forward.
    pub factor: usize,
}

/// Traces `x` made `factor` times larger; with factor 1 it is `x` itself.
///
/// # Errors
/// Where the factor is 0, or the map would be too large.
pub fn trace(tape: &mut dyn Tape, x: Value, factor: usize) -> Result<Value> {
    match factor {
        1 => Ok(x),
        _ => tape.apply(Box::new(Upsample { factor }), &[x]),
    }
}

impl Op for Upsample {
    fn name(&self) -> &'static str {
        "upsample"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 1)?;
        let (x, factor) = (inputs[0], self.factor);
        if factor == 0 {
            return Err(Error::shape(self.name(), inputs, "the factor must be at least 1"));
        }
        match (x.h.checked_mul(factor), x.w.checked_mul(factor)) {
            (Some(h), Some(w)) => Ok(vec![Shape::new(x.n, h, w, x.c)]),
            _ => Err(Error::shape(self.name(), inputs, format!("a factor of {factor} is too large"))),
        }
    }

    /// Copies only.
    fn cost(&self, _inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::default()
    }

    fn gradient(
        &self,
        tape: &mut dyn Tape,
        _inputs: &[Value],
        _outputs: &[Value],
        output_gradients: &[Option<Value>],
    ) -> Result<Vec<Gradient>> {
        let Some(dy) = output_gradients[0] else { return Ok(vec![Gradient::None]) };
        let dx = tape.apply(Box::new(UpsampleGradient { factor: self.factor }), &[dy])?;
        Ok(vec![Gradient::Whole(dx)])
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::forward(self.factor, io);
        Ok(())
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        cpu::forward(self.factor, io, cpu);
        Ok(())
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        let (x, y) = (operands.input(0), operands.outputs[0]);
        let launch = Launch::new("upsample.cu", "upsample").define("FACTOR", self.factor);
        let launch = launch.define("X_TYPE", x.dtype).define("Y_TYPE", y.dtype);
        let launch = grid::per_pack(launch, y.shape, grid::common_pack(&[x, y]));
        let launch = launch.view(y).int(y.pixel_stride).int(y.shape.pixels());
        Ok(vec![launch.view(x).int(x.pixel_stride).int(y.shape.h).int(y.shape.w)])
    }
}

impl Op for UpsampleGradient {
    fn name(&self) -> &'static str {
        "upsample gradient"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 1)?;
        let (dy, factor) = (inputs[0], self.factor);
        if factor == 0 || dy.h % factor != 0 || dy.w % factor != 0 {
            let message = format!("dy must be a multiple of the factor {factor} on both sides");
            return Err(Error::shape(self.name(), inputs, message));
        }
        Ok(vec![Shape::new(dy.n, dy.h / factor, dy.w / factor, dy.c)])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(inputs[0].elements() as f64)
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::gradient(self.factor, io);
        Ok(())
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        cpu::gradient(self.factor, io, cpu);
        Ok(())
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        let (dy, dx) = (operands.input(0), operands.outputs[0]);
        let launch = Launch::new("upsample_gradient.cu", "upsample_gradient").define("FACTOR", self.factor);
        let launch = launch.define("DY_TYPE", dy.dtype).define("DX_TYPE", dx.dtype);
        let launch = grid::per_pack(launch, dx.shape, grid::common_pack(&[dy, dx]));
        let launch = launch.view(dx).int(dx.pixel_stride).int(dx.shape.pixels());
        Ok(vec![launch.view(dy).int(dy.pixel_stride).int(dx.shape.h).int(dx.shape.w)])
    }
}

#[cfg(test)]
mod tests;
