//! C4 and C5: bytes between kernels and memory.

use super::Context;
use super::observe::{Observed, trace, traced};
use super::row::{Point, Row};
use crate::Result;
use crate::analysis::cost::cio;
use crate::analysis::workload::Traced;
use crate::compile::Options;
use crate::graph::{Init, Mode};
use crate::nn::{Csp, Dense, Split, Style, Truncation};
use crate::ops::conv::{self, Geometry};
use crate::tensor::{DType, Shape};

/// Height and width of what is counted here.
const SIDE: usize = 24;

/// c_in and c_out at equal operations: their product is the same. The equal ones first.
const CHANNELS: [(usize, usize); 5] = [(64, 64), (32, 128), (128, 32), (16, 256), (256, 16)];

/// The memory access cost of ShuffleNetV2's first guideline, in elements.
fn access_cost(kernel: usize, c_in: usize, c_out: usize) -> f64 {
    (SIDE * SIDE * (c_in + c_out) + kernel * kernel * c_in * c_out) as f64
}

/// A convolution and nothing else.
fn convolution(kernel: usize, c_in: usize, c_out: usize) -> Result<Traced> {
    let geometry = Geometry::same(kernel, 1);
    trace(Shape::new(1, SIDE, SIDE, c_in), Mode::Inference, |graph, x| {
        let shape = geometry.weight(c_in, c_out);
        let weight = graph.parameter("weight", shape, Init::he(shape))?;
        Ok(vec![conv::trace(graph, x, weight, None, geometry)?])
    })
}

/// The c_in / c_out at which `values`, in the order of [`CHANNELS`], are least.
fn least_at(values: &[f64]) -> f64 {
    let pairs = CHANNELS.iter().zip(values);
    pairs
        .min_by(|a, b| a.1.total_cmp(b.1))
        .map_or(f64::NAN, |((c_in, c_out), _)| *c_in as f64 / *c_out as f64)
}

/// C4: traffic of a convolution is least where input and output channels are equal.
pub(super) fn equal_channels(context: &mut Context<'_>) -> Result<Vec<Row>> {
    // Weights as they are: packed for the kernels they are padded.
    let plain = Options::plain(context.counted.processor());
    let (mut points, mut runs) = (Vec::new(), Vec::new());
    for kernel in [1, 3] {
        let (mut predicted, mut counted) = (Vec::new(), Vec::new());
        for (c_in, c_out) in CHANNELS {
            let name = format!("{kernel}×{kernel}, {c_in} → {c_out}");
            let observed = context.observe(&name, convolution(kernel, c_in, c_out)?, plain.clone())?;
            predicted.push(observed.moved());
            counted.push(observed.traffic());
            runs.push(observed.run);
        }
        let measured: Option<Vec<f64>> = counted.into_iter().collect();
        points.push(Point {
            label: format!("{kernel}×{kernel}: least at c_in / c_out"),
            expected: 1.0,
            predicted: least_at(&predicted),
            measured: measured.as_deref().map(least_at),
            tolerance: Some(0.0),
        });
        for (index, (c_in, c_out)) in CHANNELS.into_iter().enumerate().skip(1) {
            let equal = access_cost(kernel, CHANNELS[0].0, CHANNELS[0].1);
            points.push(Point {
                label: format!("{kernel}×{kernel}, {c_in} → {c_out}, over 64 → 64"),
                expected: access_cost(kernel, c_in, c_out) / equal,
                predicted: predicted[index] / predicted[0],
                measured: measured.as_ref().map(|bytes| bytes[index] / bytes[0]),
                tolerance: Some(0.0),
            });
        }
    }
    let claim = "At equal operations a convolution moves least where input and output channels are equal";
    let why = counted(context, "hw (c_in + c_out) + k² c_in c_out, with c_in c_out = 4096 at 24 × 24");
    Ok(vec![
        Row::new("C4", claim, "Wang et al. 2022, §3.2; ShuffleNetV2, G1", "least at c_in = c_out").judged(
            context.counted.to_string(),
            "where the bytes moved are least; bytes over those of 64 → 64",
            points,
            runs,
            true,
            &why,
        ),
    ])
}

/// `what`, and how it was counted.
fn counted(context: &Context<'_>, what: &str) -> String {
    format!("{what}; {}", context.counting())
}

/// (c, m, d): channels that enter, layers, growth; the larger c against m·d, the nearer to 1/2.
const DENSE: [(usize, usize, usize); 6] =
    [(256, 2, 8), (128, 2, 8), (128, 4, 8), (128, 4, 16), (64, 4, 16), (32, 8, 16)];

/// C5: CSP cuts the traffic of a dense block, at most by half.
pub(super) fn partial_dense(context: &mut Context<'_>) -> Result<Vec<Row>> {
    let style = Style::default();
    let (mut points, mut runs) = (Vec::new(), Vec::new());
    for (c, m, d) in DENSE {
        let x = Shape::new(1, SIDE, SIDE, c);
        let dense = || Dense { growth: d, layers: m, style };
        let partial =
            Csp { truncation: Truncation::Partial, ..Csp::new(style, Split::Slice(0.5), dense(), c) };
        let (whole, partial) = (traced(&dense(), x, Mode::Inference)?, traced(&partial, x, Mode::Inference)?);
        let pixels = x.pixels() as f64;
        let counts = [cio(&whole.graph) as f64 / pixels, cio(&partial.graph) as f64 / pixels];
        let (c, m, d) = (c as f64, m as f64, d as f64);
        let formula = [c * m + (m * m + m) * d / 2.0, (c * m + (m * m + m) * d) / 2.0];
        let options = context.by_layer();
        let label = format!("c {c}, m {m}, d {d}");
        let observed = [
            context.observe(&format!("dense block, {label}"), whole, options.clone())?,
            context.observe(&format!("partial dense block, {label}"), partial, options)?,
        ];
        // What was counted, without weights and biases, in elements a pixel.
        let moved = |observed: &Observed, count: f64| {
            let element =
                observed.program.inputs.first().map_or(DType::F32, |input| input.1.dtype).size() as f64;
            let beside = observed.moved() - count * pixels * element;
            observed.traffic().map(|bytes| (bytes - beside) / (pixels * element))
        };
        let measured = moved(&observed[0], counts[0]).zip(moved(&observed[1], counts[1]));
        points.push(Point {
            label,
            expected: formula[1] / formula[0],
            predicted: counts[1] / counts[0],
            measured: measured.map(|(whole, partial)| partial / whole),
            tolerance: Some(0.0),
        });
        runs.extend(observed.map(|observed| observed.run));
    }
    let claim = "CSP cuts the traffic of a dense block, at most by half";
    let what = "convolutional input and output (CIO): c m + (m² + m) d / 2, and half of c m + (m² + m) d";
    let why = counted(context, what);
    Ok(vec![Row::new("C5", claim, "Wang et al. 2019 (CSPNet)", "towards 1/2 where m, d ≪ c").judged(
        context.counted.to_string(),
        "elements in and out of convolutions, partial dense / dense",
        points,
        runs,
        true,
        &why,
    )])
}
