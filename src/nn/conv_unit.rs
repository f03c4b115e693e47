//! The unit of every network here: conv → batch norm → activation.

use super::Block;
use crate::Result;
use crate::graph::{Graph, Init, Mode};
use crate::ops::batch_norm::{self, NormSpec};
use crate::ops::conv::{self, Geometry};
use crate::ops::{Tape, Value};
use crate::runtime::Activation;
use crate::tensor::Shape;

/// What all units of a network have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Style {
    /// The activation.
    pub activation: Activation,
    /// The norm's constants.
    pub norm: NormSpec,
}

impl Default for Style {
    fn default() -> Self {
        Style { activation: Activation::Silu, norm: NormSpec::default() }
    }
}

impl Style {
    /// Units with `activation` and the usual norm.
    pub fn new(activation: Activation) -> Self {
        Style { activation, ..Style::default() }
    }

    /// A unit of this style, stride 1.
    pub fn unit(self, filters: usize, kernel: usize) -> ConvUnit {
        ConvUnit { filters, geometry: Geometry::same(kernel, 1), style: self }
    }

    /// A transition: a 1×1 unit.
    pub fn transition(self, filters: usize) -> ConvUnit {
        self.unit(filters, 1)
    }

    /// A 3×3 unit of stride 2.
    pub fn down(self, filters: usize) -> ConvUnit {
        self.unit(filters, 3).stride(2)
    }
}

/// conv (no bias) → batch norm → activation: `[n, h, w, c]` → `[n, h', w', filters]`.
///
/// Parameters `weight`, `gamma`, `beta`; state `running` `[1, 1, 2, filters]`.
#[derive(Clone, Debug)]
pub struct ConvUnit {
    /// Output channels.
    pub filters: usize,
    /// Kernel, stride, padding, dilation, groups.
    pub geometry: Geometry,
    /// Activation and norm.
    pub style: Style,
}

impl ConvUnit {
    /// The same with another stride.
    pub fn stride(mut self, stride: usize) -> Self {
        self.geometry.stride = [stride; 2];
        self
    }

    /// The same in groups.
    pub fn groups(mut self, groups: usize) -> Self {
        self.geometry.groups = groups;
        self
    }
}

impl Block for ConvUnit {
    fn trace(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let shape = self.geometry.weight(graph.shape(x).c, self.filters);
        let vector = Shape::vector(self.filters);
        let weight = graph.parameter("weight", shape, Init::he(shape))?;
        let gamma = graph.parameter("gamma", vector, Init::Constant(1.0))?;
        let beta = graph.parameter("beta", vector, Init::Constant(0.0))?;
        let statistics = Shape::new(1, 1, 2, self.filters);
        let running = graph.state("running", statistics, Init::Rows(vec![0.0, 1.0]))?;
        let z = conv::trace(graph, x, weight, None, self.geometry)?;
        let (vectors, Style { norm, activation }) = ([gamma, beta, running], self.style);
        match graph.mode() {
            Mode::Inference => batch_norm::trace_inference(graph, z, vectors, norm, activation),
            Mode::Training => {
                let normalized = batch_norm::trace_training(graph, z, vectors, norm, activation)?;
                graph.assign(running, normalized.running)?;
                Ok(normalized.y)
            }
        }
    }
}
