//! 2-D convolution: forward, input gradient, weight gradient, each with what is fused into it.
//!
//! Prologue and epilogue are data. A *prologue* is what is still pending on the input, a per-channel
//! scale and shift and an activation (a batch norm that was not written out): it is applied where the
//! input is read. An *epilogue* is what happens to a sum before it is written: bias, activation,
//! masked residual, batch statistics.

pub mod cases;
pub mod cpu;
pub mod cuda;
mod geometry;
mod input_gradient;
mod pack_weight;
mod reference;
mod weight_gradient;

pub use geometry::Geometry;
pub use input_gradient::ConvInputGradient;
pub use pack_weight::PackWeight;
pub use weight_gradient::ConvWeightGradient;

use std::sync::Arc;

use super::{Cost, Gradient, Io, Op, Tape, Value, channel_sum, expect_inputs};
use crate::runtime::cuda::{Launch, Operands as DeviceOperands, Target};
use crate::runtime::{Activation, Cpu};
use crate::tensor::Shape;
use crate::{Error, Result};

/// `y = act(conv(prologue(x), w) + bias) + m ⊙ residual`, NHWC, cross-correlation.
///
/// Inputs, in order; those in brackets where the attribute says so:
/// `x [n, h, w, c_in]`, `weight [c_out, kernel_h, kernel_w, c_in / groups]`, `(bias [1, 1, 1, c_out])`,
/// `(prologue's scale and shift [1, 1, 2, c_in])`, `(residual [n, h', w', c ≤ c_out])`.
///
/// Outputs: `y [n, h', w', c_out]`, `(statistics [1, 1, 2, c_out]: mean and biased variance of the sum)`.
///
/// Gradient (of the plain op; what is fused, is fused after the backward is written):
/// `dx = convᵀ(dy, w)`, `dw = Σ x ⊗ dy` over pixels, `db = Σ dy`.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Kernel, stride, padding, dilation, groups.
    pub geometry: Geometry,
    /// Whether a bias is added.
    pub bias: bool,
    /// The activation that is pending on the input, behind a scale and shift; padding stays zero.
    pub prologue: Option<Activation>,
    /// The activation of the sum.
    pub activation: Activation,
    /// Whether a residual is added to the first channels, after the activation.
    pub residual: bool,
    /// The channels of a residual that lies in the output and has fewer; `None`: it has as many.
    pub residual_in_place: Option<usize>,
    /// Whether the batch statistics of the sum (before activation and residual) are a second output.
    pub statistics: bool,
    /// The output channels, where the weight is one that [`PackWeight`] made for the cpu device.
    pub packed_channels: Option<usize>,
}

impl Conv {
    /// A convolution with nothing fused into it.
    pub fn plain(geometry: Geometry, bias: bool) -> Self {
        let (prologue, activation) = (None, Activation::Linear);
        Conv {
            geometry,
            bias,
            prologue,
            activation,
            residual: false,
            residual_in_place: None,
            statistics: false,
            packed_channels: None,
        }
    }

    /// Where bias, prologue and residual stand among the inputs, and how many inputs there are.
    pub fn operands(&self) -> Operands {
        let mut count = 2;
        let mut next = |present: bool| {
            present.then(|| {
                count += 1;
                count - 1
            })
        };
        let (bias, prologue, residual) =
            (next(self.bias), next(self.prologue.is_some()), next(self.residual));
        Operands { bias, prologue, residual, count }
    }
}

/// The positions of a [`Conv`]'s optional inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operands {
    /// The bias.
    pub bias: Option<usize>,
    /// The prologue's scale and shift.
    pub prologue: Option<usize>,
    /// The residual.
    pub residual: Option<usize>,
    /// How many inputs there are.
    pub count: usize,
}

/// Traces a convolution of `x` with `weight`, and `bias` where there is one.
///
/// # Errors
/// Where the shapes do not fit.
pub fn trace(
    tape: &mut dyn Tape,
    x: Value,
    weight: Value,
    bias: Option<Value>,
    geometry: Geometry,
) -> Result<Value> {
    let inputs: Vec<Value> = [x, weight].into_iter().chain(bias).collect();
    tape.apply(Box::new(Conv::plain(geometry, bias.is_some())), &inputs)
}

