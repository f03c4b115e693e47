//! The graph as the compiler's passes rewrite it.

use std::sync::Arc;

use crate::graph::{Graph, Node, Pass, Source, ValueInfo};
use crate::ops::{Op, Value};
use crate::tensor::{DType, Shape};
use crate::{Error, Result};

/// A graph under rewriting: nodes in an order they can run in, values that may lose or gain readers.
#[derive(Clone, Debug)]
pub(super) struct Lowered {
    pub nodes: Vec<Node>,
    pub values: Vec<ValueInfo>,
    pub outputs: Vec<(String, Value)>,
    pub assignments: Vec<(Value, Value)>,
    /// States that a program of their own makes, with their element types.
    pub prepared: Vec<(Value, DType)>,
}

/// Who makes and who reads each value: positions in [`Lowered::nodes`].
#[derive(Debug)]
pub(super) struct Uses {
    pub producer: Vec<Option<usize>>,
    pub readers: Vec<Vec<usize>>,
    /// Whether the value is an output of the graph or is assigned to something.
    pub leaves: Vec<bool>,
}

impl Uses {
    /// The only node that reads `value`, where there is just one and the value does not leave.
    pub fn only_reader(&self, value: Value) -> Option<usize> {
        match self.readers[value.index()][..] {
            [reader] if !self.leaves[value.index()] => Some(reader),
            _ => None,
        }
    }
}

impl Lowered {
    pub fn new(graph: &Graph) -> Self {
        Lowered {
            nodes: graph.nodes().to_vec(),
            values: graph.values().map(|(_, info)| info.clone()).collect(),
            outputs: graph.outputs().to_vec(),
            assignments: graph.assignments().to_vec(),
            prepared: Vec::new(),
        }
    }

    pub fn shape(&self, value: Value) -> Shape {
        self.values[value.index()].shape
    }

    pub fn shapes(&self, values: &[Value]) -> Vec<Shape> {
        values.iter().map(|&v| self.shape(v)).collect()
    }

    /// Whether `value` is kept between steps.
    pub fn is_persistent(&self, value: Value) -> bool {
        matches!(self.values[value.index()].source, Source::Parameter(_) | Source::State(_))
    }

    /// A new value, made by whichever node lists it in its outputs.
    pub fn value(&mut self, shape: Shape, name: &str) -> Result<Value> {
        let index = u32::try_from(self.values.len()).map_err(|_| Error::internal("too many values"))?;
        // The indices in a `Source::Node` go stale under rewriting; `uses` is what passes ask.
        let source = Source::Node { node: usize::MAX, output: 0 };
        self.values.push(ValueInfo { shape, source, name: name.to_owned(), is_map: false });
        Ok(Value(index))
    }

    /// A node of `op` over `inputs` with new output values, not yet placed among the others.
    pub fn node(&mut self, op: Arc<dyn Op>, inputs: Vec<Value>, scope: &str, pass: Pass) -> Result<Node> {
        let shapes = op.output_shapes(&self.shapes(&inputs))?;
        let outputs = shapes.into_iter().map(|s| self.value(s, scope)).collect::<Result<_>>()?;
        Ok(Node { op, inputs, outputs, scope: scope.to_owned(), pass })
    }

    pub fn uses(&self) -> Uses {
        let count = self.values.len();
        let mut uses = Uses {
            producer: vec![None; count],
            readers: vec![Vec::new(); count],
            leaves: vec![false; count],
        };
        for (index, node) in self.nodes.iter().enumerate() {
            for value in &node.inputs {
                if uses.readers[value.index()].last() != Some(&index) {
                    uses.readers[value.index()].push(index);
                }
            }
            node.outputs.iter().for_each(|v| uses.producer[v.index()] = Some(index));
        }
        for value in self.outputs.iter().map(|(_, v)| v).chain(self.assignments.iter().map(|(_, v)| v)) {
            uses.leaves[value.index()] = true;
        }
        uses
    }

    /// Drops the nodes that neither an output nor an assignment needs.
    pub fn prune(&mut self) {
        let mut needed = self.uses().leaves;
        let mut keep = vec![false; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate().rev() {
            keep[index] = node.outputs.iter().any(|v| needed[v.index()]);
            if keep[index] {
                node.inputs.iter().for_each(|v| needed[v.index()] = true);
            }
        }
        let mut keep = keep.into_iter();
        self.nodes.retain(|_| keep.next().unwrap_or(false));
    }

    /// Inserts nodes before positions of [`Lowered::nodes`]; those for one position keep their order.
    pub fn insert(&mut self, mut inserted: Vec<(usize, Node)>) {
        inserted.sort_by_key(|(at, _)| *at);
        let mut inserted = inserted.into_iter().peekable();
        let mut nodes = Vec::with_capacity(self.nodes.len());
        for (index, node) in std::mem::take(&mut self.nodes).into_iter().enumerate() {
            while let Some((_, new)) = inserted.next_if(|(at, _)| *at <= index) {
                nodes.push(new);
            }
            nodes.push(node);
        }
        nodes.extend(inserted.map(|(_, node)| node));
        self.nodes = nodes;
    }
}
