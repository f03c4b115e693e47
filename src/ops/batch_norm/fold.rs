//! A batch norm as something else: a scale and shift, or a part of the convolution before it.

use super::{cuda, expect_vectors};
use crate::ops::{Cost, Io, Op, expect_inputs};
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::{Element, Shape};
use crate::{Error, Result};

/// `[1, 1, 2, c]`: `scale = γ/√(var + ε)` and `shift = β − mean·scale`, from statistics, γ and β.
#[derive(Clone, Debug, PartialEq)]
pub struct NormAffine {
    /// ε.
    pub epsilon: f64,
}

impl NormAffine {
    fn run<T: Element>(&self, io: &mut Io<'_, T>) {
        let (statistics, gamma, beta) = (io.input(0), io.dense(1), io.dense(2));
        for c in 0..gamma.len() {
            let scale = gamma[c].to_f64() / (statistics.pixel(1)[c].to_f64() + self.epsilon).sqrt();
            io.outputs[0].pixel(0)[c] = T::from_f64(scale);
            io.outputs[0].pixel(1)[c] =
                T::from_f64(beta[c].to_f64() - statistics.pixel(0)[c].to_f64() * scale);
        }
    }
}

impl Op for NormAffine {
    fn name(&self) -> &'static str {
        "norm affine"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 3)?;
        expect_vectors(self.name(), inputs, inputs[1].c, inputs[0], &inputs[1..])?;
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(5.0 * inputs[1].c as f64)
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        self.run(io);
        Ok(())
    }

    fn cpu(&self, io: &mut Io<'_, f32>, _cpu: &Cpu) -> Result<()> {
        self.run(io);
        Ok(())
    }

    fn is_map(&self, _output: usize) -> bool {
        false
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        Ok(cuda::norm_affine(self.epsilon, operands))
    }
}

/// A convolution's weight and bias with the norm behind it folded in:
/// `w' = w·γ/√(var + ε)`, `b' = β − mean·γ/√(var + ε)`, in double precision.
///
/// Inputs: `weight [c_out, kh, kw, c_in / groups]`, `statistics [1, 1, 2, c_out]`, `γ`, `β [1, 1, 1, c_out]`.
/// Outputs: the folded weight and the bias `[1, 1, 1, c_out]`.
#[derive(Clone, Debug, PartialEq)]
pub struct FoldNorm {
    /// ε.
    pub epsilon: f64,
}

impl FoldNorm {
    fn run<T: Element>(&self, io: &mut Io<'_, T>) -> Result<()> {
        let (weight, statistics, gamma, beta) = (io.dense(0), io.input(1), io.dense(2), io.dense(3));
        let each = weight.len() / gamma.len().max(1);
        for c in 0..gamma.len() {
            let scale = gamma[c].to_f64() / (statistics.pixel(1)[c].to_f64() + self.epsilon).sqrt();
            let bias = beta[c].to_f64() - statistics.pixel(0)[c].to_f64() * scale;
            io.outputs[1].pixel(0)[c] = T::from_f64(bias);
            let Some(folded) = io.outputs[0].as_mut_slice() else {
                return Err(Error::internal("a weight is dense").in_op("fold norm"));
            };
            for (to, from) in folded[c * each..].iter_mut().zip(&weight[c * each..(c + 1) * each]) {
                *to = T::from_f64(from.to_f64() * scale);
            }
        }
        Ok(())
    }
}

impl Op for FoldNorm {
    fn name(&self) -> &'static str {
        "fold norm"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 4)?;
        expect_vectors(self.name(), inputs, inputs[0].n, inputs[1], &inputs[2..])?;
        Ok(vec![inputs[0], inputs[2]])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(inputs[0].elements() as f64)
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        self.run(io)
    }

    fn cpu(&self, io: &mut Io<'_, f32>, _cpu: &Cpu) -> Result<()> {
        self.run(io)
    }

    fn is_map(&self, _output: usize) -> bool {
        false
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        Ok(cuda::fold_norm(self.epsilon, operands))
    }
}
