//! Max pooling: 2×2 with stride 2 between stages, and the 5×5, 9×9 and 13×13 windows of stride 1 of
//! spatial pyramid pooling (SPP).

mod cases;
mod cpu;
mod cuda;
mod reference;

use std::ops::Range;

use super::{Cost, Gradient, Io, Op, Tape, Value, expect_inputs};
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::Shape;
use crate::{Error, Result};

pub use cases::cases;

/// `y[n, oy, ox, c] = max x[n, oy·stride_h − top + i, ox·stride_w − left + j, c]` over the window's
/// `i < kernel_h`, `j < kernel_w`; what lies outside of the map counts as −∞. The output has
/// `(in + padding before + padding after − kernel) / stride + 1` rows and columns, rounded down. A
/// NaN in a window makes its maximum NaN, as in PyTorch.
///
/// Gradient: `dy` goes to the window's maximum; where several elements are equal, to the first in
/// row-major order, as in PyTorch. See [`MaxPoolGradient`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaxPool {
    /// The window's rows and columns.
    pub kernel: [usize; 2],
    /// Rows and columns from one window to the next.
    pub stride: [usize; 2],
    /// Rows and columns of −∞ around the map: top, bottom, left, right. Darknet pads unevenly.
    pub padding: [usize; 4],
}

/// `dx` of a [`MaxPool`], given its input `x` and `dy`: each window is searched again for its maximum,
/// which costs less memory traffic than keeping an index map from forward to backward. An element
/// that is the maximum of several windows gets the sum of their `dy`, always in the same order.
///
/// In a window with NaNs the last NaN counts as the maximum, as in PyTorch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaxPoolGradient {
    /// The forward.
    pub pool: MaxPool,
}

/// Traces the pooling of `x`.
///
/// # Errors
/// Where a window is empty, could lie wholly in the padding, or does not fit into the padded map.
pub fn trace(tape: &mut dyn Tape, x: Value, pool: MaxPool) -> Result<Value> {
    tape.apply(Box::new(pool), &[x])
}

impl MaxPool {
    /// Square windows with the same padding on all sides.
    pub fn square(size: usize, stride: usize, padding: usize) -> Self {
        MaxPool { kernel: [size; 2], stride: [stride; 2], padding: [padding; 4] }
    }

    /// Darknet's `[maxpool]` of `size` and `stride`: `size − 1` rows and columns of padding in all, of
    /// which half, rounded down, at the top and the left. So size 2 with stride 2 halves a map and
    /// rounds up, and stride 1 keeps its size.
    pub fn darknet(size: usize, stride: usize) -> Self {
        let total = size.saturating_sub(1);
        let (before, after) = (total / 2, total - total / 2);
        MaxPool { kernel: [size; 2], stride: [stride; 2], padding: [before, after, before, after] }
    }

    /// The rows of the map that lie in the windows of output row `oy`.
    fn rows(&self, oy: usize, h: usize) -> Range<usize> {
        window(oy, self.stride[0], self.kernel[0], self.padding[0], h)
    }

    /// The columns of the map that lie in the windows of output column `ox`.
    fn columns(&self, ox: usize, w: usize) -> Range<usize> {
        window(ox, self.stride[1], self.kernel[1], self.padding[2], w)
    }

    /// Comparisons for an output of `output`, each window counted whole.
    fn comparisons(&self, output: Shape) -> f64 {
        (self.kernel[0] * self.kernel[1]) as f64 * output.elements() as f64
    }
}

/// What of the window `index` lies inside `0..length`; never empty once the shapes were checked.
fn window(index: usize, stride: usize, kernel: usize, before: usize, length: usize) -> Range<usize> {
    let start = index * stride;
    start.saturating_sub(before)..(start + kernel - before).min(length)
}

/// The windows along one dimension, or why there are none.
fn windows(
    length: usize,
    kernel: usize,
    stride: usize,
    before: usize,
    after: usize,
) -> Result<usize, String> {
    if kernel == 0 || stride == 0 {
        return Err(format!("a window of {kernel} and a stride of {stride} must both be at least 1"));
    }
    let padded = length.checked_add(before).and_then(|sum| sum.checked_add(after));
    let Some(room) = padded.and_then(|padded| padded.checked_sub(kernel)) else {
        return Err(format!(
            "a window of {kernel} does not fit into {length} with {before} + {after} of padding"
        ));
    };
    let count = room / stride + 1;
    if before >= kernel || (count - 1) * stride >= length + before {
        return Err(format!("a window of {kernel} would lie wholly in the padding of {before} + {after}"));
    }
    // The cpu kernel holds a pixel's number as the bits of a finite f32: at most 2³⁰.
    if length > 1 << 15 {
        return Err(format!("a map of {length} on a side is too large"));
    }
    Ok(count)
}

impl Op for MaxPool {
    fn name(&self) -> &'static str {
        "max pool"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 1)?;
        let x = inputs[0];
        let [top, bottom, left, right] = self.padding;
        let error = |message| Error::shape(self.name(), inputs, message);
        let h = windows(x.h, self.kernel[0], self.stride[0], top, bottom).map_err(error)?;
        let w = windows(x.w, self.kernel[1], self.stride[1], left, right).map_err(error)?;
        Ok(vec![Shape::new(x.n, h, w, x.c)])
    }

    /// A comparison counts as an operation, and padding is counted: Darknet's rule.
    fn cost(&self, _inputs: &[Shape], outputs: &[Shape]) -> Cost {
        let flops = self.comparisons(outputs[0]);
        Cost { flops, darknet_flops: flops, cio: 0.0 }
    }

    fn gradient(
        &self,
        tape: &mut dyn Tape,
        inputs: &[Value],
        _outputs: &[Value],
        output_gradients: &[Option<Value>],
    ) -> Result<Vec<Gradient>> {
        let Some(dy) = output_gradients[0] else { return Ok(vec![Gradient::None]) };
        let dx = tape.apply(Box::new(MaxPoolGradient { pool: self.clone() }), &[inputs[0], dy])?;
        Ok(vec![Gradient::Whole(dx)])
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::forward(self, io);
        Ok(())
    }

    fn cpu_workspace(&self, inputs: &[Shape], outputs: &[Shape], cpu: &Cpu) -> usize {
        cpu::workspace(self, inputs[0], outputs[0], cpu.threads(), 1)
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        cpu::forward(self, io, cpu);
        Ok(())
    }

    fn cuda_workspace(&self, inputs: &[Shape], outputs: &[Shape], _target: &Target) -> usize {
        cuda::workspace(self, inputs[0], outputs[0])
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        Ok(cuda::forward(self, operands))
    }
}

impl Op for MaxPoolGradient {
    fn name(&self) -> &'static str {
        "max pool gradient"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 2)?;
        if self.pool.output_shapes(&inputs[..1])?[0] != inputs[1] {
            return Err(Error::shape(self.name(), inputs, "dy must have the shape of the pooled map"));
        }
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(self.pool.comparisons(inputs[1]))
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::gradient(&self.pool, io);
        Ok(())
    }

    fn cpu_workspace(&self, inputs: &[Shape], _outputs: &[Shape], cpu: &Cpu) -> usize {
        cpu::workspace(&self.pool, inputs[0], inputs[1], cpu.threads(), 2)
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        cpu::gradient(&self.pool, io, cpu);
        Ok(())
    }

    fn cuda_workspace(&self, inputs: &[Shape], _outputs: &[Shape], _target: &Target) -> usize {
        cuda::gradient_workspace(&self.pool, inputs[0], inputs[1])
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        Ok(cuda::gradient(&self.pool, operands))
    }
}

#[cfg(test)]
mod tests;
