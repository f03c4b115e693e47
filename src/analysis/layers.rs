//! A graph in layers: the nodes that were traced in one scope, one after the other.

use crate::graph::{Graph, Pass};
use crate::ops::activation::Activate;
use crate::ops::batch_norm::Normalize;
use crate::ops::conv::Conv;
use crate::ops::max_pool::MaxPool;
use crate::ops::upsample::Upsample;
use crate::ops::{Op, Value};
use crate::runtime::Activation;

/// A layer: consecutive forward nodes of one scope. A conv unit is one, and so is a pooling, a concat
/// or a residual add that stands between units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerNodes {
    /// The scope; layers that were traced in the same scope, with others between them, share it.
    pub scope: String,
    /// Indices into [`Graph::nodes`], in order.
    pub nodes: Vec<usize>,
    /// What the layer hands on: the last of its values that another layer reads; where none is read,
    /// the last node's.
    pub output: Value,
}

/// The layers of the graph's forward pass in the order of tracing. Every forward node is in one.
pub fn layers(graph: &Graph) -> Vec<LayerNodes> {
    let mut layers: Vec<LayerNodes> = Vec::new();
    let forward = graph.nodes().iter().enumerate().filter(|(_, node)| node.pass == Pass::Forward);
    for (index, node) in forward {
        let Some(&output) = node.outputs.last() else { continue };
        match layers.last_mut() {
            Some(layer) if layer.scope == node.scope => {
                layer.nodes.push(index);
                layer.output = output;
            }
            _ => layers.push(LayerNodes { scope: node.scope.clone(), nodes: vec![index], output }),
        }
    }
    let mut layer_of = vec![None; graph.nodes().len()];
    for (index, layer) in layers.iter().enumerate() {
        layer.nodes.iter().for_each(|&node| layer_of[node] = Some(index));
    }
    // Only forward readers count: backward reads what is inside a layer too.
    let mut read_by = vec![Vec::new(); graph.value_count()];
    for (node, layer) in graph.nodes().iter().zip(&layer_of) {
        let Some(layer) = *layer else { continue };
        node.inputs.iter().for_each(|v| read_by[v.index()].push(layer));
    }
    for (index, layer) in layers.iter_mut().enumerate() {
        let mut values = layer.nodes.iter().flat_map(|&node| &graph.nodes()[node].outputs);
        let handed_on = |v: &&Value| read_by[v.index()].iter().any(|&reader| reader != index);
        layer.output = values.rfind(handed_on).copied().unwrap_or(layer.output);
    }
    layers
}

/// What `op` does, with the attributes that a table of layers wants: `conv 3×3/2`, `max pool 2×2/2`.
pub(super) fn describe(op: &dyn Op) -> String {
    let window = |kernel: [usize; 2], stride: [usize; 2]| {
        let stride = match stride {
            [1, 1] => String::new(),
            [down, right] if down == right => format!("/{down}"),
            [down, right] => format!("/{down}×{right}"),
        };
        format!("{} {}×{}{stride}", op.name(), kernel[0], kernel[1])
    };
    let activated = |activation: Activation| match activation {
        Activation::Linear => op.name().to_owned(),
        activation => format!("{} {activation}", op.name()),
    };
    if let Some(conv) = op.downcast::<Conv>() {
        let text = window(conv.geometry.kernel, conv.geometry.stride);
        match conv.geometry.groups {
            1 => text,
            groups => format!("{text} in {groups} groups"),
        }
    } else if let Some(pool) = op.downcast::<MaxPool>() {
        window(pool.kernel, pool.stride)
    } else if let Some(norm) = op.downcast::<Normalize>() {
        activated(norm.activation)
    } else if let Some(Activate(activation)) = op.downcast::<Activate>() {
        activation.to_string()
    } else if let Some(upsample) = op.downcast::<Upsample>() {
        format!("{} ×{}", op.name(), upsample.factor)
    } else {
        op.name().to_owned()
    }
}
