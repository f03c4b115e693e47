//! C3, "the memory peak falls to two thirds", in four readings. The paper's peak is the input and output of one
//! convolution; what else is alive then is not in it, and decides whether the saving is there.

use super::Context;
use super::observe::{held, trace, traced};
use super::row::Row;
use crate::Result;
use crate::analysis::workload::Traced;
use crate::compile::Options;
use crate::graph::{Graph, Mode};
use crate::nn::{Block, Csp, Mask, Sequence, Split, Style, Truncation, bottleneck};
use crate::ops::{Value, concat, slice};
use crate::tensor::Shape;

/// Channels c of the stage: few, so that its weights are small beside its maps.
const CHANNELS: usize = 32;
/// The same of training stages, which hold weights, their gradients and momentum.
const TRAINING_CHANNELS: usize = 16;
/// Blocks of a stage whose inference is measured.
const BLOCKS: usize = 2;
const SOURCE: &str = "Wang et al. 2022, §3.2";
const TOLD: &str = "2/3 of the peak";

fn style() -> Style {
    Style::default()
}

fn blocks(count: usize, middle: usize, filters: usize) -> Sequence {
    Sequence::repeat(count, || bottleneck(style(), middle, filters, Mask::Whole))
}

const QUANTITY: &str = "bytes held, CSP / residual";

/// C3a, the paper's reading: input and output of the largest convolution.
pub(super) fn largest_conv(context: &mut Context<'_>) -> Result<Vec<Row>> {
    let (c, half) = (CHANNELS, CHANNELS / 2);
    let x = context.map(half);
    let options = context.by_layer();
    let mut conv = |name: &str, filters| {
        let block = style().unit(filters, 3);
        context.observe(name, traced(&block, x, Mode::Inference)?, options.clone())
    };
    let (residual, csp) = (conv("3×3, c/2 → c", c)?, conv("3×3, c/2 → c/2", half)?);
    let points = vec![held("in + out", 2.0 / 3.0, [&csp, &residual])];
    let claim = "CSP cuts the memory peak: input and output of the largest convolution";
    Ok(vec![Row::new("C3a", claim, SOURCE, TOLD).judged(
        context.counted.to_string(),
        QUANTITY,
        points,
        vec![residual.run, csp.run],
        true,
        "c/2 + c against c/2 + c/2; what else of the stage is alive is not in it",
    )])
}

/// C3b: the computational block alone, inference, its sum in place.
pub(super) fn computational_block(context: &mut Context<'_>) -> Result<Vec<Row>> {
    let (c, half) = (CHANNELS, CHANNELS / 2);
    let options = context.by_layer();
    let mut block = |name: &str, filters| {
        let block = blocks(BLOCKS, half, filters);
        let traced = traced(&block, context.map(filters), Mode::Inference)?;
        context.observe(name, traced, options.clone())
    };
    let (residual, csp) = (block("blocks c → c/2 → c", c)?, block("blocks c/2 → c/2 → c/2", half)?);
    let points = vec![held("block, inference", 2.0 / 3.0, [&csp, &residual])];
    let claim = "… the computational block alone, at inference";
    Ok(vec![Row::new("C3b", claim, SOURCE, TOLD).judged(
        context.counted.to_string(),
        QUANTITY,
        points,
        vec![residual.run, csp.run],
        true,
        "the block's map and the middle one: c + c/2 against c/2 + c/2, sums in place",
    )])
}

/// A CSP stage on `x` whose first half runs through the blocks, so that each sum can be written over what entered,
/// without or with the two transitions.
fn stage(graph: &mut Graph, x: Value, transitions: bool) -> Result<Vec<Value>> {
    let (c, half) = (CHANNELS, CHANNELS / 2);
    let (inside, crossing) = (slice::trace(graph, x, 0..half)?, slice::trace(graph, x, half..c)?);
    let mut inside = blocks(BLOCKS, half, half).named(graph, "block", inside)?;
    if transitions {
        inside = style().transition(half).named(graph, "inner", inside)?;
    }
    let mut joined = concat::trace(graph, &[inside, crossing])?;
    if transitions {
        joined = style().transition(c).named(graph, "transition", joined)?;
    }
    Ok(vec![joined])
}

