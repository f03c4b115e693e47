//! The loss of an anchor-based detector, traced from smaller ops: it runs where the step runs, and the
//! host gives only the tables of matches.

use super::binary_cross_entropy::{self, Channels};
use super::decode_box::{self, Grid};
use super::{Tape, Value, ciou, class_loss, gather, matched_mean, objectness_target, slice, weighted_sum};
use crate::{Error, Result};

/// The channels of an anchor before its classes: x, y, w, h, objectness.
const BOX_CHANNELS: usize = 5;
/// The channel of the objectness.
const OBJECTNESS: usize = 4;

/// How the loss of a detection head is put together: YOLOv5's, with means instead of sums over the
/// batch, so that a learning rate holds for every batch size.
///
/// For each level, with its matches from the host ([`super::matches`]) and the boxes that
/// [`decode_box`] makes of the matched rows:
///
/// ```text
/// box        = mean over matches of 1 − CIoU
/// objectness = mean over all cells and anchors of BCE(objectness logit, CIoU at matches, else 0)
/// class      = mean over matches and classes of BCE(class logit, one-hot)
/// total      = Σ levels  box_gain·box + objectness_gain·balance[level]·objectness + class_gain·class
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct DetectionLoss {
    /// The number of classes. With one (or none) there is nothing to tell apart and no class loss.
    pub classes: usize,
    /// Stride and anchors of each level, in the order of the heads.
    pub levels: Vec<Grid>,
    /// The weight of the box loss.
    pub box_gain: f64,
    /// The weight of the objectness loss.
    pub objectness_gain: f64,
    /// The weight of the class loss.
    pub class_gain: f64,
    /// The objectness weight of each level: a fine level has many more cells, so a match counts less in
    /// its mean.
    pub balance: Vec<f64>,
    /// ε of [`class_loss::ClassLoss`].
    pub label_smoothing: f64,
    /// How much of the objectness target is the CIoU ([`objectness_target::ObjectnessTarget`]).
    pub objectness_ratio: f64,
    /// Whether CIoU's gradient holds α constant ([`ciou::Ciou`]); training does.
    pub detach_alpha: bool,
}

impl DetectionLoss {
    /// YOLOv5's weights for images of `height` × `width` pixels, levels with the finest first.
    ///
    /// YOLOv5 multiplies its mean losses by the batch and tunes its learning rate for batches of 64
    /// images; here the 64 is part of the weights, so that the same rates (SGD 0.01 with momentum) do.
    /// With L levels:
    ///
    /// - box: 64·0.05·3/L
    /// - objectness: 64·1·3/L·(height·width)/640², because the share of cells that match falls with the
    ///   area: 4 for three levels and 160 × 160 pixels
    /// - class: 64·0.5·3/L·classes/80, because the mean is over classes and one of them is the object's:
    ///   1.2 for three levels and 3 classes
    /// - balance: 4, 1, 0.4 for three levels, 1 for a single one, else 4, 1, 0.25, 0.06, 0.02 and 0.02
    ///   from there on
    /// - no label smoothing
    pub fn new(classes: usize, levels: Vec<Grid>, height: usize, width: usize) -> Self {
        const BATCH: f64 = 64.0;
        let per_level = BATCH * 3.0 / levels.len().max(1) as f64;
        let balance = match levels.len() {
            1 => vec![1.0],
            3 => vec![4.0, 1.0, 0.4],
            count => [4.0, 1.0, 0.25, 0.06].into_iter().chain(std::iter::repeat(0.02)).take(count).collect(),
        };
        DetectionLoss {
            classes,
            levels,
            box_gain: 0.05 * per_level,
            objectness_gain: per_level * (height * width) as f64 / (640.0 * 640.0),
            class_gain: 0.5 * per_level * classes as f64 / 80.0,
            balance,
            label_smoothing: 0.0,
            objectness_ratio: 1.0,
            detach_alpha: true,
        }
    }
}

