//! The backward of a batch norm and the activation behind it.

use std::ops::Range;

use super::normalize::affine;
use super::{cuda, expect_vectors};
use crate::ops::{Accesses, Cost, Io, Kernels, Op, Usage, expect_inputs, pixels_per_chunk, reduce};
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::runtime::vector::{Lanes, Task, dispatch};
use crate::runtime::{Activation, Cpu};
use crate::tensor::{Shape, View, ViewMut};
use crate::{Error, Result};

/// The gradients of [`super::Normalize`] (equations there), in two passes over dy and z: sums, then dz.
///
/// Inputs: `dy`, `z [n, h, w, c]`, `statistics [1, 1, 2, c]`, `γ`, `β [1, 1, 1, c]`.
/// Outputs: `dz [n, h, w, c]` (over dy where it is free), `dγ`, `dβ [1, 1, 1, c]`.
#[derive(Clone, Debug, PartialEq)]
pub struct NormalizeGradient {
    /// ε.
    pub epsilon: f64,
    /// The activation.
    pub activation: Activation,
    /// Whether the gradient flows through the statistics.
    pub batch: bool,
}

impl Op for NormalizeGradient {
    fn name(&self) -> &'static str {
        "normalize gradient"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 5)?;
        if inputs[0] != inputs[1] {
            return Err(Error::shape(self.name(), inputs, "dy and z must have the same shape"));
        }
        expect_vectors(self.name(), inputs, inputs[1].c, inputs[2], &inputs[3..])?;
        Ok(vec![inputs[1], inputs[3], inputs[4]])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(12.0 * inputs[0].elements() as f64)
    }

    fn accesses(&self, usage: &Usage<'_>) -> Accesses {
        let mut accesses = Accesses::once(usage);
        let map = usage.inputs[1].elements();
        match usage.kernels {
            // Two passes over all, and the vectors in both; without the statistics in the way, one writes dz.
            Kernels::Cuda => {
                let maps = if self.batch { 2 } else { 1 };
                accesses.read.iter_mut().take(2).for_each(|read| *read *= maps);
                accesses.read.iter_mut().skip(2).for_each(|read| *read *= 2);
                accesses
            }
            // Two passes; where act' costs more than memory does, the first leaves g in dz, and the second reads it
            // in place of dy. Vectors stay in the cache.
            Kernels::Cpu | Kernels::Reference => {
                let keep = usage.kernels == Kernels::Reference || self.activation.is_costly();
                let accesses = accesses.reading(0, 2 * map).reading(1, 2 * map);
                if keep { accesses.writing(0, 2 * map) } else { accesses }
            }
        }
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0)]
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        io.settle(0, 0);
        let (z, statistics, gamma, beta) = (io.input(1), io.input(2), io.dense(3), io.dense(4));
        let pixels = z.shape().pixels();
        for c in 0..z.shape().c {
            let inverse = 1.0 / (statistics.pixel(1)[c] + self.epsilon).sqrt();
            let normal = |i: usize| (z.pixel(i)[c] - statistics.pixel(0)[c]) * inverse;
            let (mut sum, mut dot) = (0.0, 0.0);
            for i in 0..pixels {
                let x = normal(i) * gamma[c] + beta[c];
                let g = io.outputs[0].pixel(i)[c] * self.activation.derivative(x);
                io.outputs[0].pixel(i)[c] = g;
                sum += g;
                dot += g * normal(i);
            }
            io.outputs[1].pixel(0)[c] = dot;
            io.outputs[2].pixel(0)[c] = sum;
            let m = pixels as f64;
            for i in 0..pixels {
                let g = &mut io.outputs[0].pixel(i)[c];
                let through = if self.batch { sum / m + normal(i) * dot / m } else { 0.0 };
                *g = gamma[c] * inverse * (*g - through);
            }
        }
        Ok(())
    }

    fn cpu_workspace(&self, inputs: &[Shape], _outputs: &[Shape], _cpu: &Cpu) -> usize {
        4 * inputs[0].c + reduce::workspace(inputs[0], 2)
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        let (z, statistics, gamma, beta) = (io.input(1), io.input(2), io.dense(3), io.dense(4));
        let shape = z.shape();
        let c = shape.c;
        let [dz, dgamma, dbeta] = &mut io.outputs[..] else {
            return Err(Error::internal("three outputs").in_op("normalize gradient"));
        };
        let (vectors, partials) = std::mem::take(&mut io.workspace).split_at_mut(4 * c);
        let mut rows = vectors.chunks_mut(c.max(1));
        let mut row = || rows.next().unwrap_or(&mut []);
        let (scale, shift, slope, base) = (row(), row(), row(), row());
        affine(self.epsilon, statistics, gamma, beta, (&mut *scale, &mut *shift));
        let (scale, shift, mean) = (&*scale, &*shift, statistics.pixel(0));
        let (mut source, mut activation) = (io.inputs[0], self.activation);
        {
            // A derivative that costs more than memory does is computed once: g waits in dz.
            let keep = activation.is_costly();
            let runs = dz.reborrow().chunks(reduce::run_pixels(shape));
            let sums = reduce::channels_with(cpu, shape, 2, partials, runs, |pixels, run, partial| {
                let dy = source;
                dispatch(cpu, Sums { pixels, partial, run, keep, dy, z, scale, shift, mean, activation });
            });
            for i in 0..c {
                let inverse = 1.0 / (f64::from(statistics.pixel(1)[i]) + self.epsilon).sqrt();
                let (sum, dot) = (sums.of(0, i), sums.of(1, i) * inverse);
                dgamma.pixel(0)[i] = dot as f32;
                dbeta.pixel(0)[i] = sum as f32;
                // dz = scale·g − (base + slope·z)
                let m = if self.batch { shape.pixels() as f64 } else { f64::INFINITY };
                let through = f64::from(scale[i]) / m;
                slope[i] = (through * dot * inverse) as f32;
                base[i] = (through * (sum - dot * inverse * f64::from(mean[i]))) as f32;
            }
        }
        if activation.is_costly() {
            (source, activation) = (None, Activation::Linear);
        }
        let (base, slope) = (&*base, &*slope);
        let step = pixels_per_chunk(shape);
        // From the end: what the sums have read last is still in the cache.
        let chunks: Vec<_> = dz.reborrow().chunks(step).into_iter().enumerate().rev().collect();
        cpu.for_each(chunks, |(index, chunk)| {
            let first = index * step;
            dispatch(cpu, Apply { chunk, first, dy: source, z, scale, shift, base, slope, activation });
        });
        Ok(())
    }

    fn is_map(&self, output: usize) -> bool {
        output == 0
    }

    fn cuda_workspace(&self, inputs: &[Shape], _outputs: &[Shape], _target: &Target) -> usize {
        cuda::normalize_gradient_workspace(inputs[0])
    }

    fn cuda(&self, operands: &Operands, target: &Target) -> Result<Vec<Launch>> {
        Ok(cuda::normalize_gradient(self, operands, target))
    }
}

