//! The graph: what a model leaves behind when it is called on symbolic values.

mod init;
mod interpret;
mod print;

use std::collections::HashMap;
use std::sync::Arc;

pub use init::Init;
pub use interpret::{Feeds, interpret};

use crate::ops::{Op, Tape, Value};
use crate::tensor::{Shape, Tensor};
use crate::{Error, Result};

/// Whether a model is traced to be trained or to be run. Batch norm, for one, is another node in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Batch statistics; states are updated.
    Training,
    /// Running statistics; nothing is written but outputs.
    Inference,
}

/// Which part of a step a node belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pass {
    /// The model and its loss.
    Forward,
    /// Gradients.
    Backward,
    /// Optimiser, moving averages.
    Update,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Fed at every step.
    Input,
    /// Learned; kept between steps and in weight files.
    Parameter(Init),
    /// Not learned by gradient, but kept between steps (running statistics, momentum, averages).
    State(Init),
    /// Output `output` of node `node`.
    Node {
        /// The node's index.
        node: usize,
        /// Which of its outputs.
        output: usize,
    },
}

/// What the graph knows of a value.
#[derive(Clone, Debug)]
pub struct ValueInfo {
    /// The shape.
    pub shape: Shape,
    /// Where it comes from.
    pub source: Source,
    /// The name: of an input, a parameter or a state; of a node's value, the node's.
    pub name: String,
    /// Of an input: whether it is stored as maps are, on a device that has several element types for them.
    pub is_map: bool,
}

/// One op applied to values.
#[derive(Clone, Debug)]
pub struct Node {
    /// The op.
    pub op: Arc<dyn Op>,
    /// What it reads.
    pub inputs: Vec<Value>,
    /// What it writes.
    pub outputs: Vec<Value>,
    /// The dotted path of the scopes it was traced in, e.g. `backbone.stage1.conv0`.
    pub scope: String,
    /// The part of the step it belongs to.
    pub pass: Pass,
}

/// A traced model: nodes in the order of tracing, which is an order they can run in.
#[derive(Clone, Debug)]
pub struct Graph {
    mode: Mode,
    nodes: Vec<Node>,
    values: Vec<ValueInfo>,
    outputs: Vec<(String, Value)>,
    assignments: Vec<(Value, Value)>,
    named: HashMap<String, Value>,
    scope: Vec<String>,
    pass: Pass,
}

impl Graph {
    /// An empty graph.
    pub fn new(mode: Mode) -> Self {
        Graph {
            mode,
            nodes: Vec::new(),
            values: Vec::new(),
            outputs: Vec::new(),
            assignments: Vec::new(),
            named: HashMap::new(),
            scope: Vec::new(),
            pass: Pass::Forward,
        }
    }

    /// Whether the model is traced to be trained or to be run.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// A value that is fed at every step.
    ///
    /// # Errors
    /// Where the name is taken.
    pub fn input(&mut self, name: &str, shape: Shape) -> Result<Value> {
        self.named_value(name.to_owned(), shape, Source::Input)
    }

    /// A value that is fed at every step and is a map like those inside of the graph: what enters a block that
    /// stands alone. Other inputs, pictures and tables, are stored in f32 on every device.
    ///
    /// # Errors
    /// Where the name is taken.
    pub fn map_input(&mut self, name: &str, shape: Shape) -> Result<Value> {
        let value = self.input(name, shape)?;
        self.values[value.index()].is_map = true;
        Ok(value)
    }

    /// A learned tensor, named by `name` in the current scope, filled by `init` when a training begins.
    ///
    /// # Errors
    /// Where the name is taken.
    pub fn parameter(&mut self, name: &str, shape: Shape, init: Init) -> Result<Value> {
        let name = self.scoped(name);
        self.named_value(name, shape, Source::Parameter(init))
    }

    /// A kept tensor that is not learned, named by `name` in the current scope.
    ///
    /// # Errors
    /// Where the name is taken.
    pub fn state(&mut self, name: &str, shape: Shape, init: Init) -> Result<Value> {
        let name = self.scoped(name);
        self.named_value(name, shape, Source::State(init))
    }

    fn named_value(&mut self, name: String, shape: Shape, source: Source) -> Result<Value> {
        shape.checked_elements()?;
        if self.named.contains_key(&name) {
            return Err(Error::invalid(format!("the name {name:?} is taken twice in one graph")));
        }
        let value = self.push_value(shape, source, name.clone())?;
        self.named.insert(name, value);
        Ok(value)
    }

    fn push_value(&mut self, shape: Shape, source: Source, name: String) -> Result<Value> {
        let index = u32::try_from(self.values.len()).map_err(|_| Error::internal("too many values"))?;
        self.values.push(ValueInfo { shape, source, name, is_map: false });
        Ok(Value(index))
    }

    /// Traces `body` in the scope `name`: what it names is named `name.…`.
    ///
    /// # Errors
    /// Those of `body`.
    pub fn scope<R>(&mut self, name: &str, body: impl FnOnce(&mut Graph) -> Result<R>) -> Result<R> {
        self.scope.push(name.to_owned());
        let result = body(self);
        self.scope.pop();
        result
    }

