//! The gradient of a convolution's weight.

use std::sync::Arc;

use super::{Geometry, cpu, cuda, flops, output_shape, reference};
use crate::ops::{Cost, Io, Op, TileChoice, expect_inputs};
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::runtime::{Activation, Cpu};
use crate::tensor::Shape;
use crate::{Error, Result};

/// `dw[co, ky, kx, ci] = Σ prologue(x)[pixel + tap, ci] · dy[pixel, co]` over all pixels.
///
/// Inputs: `x [n, h, w, c_in]`, `dy [n, h', w', c_out]`, `(prologue's scale and shift [1, 1, 2, c_in])`.
/// Output: `dw [c_out, kernel_h, kernel_w, c_in / groups]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvWeightGradient {
    /// The forward convolution's.
    pub geometry: Geometry,
    /// The weight's shape.
    pub weight: Shape,
    /// The activation that is pending on x, behind a scale and shift.
    pub prologue: Option<Activation>,
    /// How the kernel of a CUDA device is cut, where that was measured: one of the names of [`Op::cuda_tiles`].
    pub tile: Option<String>,
}

impl Op for ConvWeightGradient {
    fn name(&self) -> &'static str {
        "conv weight gradient"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 2 + usize::from(self.prologue.is_some()))?;
        if output_shape(self.name(), &self.geometry, inputs, inputs[0], self.weight)? != inputs[1] {
            return Err(Error::shape(self.name(), inputs, "dy must have the convolution's output shape"));
        }
        if self.prologue.is_some() && inputs[2] != Shape::new(1, 1, 2, inputs[0].c) {
            return Err(Error::shape(self.name(), inputs, "the prologue must be [1, 1, 2, c_in]"));
        }
        Ok(vec![self.weight])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(flops(self.weight, inputs[1]))
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::weight_gradient(self, io);
        Ok(())
    }

    fn cpu_workspace(&self, inputs: &[Shape], _outputs: &[Shape], cpu: &Cpu) -> usize {
        cpu::weight_gradient_workspace(cpu, &self.geometry, inputs[0], inputs[1])
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        let prologue = super::prologue(io, self.prologue.map(|activation| (activation, 2)));
        let (x, dy) = (io.input(0), io.input(1));
        let dw = io.outputs[0].as_mut_slice();
        let dw =
            dw.ok_or_else(|| Error::internal("a weight's gradient is dense").in_op("conv weight gradient"))?;
        cpu::weight_gradient(cpu, &self.geometry, x, prologue, dy, dw, None, io.workspace);
        Ok(())
    }

    fn is_map(&self, _output: usize) -> bool {
        false
    }

    fn cuda_workspace(&self, inputs: &[Shape], _outputs: &[Shape], target: &Target) -> usize {
        cuda::weight_gradient_workspace(self, inputs[0], inputs[1], target)
    }

    fn cuda_tiles(&self, _inputs: &[Shape], _outputs: &[Shape], target: &Target) -> Option<TileChoice> {
        cuda::weight_gradient_tiles(self, target)
    }

    fn with_cuda_tile(&self, tile: &str) -> Option<Arc<dyn Op>> {
        Some(Arc::new(ConvWeightGradient { tile: Some(tile.to_owned()), ..self.clone() }))
    }

    fn cuda(&self, operands: &Operands, target: &Target) -> Result<Vec<Launch>> {
        Ok(cuda::weight_gradient(self, operands, target))
    }
}
