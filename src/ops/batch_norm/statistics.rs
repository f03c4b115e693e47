//! Mean and variance over a batch, and their running averages.

use super::{cuda, expect_vectors};
use crate::Result;
use crate::ops::{Cost, Io, Op, expect_inputs};
use crate::ops::{Gradient, Tape, Value, reduce};
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::{Element, Shape, View, ViewMut};

/// `z [n, h, w, c]` → `[1, 1, 2, c]`: the mean and the biased variance of each channel over all pixels.
///
/// It hands no gradient back: that of [`super::Normalize`] with batch statistics has it included.
#[derive(Clone, Debug)]
pub struct BatchStatistics;

/// Writes mean and biased variance of `z` into `statistics [1, 1, 2, c]`, in two passes.
pub(in crate::ops) fn statistics_reference(z: View<'_, f64>, statistics: &mut ViewMut<'_, f64>) {
    let pixels = z.shape().pixels();
    for c in 0..z.shape().c {
        let mean = (0..pixels).map(|i| z.pixel(i)[c]).sum::<f64>() / pixels as f64;
        let variance = (0..pixels).map(|i| (z.pixel(i)[c] - mean).powi(2)).sum::<f64>() / pixels as f64;
        statistics.pixel(0)[c] = mean;
        statistics.pixel(1)[c] = variance;
    }
}

impl Op for BatchStatistics {
    fn name(&self) -> &'static str {
        "batch statistics"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 1)?;
        Ok(vec![Shape::new(1, 1, 2, inputs[0].c)])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(3.0 * inputs[0].elements() as f64)
    }

    fn gradient(
        &self,
        _tape: &mut dyn Tape,
        _inputs: &[Value],
        _outputs: &[Value],
        _output_gradients: &[Option<Value>],
    ) -> Result<Vec<Gradient>> {
        Ok(vec![Gradient::None])
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        let z = io.input(0);
        statistics_reference(z, &mut io.outputs[0]);
        Ok(())
    }

    fn cpu_workspace(&self, inputs: &[Shape], _outputs: &[Shape], _cpu: &Cpu) -> usize {
        reduce::workspace(inputs[0], 2)
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        let z = io.input(0);
        let shape = z.shape();
        // About each channel's first value: a sum of squares about a value near the mean cancels little.
        let pivot = z.pixel(0);
        let sums = reduce::channels(cpu, shape, 2, io.workspace, |pixels, partial| {
            let (sum, square) = partial.split_at_mut(shape.c);
            for i in pixels {
                for ((z, pivot), (sum, square)) in
                    z.pixel(i).iter().zip(pivot).zip(sum.iter_mut().zip(&mut *square))
                {
                    let d = z - pivot;
                    *sum += d;
                    *square += d * d;
                }
            }
        });
        let count = shape.pixels() as f64;
        for (c, pivot) in pivot.iter().enumerate() {
            let mean = sums.of(0, c) / count;
            io.outputs[0].pixel(0)[c] = (f64::from(*pivot) + mean) as f32;
            io.outputs[0].pixel(1)[c] = (sums.of(1, c) / count - mean * mean).max(0.0) as f32;
        }
        Ok(())
    }

    fn is_map(&self, _output: usize) -> bool {
        false
    }

    fn cuda_workspace(&self, inputs: &[Shape], _outputs: &[Shape], _target: &Target) -> usize {
        cuda::statistics_workspace(inputs[0])
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        Ok(cuda::statistics(operands))
    }
}

/// `running' = (1 − momentum)·running + momentum·statistics`, both `[1, 1, 2, c]`; the variance that
/// enters is the unbiased one, m/(m − 1) of the biased, as in PyTorch. Inputs: statistics, running.
#[derive(Clone, Debug)]
pub struct UpdateRunning {
    /// The share of the new statistics.
    pub momentum: f64,
    /// Pixels that the statistics were taken over, m.
    pub count: usize,
}

impl UpdateRunning {
    /// What makes a biased variance unbiased.
    pub(super) fn unbiased(&self) -> f64 {
        self.count as f64 / (self.count.max(2) - 1) as f64
    }

    fn run<T: Element>(&self, io: &mut Io<'_, T>) {
        io.settle(1, 0);
        let statistics = io.input(0);
        for (row, factor) in [(0, 1.0), (1, self.unbiased())] {
            for (r, s) in io.outputs[0].pixel(row).iter_mut().zip(statistics.pixel(row)) {
                *r = T::from_f64((1.0 - self.momentum) * r.to_f64() + self.momentum * factor * s.to_f64());
            }
        }
    }
}

impl Op for UpdateRunning {
    fn name(&self) -> &'static str {
        "update running statistics"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 2)?;
        expect_vectors(self.name(), inputs, inputs[0].c, inputs[0], &[])?;
        expect_vectors(self.name(), inputs, inputs[0].c, inputs[1], &[])?;
        Ok(vec![inputs[1]])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(3.0 * inputs[0].elements() as f64)
    }

    fn gradient(
        &self,
        _tape: &mut dyn Tape,
        _inputs: &[Value],
        _outputs: &[Value],
        _output_gradients: &[Option<Value>],
    ) -> Result<Vec<Gradient>> {
        Ok(vec![Gradient::None; 2])
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(1, 0)]
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
        Ok(cuda::update_running(self, operands))
    }
}
