//! Layers that read, or are read with, the outputs of earlier ones: DenseNet, SparseNet, VoVNet.

use super::{Block, Style};
use crate::Result;
use crate::graph::Graph;
use crate::ops::{Value, concat};

/// DenseNet's block (Huang et al. 2017): layer k reads the concat of the block's input and all earlier
/// outputs; each layer makes `growth` channels by a 3×3 unit. Output: the concat of all.
#[derive(Clone, Debug)]
pub struct Dense {
    /// Channels that each layer adds.
    pub growth: usize,
    /// The number of layers.
    pub layers: usize,
    /// The units' style.
    pub style: Style,
}

impl Block for Dense {
    fn trace(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let mut parts = vec![x];
        for layer in 0..self.layers {
            let input = concat::trace(graph, &parts)?;
            let unit = self.style.unit(self.growth, 3);
            parts.push(unit.named(graph, &format!("layer{layer}"), input)?);
        }
        concat::trace(graph, &parts)
    }
}

/// SparseNet's block (Zhu et al. 2018): as [`Dense`], but a layer reads only the outputs at distances
/// 1, 2, 4, 8, …; the block's input counts as output 0.
#[derive(Clone, Debug)]
pub struct Sparse {
    /// Channels that each layer adds.
    pub growth: usize,
    /// The number of layers.
    pub layers: usize,
    /// The units' style.
    pub style: Style,
}

/// What a reader at position `at` sees of `parts[..at]`.
fn at_powers_of_two(parts: &[Value]) -> Vec<Value> {
    let mut seen: Vec<Value> = std::iter::successors(Some(1usize), |d| d.checked_mul(2))
        .map_while(|d| parts.len().checked_sub(d))
        .map(|i| parts[i])
        .collect();
    seen.reverse();
    seen
}

impl Block for Sparse {
    fn trace(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let mut parts = vec![x];
        for layer in 0..self.layers {
            let input = concat::trace(graph, &at_powers_of_two(&parts))?;
            let unit = self.style.unit(self.growth, 3);
            parts.push(unit.named(graph, &format!("layer{layer}"), input)?);
        }
        concat::trace(graph, &at_powers_of_two(&parts))
    }
}

/// VoVNet's one-shot aggregation (OSA, Lee et al. 2019): `layers` 3×3 units in a row; the block's input
/// and every unit's output are concatenated once, and one transition to `filters` ends it. Without the
/// transition (a stage of stacked modules that keeps only the last one's) the concat is the output.
#[derive(Clone, Debug)]
pub struct OneShot {
    /// Channels of each unit.
    pub inner: usize,
    /// The number of units.
    pub layers: usize,
    /// Channels of the transition, where there is one.
    pub transition: Option<usize>,
    /// The units' style.
    pub style: Style,
}

impl Block for OneShot {
    fn trace(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let mut parts = vec![x];
        let mut last = x;
        for layer in 0..self.layers {
            last = self.style.unit(self.inner, 3).named(graph, &format!("layer{layer}"), last)?;
            parts.push(last);
        }
        let joined = concat::trace(graph, &parts)?;
        match self.transition {
            Some(filters) => self.style.transition(filters).named(graph, "transition", joined),
            None => Ok(joined),
        }
    }
}
