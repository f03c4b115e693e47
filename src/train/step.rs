//! One training step as one program: forward, loss, backward, optimiser, averages.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::optimizer::{AVERAGE, DECAY, MOMENTUM, Optimizer, RATE, trace_averages, trace_minimize};
use super::{OptimizerKind, Schedule, TrainConfig};
use crate::compile::Program;
use crate::data::Batch;
use crate::detect::{Head, Target, assign};
use crate::device::{Device, Session};
use crate::graph::{Graph, Mode};
use crate::ops::decode_box::Grid;
use crate::ops::detection_loss::{self, DetectionLoss};
use crate::ops::matches::column;
use crate::tensor::{Shape, Tensor};
use crate::zoo::Network;
use crate::{Error, ErrorKind, Result};

/// Objects an image may have on average before matches are dropped.
const OBJECTS_PER_IMAGE: usize = 48;

/// The losses of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepLoss {
    /// The sum that is minimised.
    pub total: f64,
    /// The box loss, weighted.
    pub box_loss: f64,
    /// The objectness loss, weighted.
    pub objectness: f64,
    /// The class loss, weighted.
    pub class: f64,
    /// Matches that did not fit into the tables.
    pub dropped: usize,
}

/// A step that was fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    number: usize,
    dropped: usize,
}

/// A network's training step on a device.
pub struct TrainStep {
    session: Box<dyn Session>,
    head: Head,
    input: Shape,
    capacity: usize,
    kind: OptimizerKind,
}

impl TrainStep {
    /// Traces and compiles the step of `network` for batches `input [n, h, w, 3]`.
    ///
    /// # Errors
    /// Where the input does not suit the network.
    pub fn graph(
        network: &Network,
        head: &Head,
        input: Shape,
        optimizer: Optimizer,
        label_smoothing: f64,
    ) -> Result<Graph> {
        let mut graph = Graph::new(Mode::Training);
        let images = graph.input("images", input)?;
        let heads = network.trace(&mut graph, images, head.classes)?;
        if heads.maps.len() != head.levels.len() {
            return Err(Error::invalid("the anchors are for another number of heads than the network has"));
        }
        let capacity = capacity(head, input.n);
        let mut levels = Vec::new();
        let mut pairs = Vec::new();
        for (level, (map, spec)) in heads.maps.iter().zip(&head.levels).enumerate() {
            let table = Shape::new(1, 1, capacity, column::COUNT);
            pairs.push((*map, graph.input(&matches_name(level), table)?));
            levels.push(Grid { stride: spec.stride as f64, anchors: spec.anchors.clone() });
        }
        let mut spec = DetectionLoss::new(head.classes, levels, input.h, input.w);
        spec.label_smoothing = label_smoothing;
        let loss = graph.scope("loss", |graph| detection_loss::trace(graph, &pairs, &spec))?;
        graph.output("total", loss.total)?;
        graph.output("box", loss.box_loss)?;
        graph.output("objectness", loss.objectness)?;
        if let Some(class) = loss.class {
            graph.output("class", class)?;
        }
        trace_minimize(&mut graph, loss.total, optimizer)?;
        trace_averages(&mut graph)?;
        Ok(graph)
    }

    /// The step that a training with the default config has, for whoever wants to know what it costs:
    /// anchors of plausible sizes stand for those that are fitted to data.
    ///
    /// # Errors
    /// Where the input does not suit the network.
    pub fn typical_graph(network: &Network, input: Shape, classes: usize) -> Result<Graph> {
        let mut anchors = Vec::new();
        for &stride in network.strides {
            let side = |i: usize| (stride * (i + 2)) as f32;
            anchors.extend((0..network.anchors_per_head).map(|i| [side(i), side(i)]));
        }
        let head = Head::new(classes, network.strides, &anchors)?;
        let config = TrainConfig::default();
        let optimizer = Optimizer { kind: config.optimizer, weight_decay: config.weight_decay };
        Self::graph(network, &head, input, optimizer, config.label_smoothing)
    }