/// C3c: the whole stage at inference. The crossing half stays alive: nothing is saved.
pub(super) fn stage_inference(context: &mut Context<'_>) -> Result<Vec<Row>> {
    let (c, half) = (CHANNELS, CHANNELS / 2);
    let x = context.map(c);
    let residual = || traced(&blocks(BLOCKS, half, c), x, Mode::Inference);
    let csp = |transitions| trace(x, Mode::Inference, |graph, x| stage(graph, x, transitions));
    let (fused, plain) = (context.by_layer(), Options::plain(context.counted.processor()));
    let in_place = [
        context.observe("CSP stage", csp(false)?, fused.clone())?,
        context.observe("residual stage", residual()?, fused.clone())?,
    ];
    // One block: a sum in a new map then meets the concat without a copy.
    let new_maps = |block: &dyn Block| traced(block, x, Mode::Inference);
    let partial = Csp {
        truncation: Truncation::Partial,
        ..Csp::new(style(), Split::Slice(0.5), blocks(1, half, half), c)
    };
    let out_of_place = [
        context.observe("CSP stage of one block, sum in a new map", new_maps(&partial)?, plain.clone())?,
        context.observe(
            "residual stage of one block, sum in a new map",
            new_maps(&blocks(1, half, c))?,
            plain,
        )?,
    ];
    let closed = context.observe("CSP stage with both transitions", csp(true)?, fused)?;
    let points = vec![
        held("sums in place", 1.0, [&in_place[0], &in_place[1]]),
        held("sums in new maps", 0.8, [&out_of_place[0], &out_of_place[1]]),
        held("with both transitions, sums in place", 4.0 / 3.0, [&closed, &in_place[1]]),
    ];
    let runs =
        in_place.into_iter().chain(out_of_place).chain([closed]).map(|observed| observed.run).collect();
    let claim = "… the whole stage, at inference";
    Ok(vec![Row::new("C3c", claim, SOURCE, TOLD).judged(
        context.counted.to_string(),
        QUANTITY,
        points,
        runs,
        false,
        "the crossing half stays alive beside the blocks: c/2 + c/2 + c/2 against 1.5 c with sums in place, 2 c \
         against 2.5 c without; and the closing transition needs 2 c, for what it reads and what it writes",
    )])
}

/// Numbers of blocks of the training stages: Darknet-53's first.
const DEPTHS: [usize; 4] = [8, 4, 2, 1];

/// C3d: the whole stage in training.
pub(super) fn stage_training(context: &mut Context<'_>) -> Result<Vec<Row>> {
    let (c, half) = (TRAINING_CHANNELS, TRAINING_CHANNELS / 2);
    // Half as wide and high as the others: a step of eight blocks keeps 22 maps of c channels.
    let Shape { h, w, .. } = context.map(c);
    let x = Shape::new(1, h / 2, w / 2, c);
    let options = context.by_layer();
    let mut observe = |name: String, traced: Traced| context.observe(&name, traced, options.clone());
    let csp = |depth, truncation| {
        let blocks = blocks(depth, half, half);
        traced(&Csp { truncation, ..Csp::new(style(), Split::Slice(0.5), blocks, c) }, x, Mode::Training)
    };
    let (mut points, mut runs) = (Vec::new(), Vec::new());
    for depth in DEPTHS {
        let n = depth as f64;
        let residual = observe(
            format!("residual stage, n = {depth}"),
            traced(&blocks(depth, half, c), x, Mode::Training)?,
        )?;
        let stage = observe(format!("CSP stage, n = {depth}"), csp(depth, Truncation::Partial)?)?;
        // A block keeps its sum, its middle map and its convolution's output: 2.5 c, all at c/2: 1.5 c. Beside them
        // lie the stage's input and the gradient of one map, each c; of the CSP stage the concat with what entered
        // (the crossing half is in both), and the same of gradients, each 1.5 c.
        let formula = (1.5 * n + 3.0) / (2.5 * n + 2.0);
        points.push(held(&format!("n = {depth}"), formula, [&stage, &residual]));
        if depth == DEPTHS[0] {
            let closed = observe(
                format!("CSP stage with both transitions, n = {depth}"),
                csp(depth, Truncation::Csp)?,
            )?;
            let formula = (1.5 * n + 4.5) / (2.5 * n + 2.0);
            points.push(held(&format!("n = {depth}, with both transitions"), formula, [&closed, &residual]));
            runs.push(closed.run);
        }
        runs.extend([residual.run, stage.run]);
    }
    let claim = "… the whole stage of n blocks, in training";
    Ok(vec![Row::new("C3d", claim, SOURCE, TOLD).judged(
        context.counted.to_string(),
        QUANTITY,
        points,
        runs,
        true,
        "2.5 c against 1.5 c a block, and the stage's own maps: (1.5 n + 3) / (2.5 n + 2), 0.6 for many blocks, \
         2/3 at ten",
    )])
}
