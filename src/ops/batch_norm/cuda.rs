//! The launches of batch norm on a CUDA device; `kernels/` says what each computes.

use super::{Normalize, NormalizeGradient, UpdateRunning};
use crate::ops::grid::{self, Columns};
use crate::runtime::cuda::{DeviceView, Launch, Operands, Target};
use crate::tensor::Shape;

/// Threads of a block of the kernels that take a thread a channel.
const CHANNELS_A_BLOCK: usize = 256;

/// A norm's statistics, γ and β in device memory, f32.
struct Vectors {
    statistics: DeviceView,
    gamma: DeviceView,
    beta: DeviceView,
}

impl Vectors {
    /// Inputs `first..first + 3`.
    fn new(operands: &Operands, first: usize) -> Self {
        let [statistics, gamma, beta] = [0, 1, 2].map(|i| operands.input(first + i));
        Vectors { statistics, gamma, beta }
    }

    /// How many of them one instruction can read, at every multiple of `pack`.
    fn vector(&self, pack: usize) -> usize {
        grid::common_pack(&[self.statistics, self.gamma, self.beta]).min(pack)
    }

    /// Adds the arguments mean, variance, γ and β.
    fn arguments(&self, launch: Launch) -> Launch {
        rows(launch, self.statistics).view(self.gamma).view(self.beta)
    }
}

/// Adds the addresses of both rows of a `[1, 1, 2, c]`.
fn rows(launch: Launch, view: DeviceView) -> Launch {
    let row = (view.pixel_stride * view.dtype.size()) as u64;
    launch.address(view.address).address(view.address + row)
}

pub(super) fn statistics_workspace(z: Shape) -> usize {
    grid::partials_bytes(z, 2)
}

pub(super) fn statistics(operands: &Operands) -> Vec<Launch> {
    let (z, statistics) = (operands.input(0), operands.outputs[0]);
    let (channels, pixels) = (z.shape.c, z.shape.pixels());
    let columns = Columns::new(channels, z.pack());
    let runs = columns.runs(pixels);
    let partials = columns.launch(Launch::new("batch_statistics.cu", "batch_statistics"), runs.blocks);
    let partials = partials.define("Z_TYPE", z.dtype).view(z).int(z.pixel_stride);
    let merge = Launch::new("merge_statistics.cu", "merge_statistics").block(1024);
    let merge = merge.grid(channels.div_ceil(32), 1, 1).address(operands.workspace).int(runs.blocks);
    vec![
        partials.address(operands.workspace).int(pixels).int(runs.run),
        rows(merge.int(channels).int(pixels).int(runs.run), statistics),
    ]
}

pub(super) fn update_running(op: &UpdateRunning, operands: &Operands) -> Vec<Launch> {
    let views = [operands.input(0), operands.input_or(1, 0), operands.outputs[0]];
    let channels = views[0].shape.c;
    let launch = Launch::new("update_running.cu", "update_running");
    let launch = launch.grid(channels.div_ceil(CHANNELS_A_BLOCK), 2, 1);
    let launch = views.into_iter().fold(launch, |l, view| l.view(view).int(view.pixel_stride));
    vec![launch.int(channels).float(op.momentum).float(op.unbiased())]
}

pub(super) fn norm_affine(epsilon: f64, operands: &Operands) -> Vec<Launch> {
    let vectors = Vectors::new(operands, 0);
    let channels = vectors.gamma.shape.c;
    let launch = Launch::new("norm_affine.cu", "norm_affine").cover(channels);
    vec![rows(vectors.arguments(launch), operands.outputs[0]).int(channels).float(epsilon)]
}

pub(super) fn fold_norm(epsilon: f64, operands: &Operands) -> Vec<Launch> {
    let (weight, vectors) = (operands.input(0), Vectors::new(operands, 1));
    let channels = vectors.gamma.shape.c;
    let launch = Launch::new("fold_norm.cu", "fold_norm").grid(channels, 1, 1).view(weight);
    let launch = vectors.arguments(launch).view(operands.outputs[0]).view(operands.outputs[1]);
    vec![launch.int(weight.shape.elements() / channels.max(1)).float(epsilon)]
}

