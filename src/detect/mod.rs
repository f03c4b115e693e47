//! The host's part of detection: anchors, assignment of objects to anchors, decoding of the head's
//! maps, non-maximum suppression, and average precision.
//!
//! Everything here works on plain arrays. In training, [`assign`] turns a batch's boxes into tables
//! of a fixed size that the loss (graph ops) reads; at inference, [`detect`] turns the head's maps
//! into detections; in evaluation an [`Evaluator`] compares those with the truth.

mod anchors;
mod assign;
mod average_precision;
mod bounds;
mod decode;
mod detector;
#[cfg(test)]
mod golden;
mod head;
mod nms;
mod summary;

pub use anchors::{AnchorFit, anchor_fit, anchors_for, kmeans_anchors, refine_anchors};
pub use assign::{Assignment, Matches, Target, assign, column};
pub use average_precision::{Evaluator, Truth};
pub use bounds::Bounds;
pub use decode::{Decode, Labels, decode, detect};
pub use detector::Detector;
pub use head::{Head, HeadLevel, MAX_RATIO, size_ratio};
pub use nms::{Nms, nms};
pub use summary::{ClassSummary, Summary};

/// One detected object.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Detection {
    /// Where it is, in pixels.
    pub bounds: Bounds,
    /// The confidence, in `[0, 1]` from [`decode`]; anything finite for NMS and average precision,
    /// which only compare scores.
    pub score: f32,
    /// The class's index, from 0.
    pub class: usize,
}

/// The order of two scores, the higher first; a score that is not a number equals every other.
fn by_score(a: f32, b: f32) -> std::cmp::Ordering {
    b.partial_cmp(&a).unwrap_or(std::cmp::Ordering::Equal)
}
