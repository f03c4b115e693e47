//! The steps that are measured: a workload's inference, and a training step that needs no labels; and the ways
//! to run each that are put side by side.

use std::sync::Arc;

use super::optimizer::{MOMENTUM, Optimizer, RATE, trace_updates};
use crate::Result;
use crate::analysis::bench::Candidate;
use crate::analysis::mean_square_loss;
use crate::analysis::workload::{INPUT, Subject, Traced, Workload};
use crate::autograd::backward;
use crate::compile::{Options, Processor};
use crate::graph::{Graph, Mode};
use crate::ops::Value;
use crate::tensor::{Random, Shape, Tensor};

/// A step with what it is fed.
#[derive(Debug)]
pub struct MeasuredStep {
    /// The step.
    pub graph: Graph,
    /// A tensor for every input.
    pub feeds: Vec<(String, Tensor)>,
}

impl MeasuredStep {
    /// Makes the step of `traced`, in the mode in which it was traced.
    ///
    /// Inference puts out the maps. A training step has the loss Σ over maps of mean(map²), its gradient with
    /// respect to every parameter, and SGD with Nesterov momentum 0.937 and weight decay 5e-4; with
    /// `input_gradient` also the gradient of the input, as a block inside of a network computes it.
    /// The input is uniform in 0..1.
    ///
    /// # Errors
    /// Where a part of it has no gradient.
    pub fn new(traced: Traced, input_gradient: bool) -> Result<Self> {
        let Traced { mut graph, input, maps } = traced;
        let images = Tensor::uniform(graph.info(input).shape, 0.0, 1.0, &mut Random::new(1));
        let mut feeds = vec![(INPUT.to_owned(), images)];
        if graph.mode() == Mode::Inference {
            for (index, &map) in maps.iter().enumerate() {
                graph.output(&format!("map{index}"), map)?;
            }
            return Ok(MeasuredStep { graph, feeds });
        }
        let loss = mean_square_loss(&mut graph, &maps)?;
        graph.output("loss", loss)?;
        let parameters: Vec<Value> = graph.parameters().map(|(value, _)| value).collect();
        let mut wanted = parameters.clone();
        wanted.extend(input_gradient.then_some(input));
        let mut gradients = backward(&mut graph, loss, &wanted)?;
        if input_gradient && let Some(gradient) = gradients.pop() {
            graph.output("input gradient", gradient)?;
        }
        let pairs: Vec<(Value, Value)> = parameters.into_iter().zip(gradients).collect();
        trace_updates(&mut graph, Optimizer::sgd(5e-4), &pairs)?;
        for (name, value) in [(RATE, 0.01), (MOMENTUM, 0.937)] {
            feeds.push((name.to_owned(), Tensor::full(Shape::scalar(), value)));
        }
        Ok(MeasuredStep { graph, feeds })
    }
}

/// The candidates of `workload`: fused; with `unfused` also fused within layers only (which is the same on
/// devices without kernels for whole blocks), and every node as it was traced; and of a block, the same stage
/// without what the block is about.
///
/// # Errors
/// Where the workload cannot take its input.
pub fn candidates(workload: &Workload, mode: Mode, unfused: bool) -> Result<Vec<Candidate>> {
    let is_block = matches!(workload.subject, Subject::Block(_));
    let step = |traced: Traced| MeasuredStep::new(traced, is_block);
    let MeasuredStep { graph, feeds } = step(workload.trace(mode)?)?;
    let graph = Arc::new(graph);
    let candidate = |name: &str, options: fn(Processor) -> Options| Candidate {
        name: name.to_owned(),
        graph: graph.clone(),
        options,
        feeds: feeds.clone(),
    };
    let mut candidates = vec![candidate("fused", Options::new)];
    if unfused {
        let by_layer = |processor| Options { fuse_blocks: None, ..Options::new(processor) };
        candidates.push(candidate("by layer", by_layer));
        candidates.push(candidate("unfused", Options::plain));
    }
    if let Some((name, traced)) = workload.trace_without(mode)? {
        let MeasuredStep { graph, feeds } = step(traced)?;
        let (name, graph) = (name.to_owned(), Arc::new(graph));
        candidates.push(Candidate { name, graph, options: Options::new, feeds });
    }
    Ok(candidates)
}