pub(super) fn normalize(op: &Normalize, operands: &Operands, target: &Target) -> Vec<Launch> {
    let (z, y, vectors) = (operands.input_or(0, 0), operands.outputs[0], Vectors::new(operands, 1));
    let residual = op.residual.then(|| operands.input(4));
    let pixels = y.shape.pixels();
    let pack = grid::common_pack(&[z, y, grid::whole_packs(residual.unwrap_or(y))]);
    let columns = Columns::new(y.shape.c, pack);
    let in_flight = 4;
    let launch = Launch::new("normalize.cu", "normalize").define("ACTIVATION", op.activation);
    let launch = columns.launch(launch, columns.walk(pixels, in_flight, target.multiprocessors));
    let launch = launch.define("PIXELS", in_flight).define("VECTOR", vectors.vector(pack));
    let launch = launch.define("Z_TYPE", z.dtype).define("Y_TYPE", y.dtype);
    let launch = vectors.arguments(launch.view(z).int(z.pixel_stride)).view(y).int(y.pixel_stride);
    let launch = launch.int(pixels).float(op.epsilon);
    vec![match residual {
        Some(residual) => launch
            .define("RESIDUAL", residual.shape.c)
            .define("RESIDUAL_TYPE", residual.dtype)
            .view(residual)
            .int(residual.pixel_stride),
        None => launch.define("RESIDUAL", 0usize),
    }]
}

/// Bytes of the coefficients `[4, channels]` that lie before the partial sums.
fn coefficients_bytes(channels: usize) -> usize {
    (16 * channels).next_multiple_of(256)
}

pub(super) fn normalize_gradient_workspace(z: Shape) -> usize {
    coefficients_bytes(z.c) + grid::partials_bytes(z, 2)
}

pub(super) fn normalize_gradient(
    op: &NormalizeGradient,
    operands: &Operands,
    target: &Target,
) -> Vec<Launch> {
    let (dy, z, dz) = (operands.input_or(0, 0), operands.input(1), operands.outputs[0]);
    let vectors = Vectors::new(operands, 2);
    let (channels, pixels) = (z.shape.c, z.shape.pixels());
    let pack = grid::common_pack(&[dy, z, dz]);
    let columns = Columns::new(channels, pack);
    let runs = columns.runs(pixels);
    let coefficients = operands.workspace;
    let partials = coefficients + coefficients_bytes(channels) as u64;

    let sums = Launch::new("normalize_gradient_sums.cu", "normalize_gradient_sums");
    let sums = columns.launch(sums, runs.blocks).define("ACTIVATION", op.activation);
    let sums = sums.define("VECTOR", vectors.vector(pack)).define("WRITES_DZ", !op.batch);
    let sums = sums.define("DY_TYPE", dy.dtype).define("Z_TYPE", z.dtype);
    let sums = vectors.arguments(sums.view(dy).int(dy.pixel_stride).view(z).int(z.pixel_stride));
    let sums = sums.address(partials).int(pixels).int(runs.run).float(op.epsilon);

    let totals = Launch::new("normalize_gradient_totals.cu", "normalize_gradient_totals").block(1024);
    let totals = totals.grid(channels.div_ceil(32), 1, 1).address(partials).int(runs.blocks).int(channels);
    let totals = vectors.arguments(totals).view(operands.outputs[1]).view(operands.outputs[2]);
    let totals = totals.address(coefficients).float(1.0 / pixels as f64).float(op.epsilon);
    if !op.batch {
        // The sums are not needed for dz, which the first launch writes.
        return vec![sums.define("DZ_TYPE", dz.dtype).view(dz).int(dz.pixel_stride), totals];
    }

    let in_flight = if pack > 4 { 2 } else { 4 };
    let apply = Launch::new("normalize_gradient.cu", "normalize_gradient");
    let apply = columns.launch(apply, columns.walk(pixels, in_flight, target.multiprocessors));
    let apply = apply.define("ACTIVATION", op.activation).define("PIXELS", in_flight);
    let apply = apply.define("DY_TYPE", dy.dtype).define("Z_TYPE", z.dtype).define("DZ_TYPE", dz.dtype);
    let apply = apply.view(dy).int(dy.pixel_stride).view(z).int(z.pixel_stride).address(coefficients);
    vec![sums, totals, apply.view(dz).int(dz.pixel_stride).int(pixels)]
}
