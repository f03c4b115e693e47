//! The workloads that speed and memory are measured on: inference and a training step of the zoo's
//! networks. A training step is that of `benches/peers/training.py`: the loss is Σ over heads of
//! mean(head²), the optimiser SGD with Nesterov momentum 0.937 and weight decay 5e-4.

use std::time::{Duration, Instant};

use gradpath::Result;
use gradpath::analysis::cost::operations;
use gradpath::analysis::workload::{self, Subject};
use gradpath::device::{Device, Session};
use gradpath::graph::Mode;
use gradpath::tensor::{Shape, Tensor};
use gradpath::train::MeasuredStep;
use gradpath::zoo;

/// Classes of the heads: those of COCO.
const CLASSES: usize = 80;

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// A network of the zoo.
    pub network: &'static str,
    /// Training or inference.
    pub mode: Mode,
    /// Height and width of the images.
    pub size: usize,
    /// Images at a time.
    pub batch: usize,
}

/// A workload that is ready to run.
pub struct Prepared {
    /// The session: parameters set, the scalars and images not.
    pub session: Box<dyn Session>,
    feeds: Vec<(String, Tensor)>,
    /// Operations of a run by Darknet's count; a training step is three times the forward's.
    pub flops: f64,
}

impl Workload {
    fn trace(&self, mode: Mode) -> Result<workload::Traced> {
        let subject = Subject::Network { network: zoo::find(self.network)?, classes: CLASSES };
        workload::Workload { subject, input: Shape::new(self.batch, self.size, self.size, 3) }.trace(mode)
    }

    /// Traces, compiles and loads it.
    ///
    /// # Errors
    /// Where the size does not suit the network, or memory cannot be had.
    pub fn prepare(&self, device: &Device) -> Result<Prepared> {
        let MeasuredStep { graph, feeds } = MeasuredStep::new(self.trace(self.mode)?, false)?;
        let session = device.begin(&graph, 0)?;
        let forward = operations(&self.trace(Mode::Inference)?.graph).darknet;
        let flops = forward * if self.mode == Mode::Training { 3.0 } else { 1.0 };
        Ok(Prepared { session, feeds, flops })
    }
}

impl Prepared {
    /// Feeds everything that a run reads.
    ///
    /// # Errors
    /// None where the session was made by [`Workload::prepare`].
    pub fn feed(&mut self) -> Result<()> {
        self.feeds.iter().try_for_each(|(name, tensor)| self.session.feed(name, tensor))
    }

    /// Feeds, runs and reads what comes out: what a user waits for.
    ///
    /// # Errors
    /// As the session's.
    pub fn run(&mut self) -> Result<()> {
        self.feed()?;
        self.session.run()?;
        let names: Vec<String> =
            self.session.program().outputs.iter().map(|(name, _)| name.clone()).collect();
        names.iter().try_for_each(|name| self.session.output(name).map(|_| ()))
    }

    /// The runs that fit `budget` (at least 3), after `warmup` runs.
    ///
    /// # Errors
    /// As [`Prepared::run`].
    pub fn time(&mut self, warmup: usize, budget: Duration) -> Result<Times> {
        (0..warmup).try_for_each(|_| self.run())?;
        let start = Instant::now();
        let (mut wall, mut processor) = (Vec::new(), Vec::new());
        while wall.len() < 3 || start.elapsed() < budget {
            let (run, before) = (Instant::now(), processor_seconds());
            self.run()?;
            wall.push(run.elapsed().as_secs_f64());
            processor.push(processor_seconds() - before);
        }
        wall.sort_by(f64::total_cmp);
        processor.sort_by(f64::total_cmp);
        Ok(Times { wall, processor })
    }
}

/// Seconds of each run, the shortest first.
pub struct Times {
    /// By the clock on the wall.
    pub wall: Vec<f64>,
    /// That threads of this process ran, all together: what other processes do lengthens it little.
    pub processor: Vec<f64>,
}

impl Times {
    /// The run in the middle, by the clock on the wall.
    pub fn median(&self) -> f64 {
        self.wall[self.wall.len() / 2]
    }
}

/// Seconds that threads of this process have run so far (Linux; 0 elsewhere).
fn processor_seconds() -> f64 {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return 0.0 };
    let nanoseconds = threads.flatten().filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() / 1e9
}
