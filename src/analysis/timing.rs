//! Times of programs on a device: in rounds, so that what else the machine does falls on all alike.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::meter::{Meter, Reading};
use crate::compile::Program;
use crate::device::{Device, Session};
use crate::tensor::Tensor;
use crate::{Error, Result};

/// What the times of one program come to, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Timing {
    /// Runs that were timed.
    pub runs: usize,
    /// The median.
    pub median: f64,
    /// The shortest.
    pub least: f64,
    /// A quarter of the runs took no longer.
    pub lower_quartile: f64,
    /// A quarter of the runs took no less.
    pub upper_quartile: f64,
}

impl Timing {
    /// Sums up `seconds`, in any order; all zero where there are none.
    pub fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        Timing {
            runs: seconds.len(),
            median: quantile(&seconds, 0.5),
            least: seconds.first().copied().unwrap_or_default(),
            lower_quartile: quantile(&seconds, 0.25),
            upper_quartile: quantile(&seconds, 0.75),
        }
    }

    /// How far the middle half of the runs spreads, as a share of the median.
    pub fn spread(&self) -> f64 {
        if self.median > 0.0 { (self.upper_quartile - self.lower_quartile) / self.median } else { 0.0 }
    }
}

/// The value below which the share `part` of `sorted` lies, between two neighbours in proportion; 0 of
/// none.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = part * sorted.len().saturating_sub(1) as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    match (sorted.get(low), sorted.get(high)) {
        (Some(a), Some(b)) => a + (b - a) * (at - at.floor()),
        _ => 0.0,
    }
}

/// A program with memory of its own, and what it is fed.
pub struct Runner {
    session: Box<dyn Session>,
    feeds: Vec<(String, Tensor)>,
    /// Runs for each time that it is fed.
    burst: usize,
}

/// Seconds that a burst is to last on a device that keeps its inputs: host and device then have little to
/// say to each other between runs, as in a loop of inference.
const BURST_SECONDS: f64 = 0.002;
/// The most runs in a burst.
const LONGEST_BURST: usize = 64;

impl Runner {
    /// A session of `program` with `state` loaded, after two runs to warm up.
    ///
    /// # Errors
    /// Where memory cannot be had, or the program fails.
    pub fn new(
        device: &Device,
        program: Arc<Program>,
        state: &BTreeMap<String, Tensor>,
        feeds: Vec<(String, Tensor)>,
    ) -> Result<Self> {
        let mut runner = Runner { session: device.session(program)?, feeds, burst: 1 };
        runner.warm_up(state)?;
        Ok(runner)
    }

    /// As [`Runner::new`], and what `meter` saw: the most that was allocated while it ran, its session's memory
    /// included and loading left out; the most that was resident, loading included; and a run's traffic.
    ///
    /// # Errors
    /// As [`Runner::new`], or where the meter fails.
    pub fn watched(
        device: &Device,
        program: Arc<Program>,
        state: &BTreeMap<String, Tensor>,
        feeds: Vec<(String, Tensor)>,
        meter: &mut dyn Meter,
    ) -> Result<(Self, Reading)> {
        let mut session = None;
        let begun = meter.watch(&mut || {
            session = Some(device.session(program.clone())?);
            Ok(())
        })?;
        let session = session.ok_or_else(|| Error::internal("a meter did not run what it was to watch"))?;
        let mut runner = Runner { session, feeds, burst: 1 };
        // Memory that was zeroed by the system is not resident before it is touched, which is here.
        let loaded = meter.watch(&mut || runner.warm_up(state))?;
        let burst = std::mem::replace(&mut runner.burst, 1);
        let ran = meter.watch(&mut || runner.sample().map(|_| ()))?;
        runner.burst = burst;
        let sum = |parts: &[Option<usize>]| parts.iter().copied().sum::<Option<usize>>();
        let reading = Reading {
            allocated_peak: sum(&[begun.allocated_peak, ran.allocated_peak]),
            resident_peak: sum(&[begun.resident_peak, loaded.resident_peak, ran.resident_peak]),
            traffic: ran.traffic,
        };
        Ok((runner, reading))
    }