/// The scalars that a traced loss is made of, weighted: `total = box_loss + objectness + class`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetectionLossValues {
    /// What training minimises.
    pub total: Value,
    /// The box loss of all levels.
    pub box_loss: Value,
    /// The objectness loss of all levels.
    pub objectness: Value,
    /// The class loss of all levels; `None` where there are less than two classes.
    pub class: Option<Value>,
}

/// Traces the loss of `heads`: for each level its map `[n, h, w, anchors·(5 + classes)]` of raw logits,
/// each anchor's channels x, y, w, h, objectness, classes, and its match table
/// `[1, 1, capacity, 10]`.
///
/// # Errors
/// Where the numbers of heads, levels and balances differ, a map's channels are not those of its
/// level, or a table is none.
pub fn trace(
    tape: &mut dyn Tape,
    heads: &[(Value, Value)],
    spec: &DetectionLoss,
) -> Result<DetectionLossValues> {
    trace_with(tape, heads, spec, &|tape, level, ciou| {
        let (head, matches) = heads[level];
        let map = tape.shape(head).with_c(spec.levels[level].anchors.len());
        objectness_target::trace(tape, ciou, matches, map, spec.objectness_ratio)
    })
}

/// As [`trace`], with the objectness target of a level as `target(tape, level, CIoU)` says: it is a
/// constant of the backward, which a finite difference has to hold still.
fn trace_with(
    tape: &mut dyn Tape,
    heads: &[(Value, Value)],
    spec: &DetectionLoss,
    target: &dyn Fn(&mut dyn Tape, usize, Value) -> Result<Value>,
) -> Result<DetectionLossValues> {
    let count = spec.levels.len();
    if count == 0 || heads.len() != count || spec.balance.len() != count {
        let (heads, balances) = (heads.len(), spec.balance.len());
        let message = format!("a loss of {count} levels was given {heads} heads and {balances} balances");
        return Err(Error::invalid(message).fix("give each level one head and one balance"));
    }
    let (mut boxes, mut objectness, mut classes) = (Vec::new(), Vec::new(), Vec::new());
    for (level, (&(head, matches), grid)) in heads.iter().zip(&spec.levels).enumerate() {
        let (anchors, columns) = (grid.anchors.len(), BOX_CHANNELS + spec.classes);
        if tape.shape(head).c != anchors * columns {
            let message = format!("the head of level {level} must have {anchors}·{columns} channels");
            return Err(Error::shape("detection loss", &[tape.shape(head)], message));
        }
        let rows = gather::trace(tape, head, matches, anchors)?;
        let logits = slice::trace(tape, rows, 0..OBJECTNESS)?;
        let decoded = decode_box::trace(tape, logits, matches, grid.clone())?;
        let fit = ciou::trace(tape, decoded, matches, spec.detach_alpha)?;
        boxes.push((spec.box_gain, matched_mean::trace(tape, fit, matches, -1.0, 1.0)?));

        let target = target(tape, level, fit)?;
        let channels = Channels { first: OBJECTNESS, step: columns };
        let loss = binary_cross_entropy::trace(tape, head, target, channels)?;
        objectness.push((spec.objectness_gain * spec.balance[level], loss));

        if spec.classes > 1 {
            let logits = slice::trace(tape, rows, BOX_CHANNELS..columns)?;
            let loss = class_loss::trace(tape, logits, matches, spec.label_smoothing)?;
            classes.push((spec.class_gain, loss));
        }
    }
    let box_loss = weighted_sum::trace(tape, &boxes)?;
    let objectness = weighted_sum::trace(tape, &objectness)?;
    let class = match classes.is_empty() {
        true => None,
        false => Some(weighted_sum::trace(tape, &classes)?),
    };
    let terms: Vec<_> =
        [Some(box_loss), Some(objectness), class].into_iter().flatten().map(|v| (1.0, v)).collect();
    let total = weighted_sum::trace(tape, &terms)?;
    Ok(DetectionLossValues { total, box_loss, objectness, class })
}

#[cfg(test)]
mod tests;