/// Checks that a weight fits an input and returns the output's shape.
fn output_shape(op: &str, geometry: &Geometry, shapes: &[Shape], x: Shape, weight: Shape) -> Result<Shape> {
    let groups = geometry.groups;
    if groups == 0 || !x.c.is_multiple_of(groups) || !weight.n.is_multiple_of(groups) {
        let message = format!("{} and {} channels do not divide into {groups} groups", x.c, weight.n);
        return Err(Error::shape(op, shapes, message));
    }
    let expected = geometry.weight(x.c, weight.n);
    if weight != expected || weight.elements() == 0 {
        return Err(Error::shape(op, shapes, format!("the weight must be {expected}")));
    }
    let (h, w) = geometry.output(x.h, x.w).map_err(|e| e.in_op(op))?;
    Ok(Shape::new(x.n, h, w, weight.n))
}

/// A prologue from its activation and the input that holds scale and shift.
fn prologue<'a>(io: &Io<'a, f32>, prologue: Option<(Activation, usize)>) -> Option<cpu::Prologue<'a>> {
    prologue.map(|(activation, index)| {
        let affine = io.input(index);
        cpu::Prologue { scale: affine.pixel(0), shift: affine.pixel(1), activation }
    })
}

/// FLOPs of one direction of a convolution: 2 · taps · c_in / groups · c_out a pixel of the output.
fn flops(weight: Shape, output: Shape) -> f64 {
    2.0 * weight.elements() as f64 * (output.n * output.h * output.w) as f64
}

