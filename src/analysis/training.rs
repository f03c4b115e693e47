//! A training step to measure: any network with the plainest loss and optimiser.

use crate::Result;
use crate::autograd::backward;
use crate::graph::{Graph, Init, Mode, Pass};
use crate::ops::sgd::{self, Sgd};
use crate::ops::{Value, mean_square, weighted_sum};
use crate::tensor::Shape;
use crate::zoo::{Heads, Network};

/// Traces `Σ over heads of mean(head²)`: a loss that needs no labels and reaches every parameter.
///
/// # Errors
/// Where there is no head.
pub fn mean_square_loss(graph: &mut Graph, heads: &Heads) -> Result<Value> {
    let terms = heads
        .maps
        .iter()
        .map(|&map| Ok((1.0, mean_square::trace(graph, map)?)))
        .collect::<Result<Vec<_>>>()?;
    weighted_sum::trace(graph, &terms)
}

/// A whole training step of `network` on `images [n, h, w, 3]`: forward, [`mean_square_loss`], backward,
/// and SGD with momentum on every parameter. Inputs: `images`, `rate`, `momentum`; output: `loss`.
///
/// # Errors
/// Where the network cannot take such images.
pub fn training_graph(network: &Network, images: Shape, classes: usize) -> Result<Graph> {
    let mut graph = Graph::new(Mode::Training);
    let images = graph.input("images", images)?;
    let heads = network.trace(&mut graph, images, classes)?;
    let loss = mean_square_loss(&mut graph, &heads)?;
    graph.output("loss", loss)?;
    let parameters: Vec<(Value, String, Shape)> =
        graph.parameters().map(|(value, info)| (value, info.name.clone(), info.shape)).collect();
    let values: Vec<Value> = parameters.iter().map(|p| p.0).collect();
    let gradients = backward(&mut graph, loss, &values)?;
    let rate = graph.input("rate", Shape::scalar())?;
    let momentum = graph.input("momentum", Shape::scalar())?;
    graph.in_pass(Pass::Update, |graph| {
        for ((parameter, name, shape), gradient) in parameters.into_iter().zip(gradients) {
            let velocity = graph.state(&format!("velocity.{name}"), shape, Init::Constant(0.0))?;
            let inputs = sgd::Inputs { parameter, gradient, velocity, rate, momentum };
            let step = Sgd { weight_decay: 0.0, nesterov: false };
            let (next, next_velocity) = sgd::trace(graph, step, inputs)?;
            graph.assign(parameter, next)?;
            graph.assign(velocity, next_velocity)?;
        }
        Ok(())
    })?;
    Ok(graph)
}
