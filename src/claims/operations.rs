//! C1, C2, C8: operations and parameters, exact.

use super::Context;
use super::observe::{Observed, traced};
use super::row::{Point, Row};
use crate::Result;
use crate::analysis::cost::{executed, operations};
use crate::analysis::workload::Traced;
use crate::compile::Options;
use crate::graph::{Graph, Mode};
use crate::nn::{Mask, Sequence, Style, bottleneck};
use crate::ops::add::Add;
use crate::ops::conv::Conv;
use crate::ops::{Layout, Tape};
use crate::tensor::Shape;

/// Channels c of the residual stage: Darknet-53's stage of two blocks.
const CHANNELS: usize = 128;
/// Blocks in it.
const BLOCKS: usize = 2;
/// Height and width here: nothing that is counted depends on them but by a factor.
const SIDE: usize = 4;

fn input(channels: usize) -> Shape {
    Shape::new(1, SIDE, SIDE, channels)
}

fn stage(middle: usize, filters: usize, mask: Mask) -> Sequence {
    Sequence::repeat(BLOCKS, || bottleneck(Style::default(), middle, filters, mask))
}

/// The residual blocks of a Darknet-53 stage, c → c/2 → c, and those inside of a CSP stage, c/2 → c/2 → c/2.
fn darknet_and_csp(mode: Mode) -> Result<[Traced; 2]> {
    let (c, half) = (CHANNELS, CHANNELS / 2);
    Ok([
        traced(&stage(half, c, Mask::Whole), input(c), mode)?,
        traced(&stage(half, half, Mask::Whole), input(half), mode)?,
    ])
}

/// Elements of the weights of every convolution.
fn conv_weights(graph: &Graph) -> f64 {
    let convs = graph.nodes().iter().filter(|node| node.op.downcast::<Conv>().is_some());
    convs.map(|conv| graph.shape(conv.inputs[1]).elements()).sum::<usize>() as f64
}

/// Elements of the weights of every convolution, as the device holds them.
fn held_weights(observed: &Observed) -> Result<f64> {
    let state = observed.session.state()?;
    let weights =
        state.iter().filter(|(name, _)| name.ends_with(".weight") && !name.starts_with("optimizer."));
    Ok(weights.map(|(_, tensor)| tensor.shape().elements()).sum::<usize>() as f64)
}

/// What C1 and C2 halve.
struct Halved {
    row: Row,
    quantity: &'static str,
    why: &'static str,
    mode: Mode,
    /// What the cost model counts.
    predicted: fn(&Graph) -> f64,
    /// What was found where it ran.
    measured: fn(&Observed) -> Result<f64>,
}

impl Halved {
    /// The row: the CSP blocks' count over the residual ones', exactly 1/2.
    fn check(self, context: &mut Context<'_>) -> Result<Vec<Row>> {
        let [whole, half] = darknet_and_csp(self.mode)?;
        let predicted = (self.predicted)(&half.graph) / (self.predicted)(&whole.graph);
        let options = context.by_layer();
        let whole = context.observe("residual blocks c → c/2 → c", whole, options.clone())?;
        let half = context.observe("their CSP blocks c/2 → c/2 → c/2", half, options)?;
        let point = Point {
            label: format!("c = {CHANNELS}, {BLOCKS} blocks"),
            expected: 0.5,
            predicted,
            measured: Some((self.measured)(&half)? / (self.measured)(&whole)?),
            tolerance: Some(0.0),
        };
        let (device, runs) = (context.counted.to_string(), vec![whole.run, half.run]);
        Ok(vec![self.row.judged(device, self.quantity, vec![point], runs, true, self.why)])
    }
}

/// C1: CSP halves the computation of a Darknet-53 stage's blocks.
pub(super) fn half_the_computation(context: &mut Context<'_>) -> Result<Vec<Row>> {
    let claim = "CSP halves the computation of a Darknet-53 stage's residual blocks";
    let halved = Halved {
        row: Row::new("C1", claim, "Wang et al. 2022, §3.2", "half the FLOPs"),
        quantity: "operations of the convolutions, CSP / residual",
        why: "5c² against 2.5c² multiply-adds a pixel; measured are the kernels of the programs that ran",
        mode: Mode::Inference,
        predicted: |graph| operations(graph).darknet,
        measured: |observed| Ok(executed(&observed.program).darknet),
    };
    halved.check(context)
}