/// `Σ g` and `Σ g·(z − mean)` over a run of pixels, into the two rows of `partial`. `run` has the
/// same pixels of dz: dy lies there where it is `None`, and g is left there where `keep` is set.
struct Sums<'a> {
    pixels: Range<usize>,
    partial: &'a mut [f32],
    run: ViewMut<'a, f32>,
    keep: bool,
    dy: Option<View<'a, f32>>,
    z: View<'a, f32>,
    scale: &'a [f32],
    shift: &'a [f32],
    mean: &'a [f32],
    activation: Activation,
}

impl Task for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        let (channels, mut c) = (self.scale.len(), 0);
        // As many channels at a time as registers hold, so that a pixel's are read in one go.
        if L::REGISTERS >= 32 {
            while c + 4 * L::LANES <= channels {
                self.columns::<L, 4>(l, c, L::LANES);
                c += 4 * L::LANES;
            }
        }
        while c + 2 * L::LANES <= channels {
            self.columns::<L, 2>(l, c, L::LANES);
            c += 2 * L::LANES;
        }
        while c < channels {
            let count = L::LANES.min(channels - c);
            self.columns::<L, 1>(l, c, count);
            c += count;
        }
    }
}

impl Sums<'_> {
    /// Sums `B` vectors of channels from `c`, `count` channels in each.
    #[inline(always)]
    fn columns<L: Lanes, const B: usize>(&mut self, l: L, c: usize, count: usize) {
        let channels = self.scale.len();
        assert!(c + (B - 1) * L::LANES + count <= channels && count <= L::LANES);
        // SAFETY: at most `count` channels from `c + b·LANES` are read or written, which every vector,
        // row and pixel has (asserted above).
        unsafe {
            let load = |from: *const f32, b: usize| {
                let at = from.add(c + b * L::LANES);
                if count == L::LANES { l.load(at) } else { l.load_first(at, count) }
            };
            let row = |row: &[f32]| std::array::from_fn::<_, B, _>(|b| load(row.as_ptr(), b));
            let (scale, shift, mean) = (row(self.scale), row(self.shift), row(self.mean));
            let (mut sum, mut dot) = ([l.splat(0.0); B], [l.splat(0.0); B]);
            for (at, i) in self.pixels.clone().enumerate() {
                let (z, own) = (self.z.pixel(i).as_ptr(), self.run.pixel(at).as_mut_ptr());
                let dy = self.dy.map_or(own.cast_const(), |dy| dy.pixel(i).as_ptr());
                for b in 0..B {
                    let z = load(z, b);
                    let slope = self.activation.derivative_lanes(l, l.fma(z, scale[b], shift[b]));
                    let g = l.mul(load(dy, b), slope);
                    sum[b] = l.add(sum[b], g);
                    dot[b] = l.fma(g, l.sub(z, mean[b]), dot[b]);
                    if self.keep {
                        l.store_first(own.add(c + b * L::LANES), count, g);
                    }
                }
            }
            for b in 0..B {
                let at = self.partial.as_mut_ptr().add(c + b * L::LANES);
                l.store_first(at, count, sum[b]);
                l.store_first(at.add(channels), count, dot[b]);
            }
        }
    }
}

