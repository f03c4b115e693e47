//! Several 1×1 convolutions of one map, which is read once: the split of a cross-stage partial stage.

mod cases;
mod cuda;

pub use cases::cases;

use super::conv::{Conv, Geometry};
use super::{Cost, Io, Op};
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::runtime::{Activation, Cpu};
use crate::tensor::{Element, Shape};
use crate::{Error, Result};

/// `yᵢ = conv(x, wᵢ)` for each branch i: the branches differ in weights and widths, and in nothing else.
///
/// Inputs: `x [n, h, w, c_in]`, `(the prologue's scale and shift [1, 1, 2, c_in])`, then of each branch
/// `weight [c, 1, 1, c_in]`, `(bias [1, 1, 1, c])`. Outputs: of each branch `y [n, h, w, c]`, then, where the
/// convolution takes them, of each branch `statistics [1, 1, 2, c]`. Each output is a view of its own, so that
/// it can lie in the concat that will hold it.
///
/// The compiler makes it (`compile::fuse`): it has no gradient of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitConv {
    /// What every branch is: 1×1, stride 1, no padding, no groups, no residual.
    pub conv: Conv,
    /// How many there are: 2 to [`SplitConv::MOST`].
    pub branches: usize,
}

impl SplitConv {
    /// The most branches that one kernel takes.
    pub const MOST: usize = 4;

    /// Whether `conv` can be a branch.
    pub fn takes(conv: &Conv) -> bool {
        conv.geometry == Geometry::same(1, 1) && !conv.residual && conv.packed_channels.is_none()
    }

    /// Where the prologue's scale and shift stand among the inputs.
    fn affine(&self) -> Option<usize> {
        self.conv.prologue.map(|_| 1)
    }

    /// Where the weight of `branch` stands; its bias follows.
    fn weight(&self, branch: usize) -> usize {
        1 + usize::from(self.conv.prologue.is_some()) + branch * (1 + usize::from(self.conv.bias))
    }

    fn count(&self) -> usize {
        self.weight(self.branches)
    }

    /// The inputs of `branch` in the order of a [`Conv`]'s.
    fn inputs_of(&self, branch: usize) -> Vec<usize> {
        let weight = self.weight(branch);
        [0, weight].into_iter().chain(self.conv.bias.then_some(weight + 1)).chain(self.affine()).collect()
    }

    fn shapes_of(&self, branch: usize, shapes: &[Shape]) -> Vec<Shape> {
        self.inputs_of(branch).into_iter().map(|i| shapes[i]).collect()
    }

    /// Runs the branches as convolutions, one after the other.
    fn each_branch<T: Element>(
        &self,
        io: &mut Io<'_, T>,
        mut run: impl FnMut(&mut Io<'_, T>) -> Result<()>,
    ) -> Result<()> {
        for branch in 0..self.branches {
            let inputs = self.inputs_of(branch).into_iter().map(|i| io.inputs[i]).collect();
            let (maps, statistics) = io.outputs.split_at_mut(self.branches);
            let outputs = [maps.get_mut(branch), statistics.get_mut(branch)];
            let outputs = outputs.into_iter().flatten().map(|output| output.reborrow()).collect();
            run(&mut Io { inputs, outputs, workspace: &mut *io.workspace })?;
        }
        Ok(())
    }
}

impl Op for SplitConv {
    fn name(&self) -> &'static str {
        "split conv"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        if !(2..=Self::MOST).contains(&self.branches) || !Self::takes(&self.conv) {
            let message = format!("takes 2 to {} plain 1×1 convolutions", Self::MOST);
            return Err(Error::shape(self.name(), inputs, message));
        }
        super::expect_inputs(self.name(), inputs, self.count())?;
        let mut maps = Vec::new();
        let mut statistics = Vec::new();
        for branch in 0..self.branches {
            let shapes = self.conv.output_shapes(&self.shapes_of(branch, inputs))?;
            maps.extend(shapes.first());
            statistics.extend(shapes.get(1));
        }
        Ok([maps, statistics].concat())
    }

    fn cost(&self, inputs: &[Shape], outputs: &[Shape]) -> Cost {
        let mut cost = Cost::default();
        for branch in 0..self.branches {
            let one = self.conv.cost(&self.shapes_of(branch, inputs), &outputs[branch..=branch]);
            cost.flops += one.flops;
            cost.darknet_flops += one.darknet_flops;
            cost.cio += one.cio;
        }
        // The prologue runs once.
        let again = self.conv.prologue.map_or(0, |_| (self.branches - 1) * inputs[0].elements());
        Cost { flops: cost.flops - 2.0 * again as f64, ..cost }
    }

    fn is_map(&self, output: usize) -> bool {
        output < self.branches
    }

    fn makes_maps(&self) -> bool {
        true
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        self.each_branch(io, |io| self.conv.reference(io))
    }

    fn cpu_workspace(&self, inputs: &[Shape], outputs: &[Shape], cpu: &Cpu) -> usize {
        let of = |branch: usize| {
            self.conv.cpu_workspace(&self.shapes_of(branch, inputs), &outputs[branch..=branch], cpu)
        };
        (0..self.branches).map(of).max().unwrap_or(0)
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        self.each_branch(io, |io| self.conv.cpu(io, cpu))
    }

    fn cuda_workspace(&self, inputs: &[Shape], outputs: &[Shape], target: &Target) -> usize {
        self.device_workspace(inputs[0], &outputs[..self.branches], target)
    }

    fn cuda(&self, operands: &Operands, target: &Target) -> Result<Vec<Launch>> {
        self.launches(operands, target)
    }
}

/// A branch with a bias and an activation, as inference has it.
pub(super) fn inference(activation: Activation) -> Conv {
    Conv { activation, ..Conv::plain(Geometry::same(1, 1), true) }
}

#[cfg(test)]
mod tests;