    /// `name` behind the dotted path of the current scopes.
    pub fn scoped(&self, name: &str) -> String {
        let mut path = self.scope.join(".");
        if !path.is_empty() && !name.is_empty() {
            path.push('.');
        }
        path + name
    }

    /// Traces `body` as part of another pass.
    ///
    /// # Errors
    /// Those of `body`.
    pub fn in_pass<R>(&mut self, pass: Pass, body: impl FnOnce(&mut Graph) -> Result<R>) -> Result<R> {
        let before = std::mem::replace(&mut self.pass, pass);
        let result = body(self);
        self.pass = before;
        result
    }

    /// Names `value` as an output: it can be read after a step.
    ///
    /// # Errors
    /// Where an output of that name exists.
    pub fn output(&mut self, name: &str, value: Value) -> Result<()> {
        if self.outputs.iter().any(|(n, _)| n == name) {
            return Err(Error::invalid(format!("the graph has two outputs named {name:?}")));
        }
        self.outputs.push((name.to_owned(), value));
        Ok(())
    }

    /// At the end of a step the parameter or state `target` holds `value`.
    ///
    /// # Errors
    /// Where `target` is no parameter or state, was assigned before, or the shapes differ.
    pub fn assign(&mut self, target: Value, value: Value) -> Result<()> {
        let info = self.info(target);
        if !matches!(info.source, Source::Parameter(_) | Source::State(_)) {
            return Err(Error::invalid(format!("{:?} is no parameter or state", info.name)));
        }
        if self.assignments.iter().any(|(t, _)| *t == target) {
            return Err(Error::invalid(format!("{:?} is assigned twice", info.name)));
        }
        if info.shape != self.info(value).shape {
            return Err(Error::shape("assign", &[info.shape, self.info(value).shape], "the shapes differ"));
        }
        self.assignments.push((target, value));
        Ok(())
    }

    /// The nodes, in an order they can run in.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// How many values there are; their indices are `0..count`.
    pub fn value_count(&self) -> usize {
        self.values.len()
    }

    /// What is known of `value`.
    pub fn info(&self, value: Value) -> &ValueInfo {
        &self.values[value.index()]
    }

    /// The node that makes `value`, if one does.
    pub fn producer(&self, value: Value) -> Option<&Node> {
        match self.info(value).source {
            Source::Node { node, .. } => self.nodes.get(node),
            _ => None,
        }
    }

    /// The named outputs, in order.
    pub fn outputs(&self) -> &[(String, Value)] {
        &self.outputs
    }

    /// The output of that name.
    pub fn find_output(&self, name: &str) -> Option<Value> {
        self.outputs.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
    }

    /// Which parameters and states get a new value, and which.
    pub fn assignments(&self) -> &[(Value, Value)] {
        &self.assignments
    }

    /// All values in order, with what is known of them.
    pub fn values(&self) -> impl Iterator<Item = (Value, &ValueInfo)> {
        self.values.iter().enumerate().map(|(i, info)| (Value(i as u32), info))
    }

    /// The parameters in the order of tracing.
    pub fn parameters(&self) -> impl Iterator<Item = (Value, &ValueInfo)> {
        self.values().filter(|(_, info)| matches!(info.source, Source::Parameter(_)))
    }

    /// What is kept between steps (parameters and states) in the order of tracing.
    pub fn persistent(&self) -> impl Iterator<Item = (Value, &ValueInfo)> {
        self.values().filter(|(_, info)| matches!(info.source, Source::Parameter(_) | Source::State(_)))
    }

    /// The input, parameter or state of that (whole) name.
    pub fn find(&self, name: &str) -> Option<Value> {
        self.named.get(name).copied()
    }

    /// Fresh tensors for everything that is kept between steps, by name: what a training begins with.
    pub fn initial_state(&self, seed: u64) -> std::collections::BTreeMap<String, Tensor> {
        self.persistent()
            .filter_map(|(_, info)| match &info.source {
                Source::Parameter(init) | Source::State(init) => {
                    Some((info.name.clone(), init.tensor(info.shape, seed, &info.name)))
                }
                _ => None,
            })
            .collect()
    }
}

impl Tape for Graph {
    fn add_node(&mut self, op: Box<dyn Op>, inputs: &[Value]) -> Result<Vec<Value>> {
        let scope = self.scoped("");
        let shapes: Vec<Shape> = inputs.iter().map(|&v| self.shape(v)).collect();
        let outputs = op.output_shapes(&shapes).map_err(|e| match scope.is_empty() {
            true => e,
            false => e.fix(format!("it stands in {scope}")),
        })?;
        let node = self.nodes.len();
        let mut values = Vec::with_capacity(outputs.len());
        for (output, shape) in outputs.into_iter().enumerate() {
            shape.checked_elements()?;
            values.push(self.push_value(shape, Source::Node { node, output }, scope.clone())?);
        }
        let (op, inputs, pass) = (Arc::from(op), inputs.to_vec(), self.pass);
        self.nodes.push(Node { op, inputs, outputs: values.clone(), scope, pass });
        Ok(values)
    }

    fn shape(&self, value: Value) -> Shape {
        self.info(value).shape
    }
}
