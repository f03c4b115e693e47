//! What each layer costs: parameters, operations, and the bytes it moves before and after the compiler.
//!
//! Nothing is counted that is not also executed: operations are [`crate::ops::Op::cost`] of the traced
//! nodes, bytes the operands of those nodes (unfused) and of the compiled program's steps (fused).

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::AddAssign;

use serde::Serialize;

use super::kernels::{self, Work};
use super::layers::{describe, layers};
use crate::compile::{Program, Step};
use crate::graph::{Graph, Node, Source};
use crate::ops::Tape;
use crate::tensor::{DType, Shape};
use crate::{Error, Result};

/// Numbers of parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Parameters {
    /// Learned by gradient: weights, biases, scales and shifts of norms.
    pub learnable: usize,
    /// What a weights file holds: these and the running statistics.
    pub stored: usize,
}

/// Floating-point operations, of the whole batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Flops {
    /// Every op counts, and a multiply-add is 2.
    pub mac2: f64,
    /// Darknet's count ("BFLOPs"): a multiply-add is 2, and only convolutions (without bias and norm)
    /// and max poolings count, of what is traced here.
    pub darknet: f64,
}

/// Bytes of f32 that cross between the kernels and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Every node as traced, concats and slices too, reads its inputs once and writes its outputs once.
    pub unfused: usize,
    /// What the steps of the compiled program move ([`super::kernels`]). What depends on weights alone is
    /// computed when they are loaded, and is not in it.
    pub fused: usize,
}

/// What a layer costs, or a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Parameters; one that several layers share counts at its first.
    pub params: Parameters,
    /// Floating-point operations.
    pub flops: Flops,
    /// Bytes moved.
    pub bytes: Traffic,
    /// Elements that convolutions take in and put out ([`crate::ops::Cost::cio`]).
    pub cio: f64,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.params.learnable += other.params.learnable;
        self.params.stored += other.params.stored;
        self.flops.mac2 += other.flops.mac2;
        self.flops.darknet += other.flops.darknet;
        self.bytes.unfused += other.bytes.unfused;
        self.bytes.fused += other.bytes.fused;
        self.cio += other.cio;
    }
}

/// A layer and what it costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// The dotted path of the scopes it was traced in.
    pub name: String,
    /// What it does, op by op.
    pub ops: Vec<String>,
    /// The shape of what it hands on, `[n, h, w, c]`.
    pub output: Shape,
    /// What it costs.
    #[serde(flatten)]
    pub cost: Cost,
}

/// The layers of `graph`'s forward pass with their costs; `program` is compiled from `graph`, which was
/// traced for inference.
///
/// A step of the program belongs to the layer that its op was traced in. Where several layers share a
/// scope, a copy that the compiler had to add may be counted at another of them; the sum is exact.
///
/// # Errors
/// Where `program` is of another graph.
pub fn cost(graph: &Graph, program: &Program) -> Result<Vec<Layer>> {
    let mut counted = HashSet::new();
    let mut open = OpenLayers::default();
    let mut result = Vec::new();
    for (index, layer) in layers(graph).into_iter().enumerate() {
        let nodes: Vec<&Node> = layer.nodes.iter().map(|&node| &graph.nodes()[node]).collect();
        let mut cost = Cost::default();
        for node in &nodes {
            cost += node_cost(graph, node);
            for &value in node.inputs.iter().filter(|&&v| counted.insert(v)) {
                let info = graph.info(value);
                let elements = info.shape.elements();
                match info.source {
                    Source::Parameter(_) => {
                        cost.params.learnable += elements;
                        cost.params.stored += elements;
                    }
                    Source::State(_) => cost.params.stored += elements,
                    _ => {}
                }
            }
        }
        open.push(index, &layer.scope, nodes.iter().map(|node| node.op.name()).collect());
        let ops = nodes.iter().map(|node| describe(&*node.op)).collect();
        result.push(Layer { name: layer.scope, ops, output: graph.shape(layer.output), cost });
    }
    for step in &program.steps {
        let layer = open.layer_of(step).and_then(|index| result.get_mut(index));
        let layer = layer.ok_or_else(|| Error::internal("the program is of another graph"))?;
        layer.cost.bytes.fused += Work::of(step, program.processor).bytes();
    }
    Ok(result)
}

/// The sum over layers.
pub fn total(layers: &[Layer]) -> Cost {
    let mut total = Cost::default();
    layers.iter().for_each(|layer| total += layer.cost);
    total
}

/// The operations of every node of `graph`, backward and update included.
pub fn operations(graph: &Graph) -> Flops {
    nodes(graph).flops
}

/// What every node of `graph` costs, backward and update included; parameters and fused bytes are not in it.
pub fn nodes(graph: &Graph) -> Cost {
    let mut total = Cost::default();
    graph.nodes().iter().for_each(|node| total += node_cost(graph, node));
    total
}

/// The convolutional input and output (CIO) of `graph`: the elements that enter and leave its forward convolutions,
/// a measure of traffic that leaves out weights and everything else (HarDNet, Chao et al. 2019).
pub fn cio(graph: &Graph) -> usize {
    nodes(graph).cio as usize
}

/// The operations of every kernel of `program`: of what runs, where [`operations`] is of what was traced.
pub fn executed(program: &Program) -> Flops {
    kernels::total(program).flops
}

/// The bytes that a run of `program` reads and writes: the sum over its kernels and stores.
pub fn moved_bytes(program: &Program) -> usize {
    kernels::total(program).bytes()
}

fn node_cost(graph: &Graph, node: &Node) -> Cost {
    let shapes = |values: &[_]| -> Vec<Shape> { values.iter().map(|&v| graph.shape(v)).collect() };
    let (inputs, outputs) = (shapes(&node.inputs), shapes(&node.outputs));
    let cost = node.op.cost(&inputs, &outputs);
    let elements: usize = inputs.iter().chain(&outputs).map(Shape::elements).sum();
    Cost {
        params: Parameters::default(),
        flops: Flops { mac2: cost.flops, darknet: cost.darknet_flops },
        bytes: Traffic { unfused: elements * DType::F32.size(), fused: 0 },
        cio: cost.cio,
    }
}

/// Finds the layer of each step, where steps come in the order of layers. By scope: its layers in order,
/// each with the names of the ops that no step has claimed yet.
#[derive(Default)]
struct OpenLayers {
    by_scope: HashMap<String, VecDeque<(usize, Vec<&'static str>)>>,
}

impl OpenLayers {
    fn push(&mut self, index: usize, scope: &str, names: Vec<&'static str>) {
        self.by_scope.entry(scope.to_owned()).or_default().push_back((index, names));
    }

    fn layer_of(&mut self, step: &Step) -> Option<usize> {
        let layers = self.by_scope.get_mut(&step.scope)?;
        let name = step.op.name();
        if let Some(position) = layers.iter().position(|(_, names)| names.contains(&name)) {
            layers.drain(..position);
            let names = &mut layers.front_mut()?.1;
            names.iter().position(|n| *n == name).map(|claimed| names.swap_remove(claimed));
        }
        layers.front().map(|(index, _)| *index)
    }
}

#[cfg(test)]
#[path = "cost_tests.rs"]
mod tests;
