//! The gradient of a convolution's input.

use std::sync::Arc;

use super::{Geometry, cpu, cuda, flops, output_shape, reference};
use crate::ops::{Cost, Io, Op, TileChoice, expect_inputs};
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::Shape;
use crate::{Error, Result};

/// `dx = convᵀ(dy, w)`, or `dx = into + convᵀ(dy, w)` where another reader of x has left its gradient.
///
/// Inputs: `dy [n, h', w', c_out]`, `weight [c_out, kernel_h, kernel_w, c_in / groups]`,
/// `(into [n, h, w, c_in])`. Output: `dx [n, h, w, c_in]`, over `into` where it is free.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvInputGradient {
    /// The forward convolution's.
    pub geometry: Geometry,
    /// The shape of x.
    pub input: Shape,
    /// Whether the result is added to a third operand.
    pub accumulate: bool,
    /// How the kernel of a CUDA device is cut, where that was measured: one of the names of [`Op::cuda_tiles`].
    pub tile: Option<String>,
}

impl Op for ConvInputGradient {
    fn name(&self) -> &'static str {
        "conv input gradient"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 2 + usize::from(self.accumulate))?;
        if output_shape(self.name(), &self.geometry, inputs, self.input, inputs[1])? != inputs[0] {
            return Err(Error::shape(self.name(), inputs, "dy must have the convolution's output shape"));
        }
        if self.accumulate && inputs[2] != self.input {
            return Err(Error::shape(self.name(), inputs, "what is added to must have the input's shape"));
        }
        Ok(vec![self.input])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(flops(inputs[1], inputs[0]))
    }

    fn in_place(&self) -> &[(usize, usize)] {
        if self.accumulate { &[(2, 0)] } else { &[] }
    }

    fn makes_maps(&self) -> bool {
        true
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        reference::input_gradient(self, io);
        Ok(())
    }

    fn cpu_workspace(&self, inputs: &[Shape], _outputs: &[Shape], cpu: &Cpu) -> usize {
        cpu::input_gradient_workspace(cpu, &self.geometry, self.input, inputs[0])
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        if self.accumulate {
            io.settle(2, 0);
        }
        let (dy, weight) = (io.input(0), io.dense(1));
        let (dx, workspace) = (io.outputs[0].reborrow(), &mut *io.workspace);
        cpu::input_gradient(cpu, &self.geometry, dy, weight, self.accumulate, dx, workspace);
        Ok(())
    }

    fn cuda_tiles(&self, inputs: &[Shape], _outputs: &[Shape], target: &Target) -> Option<TileChoice> {
        cuda::input_gradient_tiles(self, inputs[1], target)
    }

    fn with_cuda_tile(&self, tile: &str) -> Option<Arc<dyn Op>> {
        Some(Arc::new(ConvInputGradient { tile: Some(tile.to_owned()), ..self.clone() }))
    }

    fn cuda(&self, operands: &Operands, target: &Target) -> Result<Vec<Launch>> {
        Ok(vec![cuda::input_gradient(self, operands, target)])
    }
}
