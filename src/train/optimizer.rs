//! The optimiser as nodes of the graph: one update for each parameter, in place.

use super::config::OptimizerKind;
use crate::Result;
use crate::autograd::backward;
use crate::graph::{Graph, Init, Pass};
use crate::ops::{Tape, Value, adamw, ema, sgd};
use crate::tensor::Shape;

/// What an optimiser does to every parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optimizer {
    /// Which one.
    pub kind: OptimizerKind,
    /// Weight decay; convolution weights alone get it, norms and biases do not.
    pub weight_decay: f64,
}

impl Optimizer {
    /// SGD with Nesterov momentum.
    pub fn sgd(weight_decay: f64) -> Self {
        Optimizer { kind: OptimizerKind::Sgd, weight_decay }
    }
}

/// The names of the inputs that an update reads at every step: learning rate, momentum (SGD) and the
/// step's number from 1 (AdamW), each a scalar.
pub const RATE: &str = "learning rate";
/// See [`RATE`].
pub const MOMENTUM: &str = "momentum";
/// The average's decay, a scalar.
pub const DECAY: &str = "average decay";
/// The prefix of the averaged weights' names among the states.
pub const AVERAGE: &str = "average.";
/// The prefix of the optimiser's states.
pub const OPTIMIZER: &str = "optimizer.";

/// Traces what makes a step of training out of a model and its loss: the gradient of `loss` with respect
/// to every parameter, and every parameter's update, as [`trace_updates`] says.
///
/// # Errors
/// Where `loss` is no scalar, or depends on a parameter through an op without a gradient.
pub fn trace_minimize(graph: &mut Graph, loss: Value, optimizer: Optimizer) -> Result<()> {
    let parameters: Vec<Value> = graph.parameters().map(|(v, _)| v).collect();
    let gradients = backward(graph, loss, &parameters)?;
    let pairs: Vec<(Value, Value)> = parameters.into_iter().zip(gradients).collect();
    trace_updates(graph, optimizer, &pairs)
}

/// Traces the update of every parameter by its gradient: `pairs` are (parameter, gradient). States are
/// named `optimizer.…`; the graph gets the inputs [`RATE`] and, for SGD, [`MOMENTUM`].
///
/// # Errors
/// Where shapes differ or a parameter is assigned already.
pub fn trace_updates(graph: &mut Graph, optimizer: Optimizer, pairs: &[(Value, Value)]) -> Result<()> {
    graph.in_pass(Pass::Update, |graph| {
        let hyper = match optimizer.kind {
            OptimizerKind::Sgd => Shape::scalar(),
            OptimizerKind::AdamW => Shape::vector(2),
        };
        let rate = graph.input(RATE, hyper)?;
        let momentum = match optimizer.kind {
            OptimizerKind::Sgd => Some(graph.input(MOMENTUM, Shape::scalar())?),
            OptimizerKind::AdamW => None,
        };
        for &(parameter, gradient) in pairs {
            let info = graph.info(parameter);
            let (name, shape) = (info.name.clone(), info.shape);
            let is_vector = shape.pixels() == 1;
            let weight_decay = if is_vector { 0.0 } else { optimizer.weight_decay };
            let state = |graph: &mut Graph, what: &str| {
                graph.state(&format!("{OPTIMIZER}{what}.{name}"), shape, Init::Constant(0.0))
            };
            if let Some(momentum) = momentum {
                let velocity = state(graph, "velocity")?;
                let inputs = sgd::Inputs { parameter, gradient, velocity, rate, momentum };
                let next = sgd::trace(graph, sgd::Sgd { weight_decay, nesterov: true }, inputs)?;
                graph.assign(parameter, next.0)?;
                graph.assign(velocity, next.1)?;
            } else {
                let first_moment = state(graph, "first_moment")?;
                let second_moment = state(graph, "second_moment")?;
                let inputs =
                    adamw::Inputs { parameter, gradient, first_moment, second_moment, rate_and_step: rate };
                let op = adamw::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay };
                let next = adamw::trace(graph, op, inputs)?;
                graph.assign(parameter, next.0)?;
                graph.assign(first_moment, next.1)?;
                graph.assign(second_moment, next.2)?;
            }
        }
        Ok(())
    })
}

/// Traces the exponential moving average of everything that was assigned so far and is a weight or a
/// running statistic: states `average.…`, input [`DECAY`].
///
/// # Errors
/// Where the graph has averages already.
pub fn trace_averages(graph: &mut Graph) -> Result<()> {
    graph.in_pass(Pass::Update, |graph| {
        let decay = graph.input(DECAY, Shape::scalar())?;
        for (target, value) in graph.assignments().to_vec() {
            let info = graph.info(target);
            if info.name.starts_with(OPTIMIZER) {
                continue;
            }
            let (name, shape) = (format!("{AVERAGE}{}", info.name), graph.shape(target));
            let average = graph.state(&name, shape, Init::Constant(0.0))?;
            let next = ema::trace(graph, average, value, decay)?;
            graph.assign(average, next)?;
        }
        Ok(())
    })
}
