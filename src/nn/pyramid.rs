//! Pooling blocks.

use super::{Block, Style};
use crate::Result;
use crate::graph::Graph;
use crate::ops::max_pool::{self, MaxPool};
use crate::ops::{Value, concat};

/// Max pooling as a block.
#[derive(Clone, Debug)]
pub struct MaxPooling(pub MaxPool);

impl MaxPooling {
    /// 2×2 windows, stride 2.
    pub fn half() -> Self {
        MaxPooling(MaxPool::square(2, 2, 0))
    }
}

impl Block for MaxPooling {
    fn trace(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        max_pool::trace(graph, x, self.0.clone())
    }
}

/// Spatial pyramid pooling (He et al. 2014, as in YOLO): the concat of x and of its max poolings of
/// stride 1 with each window size.
#[derive(Clone, Debug)]
pub struct Spp {
    /// The window sizes, odd.
    pub windows: Vec<usize>,
}

impl Block for Spp {
    fn trace(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let mut parts = vec![x];
        for &window in &self.windows {
            parts.push(max_pool::trace(graph, x, MaxPool::square(window, 1, window / 2))?);
        }
        // The largest window first, as in Darknet's files.
        parts.reverse();
        concat::trace(graph, &parts)
    }
}

/// YOLOv7-tiny's SPP in a cross-stage partial: two transitions read x; one crosses, the other is pooled
/// and goes through a transition; their concat through a last one.
#[derive(Clone, Debug)]
pub struct SppCsp {
    /// The window sizes.
    pub windows: Vec<usize>,
    /// Channels of all transitions.
    pub filters: usize,
    /// The transitions' style.
    pub style: Style,
}

impl Block for SppCsp {
    fn trace(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let transition = self.style.transition(self.filters);
        let crossing = transition.named(graph, "crossing", x)?;
        let entry = transition.named(graph, "entry", x)?;
        let pooled = Spp { windows: self.windows.clone() }.named(graph, "pyramid", entry)?;
        let inner = transition.named(graph, "inner", pooled)?;
        let joined = concat::trace(graph, &[crossing, inner])?;
        transition.named(graph, "transition", joined)
    }
}