/// `dz = scale·dy·act' − (base + slope·z)` for a chunk; `dy` is `None` where it lies there already.
struct Apply<'a> {
    chunk: ViewMut<'a, f32>,
    first: usize,
    dy: Option<View<'a, f32>>,
    z: View<'a, f32>,
    scale: &'a [f32],
    shift: &'a [f32],
    base: &'a [f32],
    slope: &'a [f32],
    activation: Activation,
}

impl Task for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        let channels = self.scale.len();
        for i in 0..self.chunk.shape().pixels() {
            let dz = self.chunk.pixel(i).as_mut_ptr();
            let dy = self.dy.map_or(dz.cast_const(), |v| v.pixel(self.first + i).as_ptr());
            let z = self.z.pixel(self.first + i).as_ptr();
            let mut c = 0;
            while c < channels {
                let count = L::LANES.min(channels - c);
                // SAFETY: c + count ≤ channels, the length of every vector and pixel.
                unsafe {
                    let load = |from: *const f32| match count == L::LANES {
                        true => l.load(from.add(c)),
                        false => l.load_first(from.add(c), count),
                    };
                    let (scale, shift) = (load(self.scale.as_ptr()), load(self.shift.as_ptr()));
                    let z = load(z);
                    let slope = self.activation.derivative_lanes(l, l.fma(z, scale, shift));
                    let g = l.mul(load(dy), slope);
                    let through = l.fma(z, load(self.slope.as_ptr()), load(self.base.as_ptr()));
                    let result = l.sub(l.mul(scale, g), through);
                    match count == L::LANES {
                        true => l.store(dz.add(c), result),
                        false => l.store_first(dz.add(c), count, result),
                    }
                }
                c += count;
            }
        }
    }
}
