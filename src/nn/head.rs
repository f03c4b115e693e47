//! Detection heads.

use crate::Result;
use crate::graph::{Graph, Init};
use crate::ops::conv::{self, Geometry};
use crate::ops::{Tape, Value};
use crate::tensor::Shape;

/// The last convolution of a scale: 1×1 with bias to `anchors·(5 + classes)` channels, raw logits.
/// Channel order per anchor: x, y, w, h, objectness, classes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectionHead {
    /// Anchors at this scale.
    pub anchors: usize,
    /// Classes.
    pub classes: usize,
}

impl DetectionHead {
    /// Traces the head on `x`. The bias begins so that about 8 objects an image are expected over the
    /// map's cells and classes are equally likely (the focal-loss paper's prior, as YOLOv5 sets it).
    ///
    /// # Errors
    /// Where the shapes do not fit.
    pub fn trace(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let shape = graph.shape(x);
        let columns = 5 + self.classes;
        let weight_shape = Shape::new(self.anchors * columns, 1, 1, shape.c);
        let cells = (shape.h * shape.w * 3).max(9) as f32;
        let mut pattern = vec![0.0; columns];
        pattern[4] = (8.0 / cells).min(0.5).ln();
        pattern[5..].fill((0.6 / (self.classes as f32 - 0.99).max(0.01)).min(1.0).ln());
        let weight = graph.parameter("weight", weight_shape, Init::Normal { deviation: 0.01 })?;
        let bias = graph.parameter("bias", Shape::vector(self.anchors * columns), Init::Pattern(pattern))?;
        conv::trace(graph, x, weight, Some(bias), Geometry::same(1, 1))
    }
}