/// C2: and their parameters.
pub(super) fn half_the_parameters(context: &mut Context<'_>) -> Result<Vec<Row>> {
    let claim = "CSP halves the parameters of those blocks";
    let halved = Halved {
        row: Row::new("C2", claim, "Wang et al. 2022, §3.2", "half the parameters"),
        quantity: "weights of the convolutions, CSP / residual",
        why: "measured are the weights that the device held while training",
        // Its parameters are the weights themselves.
        mode: Mode::Training,
        predicted: conv_weights,
        measured: held_weights,
    };
    halved.check(context)
}

/// Operations of the residual additions.
fn additions(graph: &Graph) -> f64 {
    let adds = graph.nodes().iter().filter(|node| node.op.downcast::<Add>().is_some());
    adds.map(|node| {
        let shapes = |values: &[_]| -> Vec<Shape> { values.iter().map(|&v| graph.shape(v)).collect() };
        node.op.cost(&shapes(&node.inputs), &shapes(&node.outputs)).flops
    })
    .sum()
}

/// C8: a masked residual changes neither parameters nor topology, and halves the residual additions only.
pub(super) fn masked_residual(context: &mut Context<'_>) -> Result<Vec<Row>> {
    let (c, half) = (CHANNELS, CHANNELS / 2);
    let trace = |mask, mode| traced(&stage(half, c, mask), input(c), mode);
    let graphs = [trace(Mask::Whole, Mode::Inference)?, trace(Mask::Share(0.5), Mode::Inference)?];
    let layers = |graph: &Graph| graph.nodes().iter().filter(|n| n.op.layout() == Layout::Own).count() as f64;
    let predicted = |read: &dyn Fn(&Graph) -> f64| read(&graphs[1].graph) / read(&graphs[0].graph);
    let parameters =
        predicted(&|graph| graph.parameters().map(|(_, info)| info.shape.elements()).sum::<usize>() as f64);
    let (adds, all) = (predicted(&additions), predicted(&|graph| operations(graph).mac2));
    let topology = predicted(&layers);

    let [whole, masked] = graphs;
    // Every op a kernel of its own, so that the additions can be told from what they would be fused with.
    let plain = Options::plain(context.counted.processor());
    let whole = context.observe("residual stage", whole, plain.clone())?;
    let masked = context.observe("masked residual stage", masked, plain)?;
    let executed_adds = |observed: &Observed| {
        let adds = observed.program.steps.iter().filter(|step| step.op.downcast::<Add>().is_some());
        adds.map(|step| step.cost().flops).sum::<f64>()
    };
    let held = |observed: &Observed| -> Result<f64> {
        let state = observed.session.state()?;
        Ok(state.values().map(|tensor| tensor.shape().elements()).sum::<usize>() as f64)
    };
    let point = |label: &str, expected, predicted, measured, tolerance| Point {
        label: label.to_owned(),
        expected,
        predicted,
        measured: Some(measured),
        tolerance: Some(tolerance),
    };
    let points = vec![
        point("residual additions", 0.5, adds, executed_adds(&masked) / executed_adds(&whole), 0.0),
        point("parameters", 1.0, parameters, held(&masked)? / held(&whole)?, 0.0),
        point(
            "layers",
            1.0,
            topology,
            masked.program.steps.len() as f64 / whole.program.steps.len() as f64,
            0.0,
        ),
        // The paper's "almost unchanged", as a number: 1 in 20 c is 0.0004 here.
        point(
            "all operations",
            1.0,
            all,
            executed(&masked.program).mac2 / executed(&whole.program).mac2,
            0.001,
        ),
    ];
    let claim =
        "A masked residual layer changes neither parameters nor topology; only the residual additions halve";
    let told = "additions halve, total almost unchanged";
    Ok(vec![Row::new("C8", claim, "PRN; Wang et al. 2022, §4.1", told).judged(
        context.counted.to_string(),
        "masked / whole, γ = 1/2",
        points,
        vec![whole.run, masked.run],
        true,
        "parameters and layers are equal, the additions are half; all operations together stay above 0.999",
    )])
}
