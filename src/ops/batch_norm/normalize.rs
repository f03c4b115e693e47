//! The normalised and activated map.

use super::{NormalizeGradient, cuda, expect_vectors};
use crate::ops::{Cost, Gradient, Io, Op, Tape, Value, expect_inputs};
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::runtime::vector::{Lanes, Task, dispatch};
use crate::runtime::{Activation, Cpu};
use crate::tensor::{Shape, View, ViewMut};
use crate::{Error, Result};

/// `y = act((z − mean)·γ/√(var + ε) + β) (+ m ⊙ residual)`.
///
/// Inputs: `z [n, h, w, c]`, `statistics [1, 1, 2, c]` (mean, variance), `γ`, `β [1, 1, 1, c]`, and
/// where `residual` is set a map `[n, h, w, c' ≤ c]` that is added to the first c' channels (PRN's
/// masked residual). Output: `y [n, h, w, c]`, over z where it is free.
///
/// Gradient, with `g = dy·act'`, `ẑ = (z − mean)/√(var + ε)` and m pixels: `dβ = Σ g`, `dγ = Σ g·ẑ`,
/// `dz = γ/√(var + ε)·(g − dβ/m − ẑ·dγ/m)` with batch statistics, `γ/√(var + ε)·g` with running ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalize {
    /// ε.
    pub epsilon: f64,
    /// The activation.
    pub activation: Activation,
    /// Whether the statistics are the batch's own, so that the gradient flows through them.
    pub batch: bool,
    /// Whether a residual is added after the activation.
    pub residual: bool,
}

/// Scale and shift of a norm, `scale = γ/√(var + ε)`, `shift = β − mean·scale`, into two rows of `c`.
pub(super) fn affine(
    epsilon: f64,
    statistics: View<'_, f32>,
    gamma: &[f32],
    beta: &[f32],
    rows: (&mut [f32], &mut [f32]),
) {
    let (mean, variance) = (statistics.pixel(0), statistics.pixel(1));
    for c in 0..gamma.len() {
        let scale = f64::from(gamma[c]) / (f64::from(variance[c]) + epsilon).sqrt();
        rows.0[c] = scale as f32;
        rows.1[c] = (f64::from(beta[c]) - f64::from(mean[c]) * scale) as f32;
    }
}

impl Op for Normalize {
    fn name(&self) -> &'static str {
        "normalize"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 4 + usize::from(self.residual))?;
        let z = inputs[0];
        expect_vectors(self.name(), inputs, z.c, inputs[1], &inputs[2..4])?;
        if self.residual && inputs[4] != z.with_c(inputs[4].c.min(z.c)) {
            return Err(Error::shape(self.name(), inputs, "the residual must fit z's first channels"));
        }
        Ok(vec![z])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        let residual = if self.residual { inputs[4].elements() } else { 0 };
        Cost { flops: (2 * inputs[0].elements() + residual) as f64, darknet_flops: residual as f64, cio: 0.0 }
    }

    fn gradient(
        &self,
        tape: &mut dyn Tape,
        inputs: &[Value],
        _outputs: &[Value],
        output_gradients: &[Option<Value>],
    ) -> Result<Vec<Gradient>> {
        if self.residual {
            return Err(Error::internal("a backward is written before anything is fused").in_op(self.name()));
        }
        let Some(dy) = output_gradients[0] else { return Ok(vec![Gradient::None; 4]) };
        let op = NormalizeGradient { epsilon: self.epsilon, activation: self.activation, batch: self.batch };
        let operands = [dy, inputs[0], inputs[1], inputs[2], inputs[3]];
        let outputs = tape.add_node(Box::new(op), &operands)?;
        Ok(vec![
            Gradient::Whole(outputs[0]),
            Gradient::None,
            Gradient::Whole(outputs[1]),
            Gradient::Whole(outputs[2]),
        ])
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0)]
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        io.settle(0, 0);
        let (statistics, gamma, beta) = (io.input(1), io.dense(2), io.dense(3));
        let residual = self.residual.then(|| io.input(4));
        for i in 0..io.outputs[0].shape().pixels() {
            for (c, y) in io.outputs[0].pixel(i).iter_mut().enumerate() {
                let (mean, variance) = (statistics.pixel(0)[c], statistics.pixel(1)[c]);
                let x = (*y - mean) / (variance + self.epsilon).sqrt() * gamma[c] + beta[c];
                *y = self.activation.apply(x)
                    + residual.and_then(|r| r.pixel(i).get(c).copied()).unwrap_or(0.0);
            }
        }
        Ok(())
    }

    fn cpu_workspace(&self, inputs: &[Shape], _outputs: &[Shape], _cpu: &Cpu) -> usize {
        2 * inputs[0].c
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        let (statistics, gamma, beta) = (io.input(1), io.dense(2), io.dense(3));
        let residual = self.residual.then(|| io.input(4));
        let rows = std::mem::take(&mut io.workspace);
        let (scale, shift) = rows[..2 * gamma.len()].split_at_mut(gamma.len());
        affine(self.epsilon, statistics, gamma, beta, (scale, shift));
        let (scale, shift) = (&*scale, &*shift);
        let activation = self.activation;
        let chunk_size = super::super::pixels_per_chunk(io.outputs[0].shape());
        let source = io.inputs[0];
        let output = io.outputs[0].reborrow();
        let chunks: Vec<_> = output.chunks(chunk_size).into_iter().enumerate().collect();
        cpu.for_each(chunks, |(index, chunk)| {
            let first = index * chunk_size;
            dispatch(cpu, Apply { chunk, first, source, residual, scale, shift, activation });
        });
        Ok(())
    }

    fn cuda(&self, operands: &Operands, target: &Target) -> Result<Vec<Launch>> {
        Ok(cuda::normalize(self, operands, target))
    }
}

/// One chunk of [`Normalize`]; `source` is `None` where z lies in the chunk already.
struct Apply<'a> {
    chunk: ViewMut<'a, f32>,
    first: usize,
    source: Option<View<'a, f32>>,
    residual: Option<View<'a, f32>>,
    scale: &'a [f32],
    shift: &'a [f32],
    activation: Activation,
}

impl Task for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        for i in 0..self.chunk.shape().pixels() {
            let y = self.chunk.pixel(i);
            let length = y.len();
            let z = self.source.map_or(y.as_ptr(), |s| s.pixel(self.first + i).as_ptr());
            let mut c = 0;
            while c < length {
                let count = L::LANES.min(length - c);
                // SAFETY: c + count ≤ channels of z, y, scale and shift, which all have `length`.
                unsafe {
                    let scale = l.load_first(self.scale.as_ptr().add(c), count);
                    let shift = l.load_first(self.shift.as_ptr().add(c), count);
                    let z = l.load_first(z.add(c), count);
                    let v = self.activation.apply_lanes(l, l.fma(z, scale, shift));
                    l.store_first(y.as_mut_ptr().add(c), count, v);
                }
                c += count;
            }
            if let Some(residual) = self.residual {
                y.iter_mut().zip(residual.pixel(self.first + i)).for_each(|(y, r)| *y += r);
            }
        }
    }
}