    /// Loads `state`, runs twice, and finds out how many runs make a burst.
    fn warm_up(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        self.session.load(state)?;
        self.sample()?;
        let last = self.sample()?.last().copied().unwrap_or_default();
        if self.session.feeds_ahead() {
            self.burst = (BURST_SECONDS / last.max(1e-6)).ceil().clamp(1.0, LONGEST_BURST as f64) as usize;
        }
        Ok(())
    }

    /// Feeds the inputs and runs: seconds of each run, without the feeding.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn sample(&mut self) -> Result<Vec<f64>> {
        for (name, tensor) in &self.feeds {
            self.session.feed(name, tensor)?;
        }
        Ok(self.session.time_runs(self.burst)?.iter().map(Duration::as_secs_f64).collect())
    }

    /// Bytes of device memory held.
    pub fn held_bytes(&self) -> usize {
        self.session.held_bytes()
    }
}

/// Rounds that are run however long they take.
const FEWEST_ROUNDS: usize = 3;
/// Rounds after which times are known well enough.
const MOST_ROUNDS: usize = 10_000;

/// Times `runners` in turn, A B C A B C …, for about `budget` and at least three rounds. `done` is called
/// after each round with the share of the budget that is spent, 0 to 1.
///
/// # Errors
/// Where the device fails.
pub fn interleaved(
    runners: &mut [Runner],
    budget: Duration,
    done: &mut dyn FnMut(f64),
) -> Result<Vec<Timing>> {
    let mut seconds = vec![Vec::new(); runners.len()];
    let start = Instant::now();
    for round in 0..MOST_ROUNDS {
        if round >= FEWEST_ROUNDS && start.elapsed() >= budget {
            break;
        }
        for (runner, seconds) in runners.iter_mut().zip(&mut seconds) {
            seconds.extend(runner.sample()?);
        }
        done((start.elapsed().as_secs_f64() / budget.as_secs_f64().max(1e-9)).min(1.0));
    }
    Ok(seconds.into_iter().map(Timing::of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, Mode};
    use crate::ops::{Tape, copy::Copy};
    use crate::tensor::Shape;

    #[test]
    fn medians_and_quartiles_by_hand() {
        let odd = Timing::of(vec![5.0, 1.0, 3.0]);
        assert_eq!((odd.median, odd.least, odd.lower_quartile, odd.upper_quartile), (3.0, 1.0, 2.0, 4.0));
        let even = Timing::of(vec![4.0, 1.0, 3.0, 2.0]);
        assert_eq!((even.median, even.lower_quartile, even.upper_quartile), (2.5, 1.75, 3.25));
        assert_eq!(even.spread(), 0.6);
        let one = Timing::of(vec![7.0]);
        assert_eq!((one.median, one.spread(), one.runs), (7.0, 0.0, 1));
        assert_eq!(Timing::of(Vec::new()), Timing::default());
    }

    #[test]
    fn every_runner_runs_in_every_round() {
        let mut graph = Graph::new(Mode::Inference);
        let shape = Shape::new(1, 2, 2, 4);
        let x = graph.input("x", shape).unwrap();
        let y = graph.apply(Box::new(Copy), &[x]).unwrap();
        graph.output("y", y).unwrap();
        let device = Device::cpu(1).unwrap();
        let runner = || {
            let feeds = vec![("x".to_owned(), Tensor::full(shape, 2.0))];
            Runner::new(&device, device.compile(&graph).unwrap(), &BTreeMap::new(), feeds).unwrap()
        };
        let mut rounds = 0;
        let mut runners = [runner(), runner()];
        let timings = interleaved(&mut runners, Duration::ZERO, &mut |share| {
            rounds += 1;
            assert!((0.0..=1.0).contains(&share));
        })
        .unwrap();
        assert_eq!(rounds, FEWEST_ROUNDS);
        assert_eq!(timings.iter().map(|t| t.runs).collect::<Vec<_>>(), [3, 3]);
        // What was timed did run.
        assert_eq!(runners[1].session.output("y").unwrap(), Tensor::full(shape, 2.0));
    }
}