impl Op for Conv {
    fn name(&self) -> &'static str {
        "conv"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let operands = self.operands();
        expect_inputs(self.name(), inputs, operands.count)?;
        let y = match self.packed_channels {
            None => output_shape(self.name(), &self.geometry, inputs, inputs[0], inputs[1])?,
            Some(c_out) => {
                let weight = self.geometry.weight(inputs[0].c, c_out);
                output_shape(self.name(), &self.geometry, inputs, inputs[0], weight)?
            }
        };
        let fits = |index: Option<usize>, fit: &dyn Fn(Shape) -> bool| index.is_none_or(|i| fit(inputs[i]));
        if !fits(operands.bias, &|s| s == Shape::vector(y.c)) {
            return Err(Error::shape(
                self.name(),
                inputs,
                "the bias must have one element an output channel",
            ));
        }
        if !fits(operands.prologue, &|s| s == Shape::new(1, 1, 2, inputs[0].c)) {
            return Err(Error::shape(self.name(), inputs, "the prologue must be [1, 1, 2, c_in]"));
        }
        if !fits(operands.residual, &|s| s == y.with_c(s.c.min(y.c))) {
            return Err(Error::shape(
                self.name(),
                inputs,
                "the residual must fit the output's first channels",
            ));
        }
        let statistics = self.statistics.then_some(Shape::new(1, 1, 2, y.c));
        Ok([y].into_iter().chain(statistics).collect())
    }

    fn cost(&self, inputs: &[Shape], outputs: &[Shape]) -> Cost {
        let (x, y) = (inputs[0], outputs[0]);
        let conv = flops(self.geometry.weight(x.c, y.c), y);
        let per =
            |present: bool, elements: usize, flops: f64| if present { elements as f64 * flops } else { 0.0 };
        let residual = self.operands().residual.map_or(0, |i| inputs[i].elements());
        let fused = per(self.bias, y.elements(), 1.0)
            + per(self.prologue.is_some(), x.elements(), 2.0)
            + per(true, residual, 1.0)
            + per(self.statistics, y.elements(), 3.0);
        // Darknet counts a shortcut by its output, at batch 1 as everything.
        let shortcut = if residual > 0 { y.elements() as f64 } else { 0.0 };
        let cio = (x.elements() + y.elements()) as f64;
        Cost { flops: conv + fused, darknet_flops: conv + shortcut, cio }
    }

    fn gradient(
        &self,
        tape: &mut dyn Tape,
        inputs: &[Value],
        _outputs: &[Value],
        output_gradients: &[Option<Value>],
    ) -> Result<Vec<Gradient>> {
        if self != &Conv::plain(self.geometry, self.bias) {
            return Err(Error::internal("a backward is written before anything is fused").in_op(self.name()));
        }
        let Some(dy) = output_gradients[0] else { return Ok(vec![Gradient::None; inputs.len()]) };
        let (x, weight) = (inputs[0], inputs[1]);
        // The weight's gradient first: it is the last reader of x, whose memory dx can then have.
        let dw = ConvWeightGradient { geometry: self.geometry, weight: tape.shape(weight), prologue: None };
        let dw = tape.apply(Box::new(dw), &[x, dy])?;
        let dx = ConvInputGradient { geometry: self.geometry, input: tape.shape(x), accumulate: false };
        let dx = tape.apply(Box::new(dx), &[dy, weight])?;
        let mut gradients = vec![Gradient::Whole(dx), Gradient::Whole(dw)];
        if self.bias {
            gradients.push(Gradient::Whole(channel_sum::trace(tape, dy)?));
        }
        Ok(gradients)
    }

    fn is_map(&self, output: usize) -> bool {
        output == 0
    }

    fn makes_maps(&self) -> bool {
        true
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        if self.packed_channels.is_some() {
            return Err(Error::internal("a packed weight is the cpu device's alone").in_op(self.name()));
        }
        reference::forward(self, io);
        Ok(())
    }

    fn in_place(&self) -> &[(usize, usize)] {
        // The residual is the last input: its pixels are read as the output's are written.
        match self.operands().residual {
            Some(2) => &[(2, 0)],
            Some(3) => &[(3, 0)],
            Some(4) => &[(4, 0)],
            _ => &[],
        }
    }

    fn over_narrower(&self, input: usize, channels: usize) -> Option<Arc<dyn Op>> {
        let is_residual = self.operands().residual == Some(input);
        is_residual
            .then(|| Arc::new(Conv { residual_in_place: Some(channels), ..self.clone() }) as Arc<dyn Op>)
    }

    fn channels_in_place(&self, input: usize) -> Option<usize> {
        self.residual_in_place.filter(|_| self.operands().residual == Some(input))
    }

    fn cpu_workspace(&self, inputs: &[Shape], outputs: &[Shape], cpu: &Cpu) -> usize {
        match self.packed_channels {
            Some(_) => cpu::forward_packed_workspace(cpu, &self.geometry, inputs[0], outputs[0]),
            None => cpu::forward_workspace(cpu, &self.geometry, inputs[0], outputs[0]),
        }
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        let operands = self.operands();
        let x = io.input(0);
        let prologue = prologue(io, self.prologue.zip(operands.prologue));
        let residual = operands.residual.map(|index| {
            let source = io.inputs[index].map_or(cpu::ResidualSource::InPlace, cpu::ResidualSource::View);
            let whole = self.residual_in_place.unwrap_or(io.outputs[0].shape().c);
            let channels = io.inputs[index].map_or(whole, |view| view.shape().c);
            cpu::Residual { source, channels, before_activation: false }
        });
        let (bias, weight) = (operands.bias.map(|i| io.dense(i)), io.dense(1));
        let (y, statistics) = io.outputs.split_at_mut(1);
        let stats = statistics.first_mut().and_then(|s| s.as_mut_slice());
        let epilogue = cpu::Epilogue { bias, activation: self.activation, residual, stats };
        let (y, workspace) = (y[0].reborrow(), &mut *io.workspace);
        match self.packed_channels {
            Some(_) => cpu::forward_packed(cpu, &self.geometry, x, weight, prologue, epilogue, y, workspace),
            None => cpu::forward(cpu, &self.geometry, x, weight, prologue, epilogue, y, workspace),
        }
        Ok(())
    }

    fn cuda_workspace(&self, inputs: &[Shape], outputs: &[Shape], target: &Target) -> usize {
        self.device_workspace(inputs[0], outputs[0], target)
    }

    fn cuda(&self, operands: &DeviceOperands, target: &Target) -> Result<Vec<Launch>> {
        self.launches(operands, target)
    }
}

#[cfg(test)]
mod tests;