    /// The step on `device`, with `state` as it begins (see [`Graph::initial_state`]).
    ///
    /// # Errors
    /// Where the step cannot be compiled or `state` does not fit.
    pub fn new(
        program: Arc<Program>,
        head: Head,
        input: Shape,
        kind: OptimizerKind,
        device: &Device,
        state: &BTreeMap<String, Tensor>,
    ) -> Result<Self> {
        let mut session = device.session(program)?;
        session.load(state)?;
        let capacity = capacity(&head, input.n);
        Ok(TrainStep { session, head, input, capacity, kind })
    }

    /// Runs step `number` (from 0) of `schedule` on `batch`.
    ///
    /// # Errors
    /// Where the batch has another shape, or the loss is no longer a number.
    pub fn run(&mut self, batch: &Batch, number: usize, schedule: &Schedule) -> Result<StepLoss> {
        let fed = self.feed(batch, number, schedule)?;
        self.begin()?;
        self.losses(&fed)
    }

    /// Whether [`TrainStep::feed`] may be called before the last step's losses were read: the device
    /// copies the next batch while it computes.
    pub fn feeds_ahead(&self) -> bool {
        self.session.feeds_ahead()
    }

    /// Hands the device what step `number` (from 0) of `schedule` on `batch` needs.
    ///
    /// # Errors
    /// Where the batch has another shape.
    pub fn feed(&mut self, batch: &Batch, number: usize, schedule: &Schedule) -> Result<Fed> {
        let mut targets = Vec::new();
        for (image, objects) in batch.targets.iter().enumerate() {
            for object in objects.iter().filter(|o| !o.ignore) {
                targets.push(Target { image, class: object.class, bounds: object.bounds });
            }
        }
        let assignment = assign(&self.head, self.input, &targets, self.capacity)?;
        self.session.feed("images", &batch.images)?;
        for (level, matches) in assignment.levels.iter().enumerate() {
            self.session.feed(&matches_name(level), &matches.table)?;
        }
        let rate = schedule.rate_at(number) as f32;
        let scalar = |value: f64| Tensor::scalar(value as f32);
        match self.kind {
            OptimizerKind::Sgd => {
                self.session.feed(RATE, &scalar(f64::from(rate)))?;
                self.session.feed(MOMENTUM, &scalar(schedule.momentum_at(number)))?;
            }
            OptimizerKind::AdamW => {
                self.session.feed(RATE, &Tensor::new(Shape::vector(2), vec![rate, (number + 1) as f32])?)?;
            }
        }
        self.session.feed(DECAY, &scalar(schedule.decay_at(number)))?;
        Ok(Fed { number, dropped: assignment.levels.iter().map(|m| m.dropped).sum() })
    }

    /// Begins the step that was fed.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn begin(&mut self) -> Result<()> {
        self.session.run()
    }

    /// The losses of the step that was begun last, which `fed` was handed for.
    ///
    /// # Errors
    /// Where the loss is no longer a number.
    pub fn losses(&self, fed: &Fed) -> Result<StepLoss> {
        let read = |name: &str| -> Result<f64> { Ok(f64::from(self.session.output(name)?.data()[0])) };
        let loss = StepLoss {
            total: read("total")?,
            box_loss: read("box")?,
            objectness: read("objectness")?,
            class: if self.session.program().outputs.iter().any(|(n, _)| n == "class") {
                read("class")?
            } else {
                0.0
            },
            dropped: fed.dropped,
        };
        if !loss.total.is_finite() {
            let message = format!("the loss is no longer a number at step {}", fed.number + 1);
            return Err(Error::new(ErrorKind::Numeric, message)
                .fix("train again with a smaller learning rate, e.g. --lr a third of this one"));
        }
        Ok(loss)
    }

    /// Everything that is kept between steps.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        self.session.state()
    }

    /// The averaged weights under the network's own names: what inference uses.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn averaged(&self) -> Result<BTreeMap<String, Tensor>> {
        let state = self.state()?;
        let averages =
            state.into_iter().filter_map(|(name, t)| Some((name.strip_prefix(AVERAGE)?.to_owned(), t)));
        Ok(averages.collect())
    }

    /// Bytes of device memory held.
    pub fn held_bytes(&self) -> usize {
        self.session.held_bytes()
    }
}

fn matches_name(level: usize) -> String {
    format!("matches {level}")
}

fn capacity(head: &Head, batch: usize) -> usize {
    head.capacity(batch, OBJECTS_PER_IMAGE)
}
