//! F1 to F3, ours: what fusing, and writing in place, save beyond what the papers count.

use super::Context;
use super::observe::{BLUR, Observed, held, traced};
use super::row::{Point, Row};
use crate::Result;
use crate::compile::Options;
use crate::graph::Mode;
use crate::nn::{Mask, Sequence, Style, bottleneck};
use crate::tensor::Shape;

/// Channels: few, so that weights are small beside the maps.
const CHANNELS: usize = 32;
const SOURCE: &str = "ours (ARCHITECTURE.md, \"The passes\")";

fn style() -> Style {
    Style::default()
}

/// F1: a residual block in place takes no more than the paper counts without its shortcut.
pub(super) fn in_place(context: &mut Context<'_>) -> Result<Vec<Row>> {
    let (c, half) = (CHANNELS, CHANNELS / 2);
    let stage = || Sequence::repeat(2, || bottleneck(style(), half, c, Mask::Whole));
    let x = context.map(c);
    let (by_layer, plain) = (context.by_layer(), Options::plain(context.counted.processor()));
    let ours = context.observe(
        "residual stage, fused, in place",
        traced(&stage(), x, Mode::Inference)?,
        by_layer.clone(),
    )?;
    let written = context.observe(
        "residual stage, every op as written",
        traced(&stage(), x, Mode::Inference)?,
        plain,
    )?;
    let conv = traced(&style().unit(c, 3), context.map(half), Mode::Inference)?;
    let conv = context.observe("its largest convolution alone", conv, by_layer)?;
    let points = vec![
        held("over sums into new maps", 0.6, [&ours, &written]),
        held("over in + out of the largest convolution", 1.0, [&ours, &conv]),
    ];
    let claim = "In place a residual stage, shortcut included, needs what the paper counts without it";
    Ok(vec![
        Row::new("F1", claim, SOURCE, "in + out of one convolution, 1.5 c; the shortcut is not counted")
            .judged(
                context.counted.to_string(),
                "bytes held, ours / other",
                points,
                vec![ours.run, written.run, conv.run],
                true,
                "the sum is written over the block's input: 1.5 c, where a sum into a new map needs 2.5 c",
            ),
    ])
}

/// F2 and F3: maps that are never stored.
pub(super) fn maps_never_stored(context: &mut Context<'_>) -> Result<Vec<Row>> {
    Ok(vec![traffic(context)?, training(context)?])
}

/// F2: bytes moved by a bottleneck.
fn traffic(context: &mut Context<'_>) -> Result<Row> {
    let (c, half) = (CHANNELS, CHANNELS / 2);
    // Smaller than where memory is compared: a meter may count every single access.
    let x = Shape::new(1, 96, 96, c);
    let bottleneck = || Sequence::new().then(style().unit(half, 1)).then(style().unit(c, 3));
    let (all, by_layer) = (Options::new(context.counted.processor()), context.by_layer());
    let plain = Options::plain(context.counted.processor());
    let mut observe =
        |name: &str, options| context.observe(name, traced(&bottleneck(), x, Mode::Inference)?, options);
    let written = observe("bottleneck, every op as written", plain)?;
    let layers = observe("bottleneck, fused within layers", by_layer)?;
    let mut points = Vec::new();
    let mut point = |label: &str, expected, ours: &Observed, other: &Observed| {
        points.push(Point {
            label: label.to_owned(),
            expected,
            predicted: ours.moved() / other.moved(),
            measured: ours.traffic().zip(other.traffic()).map(|(a, b)| a / b),
            tolerance: Some(BLUR),
        });
    };
    let mut runs = Vec::new();
    let mut why = "convolution and norm are one kernel: 3 c instead of 6 c for c → c/2 → c".to_owned();
    if all.fuse_blocks.is_some() {
        let whole = observe("bottleneck as one kernel", all)?;
        point("one kernel over two, the middle map never stored", 2.0 / 3.0, &whole, &layers);
        why += "; as one kernel 2 c, below the sum over convolutions of what enters and leaves";
        runs.push(whole.run);
    } else {
        why += "; this device has no kernel over two convolutions";
    }
    point("fused within layers over every op as written", 0.5, &layers, &written);
    runs.extend([layers.run, written.run]);
    let why = format!("{why}; {}", context.counting());
    let claim = "Fused, a bottleneck moves less than its convolutions' inputs and outputs";
    Ok(Row::new("F2", claim, SOURCE, "each convolution reads and writes its maps: 3 c").judged(
        context.counted.to_string(),
        "bytes moved, fused / not",
        points,
        runs,
        true,
        &why,
    ))
}

/// F3: one map a conv unit is kept for backward.
fn training(context: &mut Context<'_>) -> Result<Row> {
    const BLOCKS: usize = 8;
    let (c, half) = (CHANNELS / 2, CHANNELS / 4);
    let Shape { h, w, .. } = context.map(c);
    let x = Shape::new(1, h / 2, w / 2, c);
    let stage = || Sequence::repeat(BLOCKS, || bottleneck(style(), half, c, Mask::Whole));
    let (by_layer, plain) = (context.by_layer(), Options::plain(context.counted.processor()));
    let ours =
        context.observe("training, one map a conv unit", traced(&stage(), x, Mode::Training)?, by_layer)?;
    let two =
        context.observe("training, two maps a conv unit", traced(&stage(), x, Mode::Training)?, plain)?;
    let n = BLOCKS as f64;
    // The middle unit's normalised map, c/2 a block, is never kept; the second unit's becomes the sum.
    let points = vec![held(&format!("n = {BLOCKS}"), (2.5 * n + 2.0) / (3.0 * n + 2.0), [&ours, &two])];
    let claim = "A training step keeps one map a conv unit, where frameworks keep two";
    Ok(Row::new("F3", claim, SOURCE, "not in the paper: its peak is of one convolution").judged(
        context.counted.to_string(),
        "bytes held, residual stage, ours / two maps a unit",
        points,
        vec![ours.run, two.run],
        true,
        "scale, shift and activation are applied again where a map is read: 2.5 c a block instead of 3 c",
    ))
}
