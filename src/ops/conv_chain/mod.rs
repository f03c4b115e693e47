//! Two convolutions in a row whose middle map stays on the chip: the bottleneck of a cross-stage partial stage, two
//! stacked units of an ELAN, a detection head.

mod cases;
mod cuda;
mod saving;
mod tile;

pub use cases::cases;
pub use saving::{Saving, saving};
pub use tile::Tile;

use std::sync::Arc;

use super::conv::{Conv, Geometry};
use super::{Cost, Io, Op};
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::{Element, Shape, View, ViewMut};
use crate::{Error, Result};

/// `m = first(x)`, `y = second(m) + residual on the first channels`, each with its bias and activation.
///
/// Inputs: `x [n, h, w, c_in]`, of the first `weight [c, k, k, c_in]`, `(bias [1, 1, 1, c])`, of the second
/// `weight [c_out, k', k', c]`, `(bias [1, 1, 1, c_out])`, `(residual [n, h, w, ≤ c_out])`. Outputs:
/// `y [n, h, w, c_out]`, `(m [n, h, w, c], where it is kept)`.
///
/// The compiler makes it, for inference (`compile::fuse`): it has no gradient of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvChain {
    /// The convolution that makes the middle map.
    pub first: Conv,
    /// The convolution that reads it, and may add a residual.
    pub second: Conv,
    /// Whether the middle map is an output too: others read it.
    pub keep_middle: bool,
}

impl ConvChain {
    /// Whether `conv` can be one of the two: a square kernel of 1, 3 or 5 at stride 1 that keeps the map's
    /// size, in one group, with nothing pending on its input and no statistics.
    pub fn takes(conv: &Conv) -> bool {
        [1, 3, 5].iter().any(|&kernel| conv.geometry == Geometry::same(kernel, 1))
            && conv.prologue.is_none()
            && !conv.statistics
            && conv.packed_channels.is_none()
    }

    /// Pixels around an output's own that the second convolution reads of the middle map.
    fn halo(&self) -> usize {
        self.second.geometry.kernel[0] / 2
    }

    /// Where the second convolution's weight stands among the inputs.
    fn second_weight(&self) -> usize {
        2 + usize::from(self.first.bias)
    }

    /// Where the residual stands.
    fn residual(&self) -> Option<usize> {
        self.second.residual.then(|| self.second_weight() + 1 + usize::from(self.second.bias))
    }

    fn count(&self) -> usize {
        self.second_weight() + 1 + usize::from(self.second.bias) + usize::from(self.second.residual)
    }

    /// The shapes of the middle map and of the output.
    fn maps(&self, inputs: &[Shape]) -> Result<(Shape, Shape)> {
        let middle = self.first.output_shapes(&inputs[..self.second_weight()])?[0];
        let second = [&[middle], &inputs[self.second_weight()..]].concat();
        Ok((middle, self.second.output_shapes(&second)?[0]))
    }

    /// Runs the convolutions one after the other, the middle map in the output that keeps it or in `scratch`.
    fn each<T: Element>(
        &self,
        io: &mut Io<'_, T>,
        middle: Shape,
        scratch: &mut [T],
        workspace: &mut [T],
        run: impl Fn(&Conv, &mut Io<'_, T>) -> Result<()>,
    ) -> Result<()> {
        let second_weight = self.second_weight();
        let (y, kept) = io.outputs.split_at_mut(1);
        let mut m = match kept.first_mut() {
            Some(kept) => kept.reborrow(),
            None => ViewMut::dense(&mut scratch[..middle.elements()], middle),
        };
        let inputs = io.inputs[..second_weight].to_vec();
        let outputs = vec![m.reborrow()];
        run(&self.first, &mut Io { inputs, outputs, workspace: &mut *workspace })?;
        let m: View<'_, T> = m.view();
        let inputs = [&[Some(m)], &io.inputs[second_weight..]].concat();
        run(&self.second, &mut Io { inputs, outputs: vec![y[0].reborrow()], workspace })
    }
}

impl Op for ConvChain {
    fn name(&self) -> &'static str {
        "conv chain"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        if !Self::takes(&self.first) || !Self::takes(&self.second) || self.first.residual {
            let message =
                "takes convolutions of stride 1 that keep the map's size, and a residual on the second only";
            return Err(Error::shape(self.name(), inputs, message));
        }
        super::expect_inputs(self.name(), inputs, self.count())?;
        let (middle, y) = self.maps(inputs)?;
        Ok([y].into_iter().chain(self.keep_middle.then_some(middle)).collect())
    }

    fn cost(&self, inputs: &[Shape], outputs: &[Shape]) -> Cost {
        let Ok((middle, _)) = self.maps(inputs) else { return Cost::default() };
        let first = self.first.cost(&inputs[..self.second_weight()], &[middle]);
        let second = [&[middle], &inputs[self.second_weight()..]].concat();
        let second = self.second.cost(&second, &outputs[..1]);
        Cost {
            flops: first.flops + second.flops,
            darknet_flops: first.darknet_flops + second.darknet_flops,
            cio: first.cio + second.cio,
        }
    }

    fn makes_maps(&self) -> bool {
        true
    }

    fn in_place(&self) -> &[(usize, usize)] {
        // The residual's pixels are read as the output's are written. Where it is x itself the compiler keeps
        // the two apart, as it does with every other operand: x is read around each pixel.
        match self.residual() {
            Some(3) => &[(3, 0)],
            Some(4) => &[(4, 0)],
            Some(5) => &[(5, 0)],
            _ => &[],
        }
    }

    fn over_narrower(&self, input: usize, channels: usize) -> Option<Arc<dyn Op>> {
        let second = Conv { residual_in_place: Some(channels), ..self.second.clone() };
        (self.residual() == Some(input))
            .then(|| Arc::new(ConvChain { second, ..self.clone() }) as Arc<dyn Op>)
    }

    fn channels_in_place(&self, input: usize) -> Option<usize> {
        self.second.residual_in_place.filter(|_| self.residual() == Some(input))
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        let middle = self.middle_of(io);
        let mut scratch = vec![0.0; if self.keep_middle { 0 } else { middle.elements() }];
        self.each(io, middle, &mut scratch, &mut [], |conv, io| conv.reference(io))
    }

    fn cpu_workspace(&self, inputs: &[Shape], outputs: &[Shape], cpu: &Cpu) -> usize {
        let Ok((middle, _)) = self.maps(inputs) else { return 0 };
        let first = self.first.cpu_workspace(&inputs[..self.second_weight()], &[middle], cpu);
        let second = [&[middle], &inputs[self.second_weight()..]].concat();
        let second = self.second.cpu_workspace(&second, &outputs[..1], cpu);
        self.scratch(middle) + first.max(second)
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        let middle = self.middle_of(io);
        let (scratch, workspace) = std::mem::take(&mut io.workspace).split_at_mut(self.scratch(middle));
        self.each(io, middle, scratch, workspace, |conv, io| conv.cpu(io, cpu))
    }

    fn cuda(&self, operands: &Operands, target: &Target) -> Result<Vec<Launch>> {
        self.launches(operands, target)
    }
}

impl ConvChain {
    fn middle_of<T: Element>(&self, io: &Io<'_, T>) -> Shape {
        io.input(0).shape().with_c(io.input(1).shape().n)
    }

    /// Elements of the cpu's workspace that hold the middle map: whole cache lines.
    fn scratch(&self, middle: Shape) -> usize {
        if self.keep_middle { 0 } else { middle.elements().next_multiple_of(16) }
    }
}

#[cfg(test)]
mod tests;
