//! One program of a claim: planned, run, watched.

use std::sync::Arc;

use serde::Serialize;

use super::Context;
use super::row::Point;
use crate::analysis::cost::moved_bytes;
use crate::analysis::meter::Reading;
use crate::analysis::workload::{INPUT, Traced};
use crate::compile::{Options, Processor, Program, compile};
use crate::device::{Device, Session};
use crate::graph::{Graph, Mode};
use crate::nn::Block;
use crate::ops::Value;
use crate::tensor::{Shape, Tensor};
use crate::train::MeasuredStep;
use crate::{Error, Result};

/// A program, what was planned of it, and what was seen when it ran.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// What it computes.
    pub name: String,
    /// Bytes of arena, parameters and states, as planned.
    pub planned_bytes: usize,
    /// The same as the device holds them.
    pub held_bytes: usize,
    /// Bytes between kernels and memory, as the cost model says: each operand of each kernel once, and inputs
    /// copied to where kernels read them.
    pub moved_bytes: usize,
    /// What the meter saw while it was loaded and run: bytes of the whole process.
    #[serde(flatten)]
    pub reading: Reading,
}

impl Run {
    /// What is wrong with it: memory that was not planned.
    pub(super) fn complaint(&self) -> Option<String> {
        let Run { name, planned_bytes, held_bytes, .. } = self;
        (planned_bytes != held_bytes)
            .then(|| format!("{name}: {planned_bytes} bytes are planned, and {held_bytes} are held"))
    }
}

/// A program that ran.
pub(super) struct Observed {
    pub program: Arc<Program>,
    pub session: Box<dyn Session>,
    pub run: Run,
    /// Bytes that copying inputs to where kernels read them moved.
    pub copied: usize,
    /// Whether the meter counts traffic to the byte.
    is_exact: bool,
}

impl Observed {
    /// Bytes that kernels read and write, as the cost model says, without the copying of inputs.
    pub fn moved(&self) -> f64 {
        (self.run.moved_bytes - self.copied) as f64
    }

    /// Bytes that kernels read and wrote, without the copying of inputs, where they were counted to the byte.
    pub fn traffic(&self) -> Option<f64> {
        let (read, written) = self.run.reading.traffic.filter(|_| self.is_exact)?;
        Some((read + written) as f64 - self.copied as f64)
    }
}

/// What weights and scratch memory, which are not in the formulas, may add to a ratio of bytes.
pub(super) const BLUR: f64 = 0.02;

/// Bytes held by one as a share of those held by the other, beside the plans' and what the formula says.
pub(super) fn held(label: &str, expected: f64, [one, other]: [&Observed; 2]) -> Point {
    let share = |read: fn(&Run) -> usize| read(&one.run) as f64 / read(&other.run) as f64;
    Point {
        label: label.to_owned(),
        expected,
        predicted: share(|run| run.planned_bytes),
        measured: Some(share(|run| run.held_bytes)),
        tolerance: Some(BLUR),
    }
}

/// Traces `block` on a map of `shape`.
pub(super) fn traced(block: &dyn Block, shape: Shape, mode: Mode) -> Result<Traced> {
    trace(shape, mode, |graph, x| Ok(vec![block.named(graph, "block", x)?]))
}

/// Traces `body` on a map of `shape`.
pub(super) fn trace(
    shape: Shape,
    mode: Mode,
    body: impl FnOnce(&mut Graph, Value) -> Result<Vec<Value>>,
) -> Result<Traced> {
    let mut graph = Graph::new(mode);
    let input = graph.map_input(INPUT, shape)?;
    let maps = body(&mut graph, input)?;
    Ok(Traced { graph, input, maps })
}

impl Context<'_> {
    /// How traffic is counted, for a row that rests on it.
    pub fn counting(&self) -> String {
        let rests =
            if self.meter.is_exact() { "" } else { "; no verdict rests on what is not counted to the byte" };
        format!("traffic: {}{rests}", self.meter.how())
    }

    /// A map of `channels` at the settings' size.
    pub fn map(&self, channels: usize) -> Shape {
        Shape::new(1, self.settings.size, self.settings.size, channels)
    }

    /// Everything on, but no kernel over several convolutions: as the papers count, one conv after the other.
    pub fn by_layer(&self) -> Options {
        Options { fuse_blocks: None, ..Options::new(self.counted.processor()) }
    }

    /// Compiles the step of `traced`, runs it once on new memory, and once more for its traffic.
    ///
    /// # Errors
    /// Where memory cannot be had, or the device fails.
    pub fn observe(&mut self, name: &str, traced: Traced, options: Options) -> Result<Observed> {
        let MeasuredStep { graph, feeds } = MeasuredStep::new(traced, true)?;
        let program = Arc::new(compile(&graph, options)?);
        let state = graph.initial_state(0);
        let feeds: Vec<(&str, &Tensor)> =
            feeds.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        // Reading the state waits for the device; an output would be memory of our own beside the device's.
        let finish = |session: &dyn Session| session.state().map(|_| ());
        let mut held = None;
        let memory = self.meter.watch(&mut || {
            let mut session = self.counted.session(program.clone())?;
            session.load(&state)?;
            session.step(&feeds)?;
            finish(&*session)?;
            held = Some(session);
            Ok(())
        })?;
        let Some(mut session) = held else {
            return Err(Error::internal("a meter did not run what it was to watch"));
        };
        feeds.iter().try_for_each(|(name, tensor)| session.feed(name, tensor))?;
        let traffic = self.meter.watch(&mut || session.run().and_then(|()| finish(&*session)))?.traffic;
        // On a device of its own an input comes to the arena by a copy on the device, which reads and writes it.
        let copied = match self.counted.processor() {
            Processor::Cuda(_) => {
                program.inputs.iter().map(|(_, slot)| 2 * slot.shape.elements() * slot.dtype.size()).sum()
            }
            _ => 0,
        };
        // Plans are of f32, and the reference device computes in f64.
        let widened = if matches!(self.counted, Device::Reference) { 2 } else { 1 };
        let run = Run {
            name: name.to_owned(),
            planned_bytes: program.report.total_bytes() * widened,
            held_bytes: session.held_bytes(),
            moved_bytes: moved_bytes(&program) + copied,
            reading: Reading { traffic, ..memory },
        };
        Ok(Observed { program, session, run, copied, is_exact: self.meter.is_exact() })
    }
}
