//! Which tile is the fastest: each convolution of a program is run alone on the device, in every tile that it
//! can be cut into.
//!
//! Operands lie as they do in the program, each in memory of its own, and hold random numbers. A candidate's
//! results are held against those of the tile that is taken unasked; one that computes something else, or cannot
//! be compiled or launched, is left out with a warning. Runs follow each other without anything in between, so
//! that small operands stay in the second-level cache: times are of warm runs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::CudaSession;
use super::launches::{Addresses, Launches, launches};
use crate::compile::{Memory, MemoryReport, Persistent, Program, Slot, Step, WORD};
use crate::device::Session;
use crate::ops::{Op, TileChoice};
use crate::report::{Progress, number};
use crate::runtime::cuda::{Cuda, Target, Tuning};
use crate::tensor::{DType, Random, Shape, Tensor};
use crate::{Error, ErrorKind, Result};

/// Bytes that every operand's address is a multiple of, less its offset: a driver's allocations are, and so is
/// every buffer in the arena.
const ALIGNMENT: usize = 256;
/// Seconds for which a candidate is run, unless that is fewer than [`LEAST_RUNS`] runs or more than [`MOST_RUNS`].
const BUDGET: f64 = 0.02;
const LEAST_RUNS: usize = 5;
const MOST_RUNS: usize = 100;
/// Candidates that take up to this much of the fastest one's time are timed again before one is taken: the first
/// were timed by a device that was still waking up.
const FINALISTS: f64 = 1.1;

/// How a candidate is timed: the seconds of one run of the session, whose program is the step alone.
pub type Stopwatch<'a> = dyn FnMut(&Step, &mut dyn Session) -> Result<f64> + 'a;

/// What came of [`tune`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tuned {
    /// Operations of the program that have tiles to choose from, each counted once however often it occurs.
    pub operations: usize,
    /// How many of them were known already.
    pub known: usize,
    /// How many were measured now. One whose usual tile cannot be run alone is not.
    pub measured: usize,
    /// Seconds that all of them take in one step of the program, in the tiles that were chosen.
    pub seconds: f64,
    /// The same in the tiles that are taken where nobody has measured.
    pub usual_seconds: f64,
    /// Which candidates were left out, and why.
    pub warnings: Vec<String>,
}

impl fmt::Display for Tuned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [tuned, usual] = [self.seconds, self.usual_seconds]
            .map(|seconds| number::duration(Duration::try_from_secs_f64(seconds).unwrap_or_default()));
        let known = match self.known {
            0 => String::new(),
            known => format!(", {known} were known"),
        };
        let measured = self.measured;
        write!(
            f,
            "measured the tiles of {measured} convolutions{known}: {tuned} a step, {usual} in the usual tiles"
        )
    }
}

/// The median of several runs on the device, by its own clock.
///
/// # Errors
/// Where it fails.
pub fn time_on_device(_step: &Step, session: &mut dyn Session) -> Result<f64> {
    let once = median(session.time_runs(3)?);
    let runs = (BUDGET / once.max(1e-9)) as usize;
    Ok(median(session.time_runs(runs.clamp(LEAST_RUNS, MOST_RUNS))?))
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, Duration::as_secs_f64)
}

/// Measures the tiles of those operations of `program` that nobody has measured yet on `cuda`, timed by
/// `stopwatch`, and keeps the fastest in the device's [tunings](Cuda::tunings), one after the other. `program` must
/// have been compiled without tunings. A bar on standard error shows how far it is.
///
/// # Errors
/// Where a candidate leaves the device unusable to this process.
pub fn tune(program: &Program, cuda: &Cuda, stopwatch: &mut Stopwatch<'_>) -> Result<Tuned> {
    let target = cuda.target();
    let known = cuda.tunings().known();
    let mut operations: BTreeMap<String, Operation> = BTreeMap::new();
    for step in &program.steps {
        if let Some((key, choice)) = step.tile_choice(&target) {
            operations.entry(key).or_insert_with(|| Operation::new(step, choice)).count += 1;
        }
    }
    let mut missing = Vec::new();
    for (key, operation) in &operations {
        if known.get(key, operation.choice.files, &operation.choice.tiles).is_none() {
            missing.push((key, operation.step, operation.candidates(&target)?));
        }
    }
    let candidates: usize = missing.iter().map(|(_, _, candidates)| candidates.len()).sum();
    // Compiled together, on all cores. One that does not compile is met again, by name, where it is tried.
    let all = missing.iter().flat_map(|(_, _, candidates)| candidates).flat_map(|c| c.launches.all());
    let _ = cuda.functions(&all.collect::<Vec<_>>());

    let (operation_count, known_count) = (operations.len(), operations.len() - missing.len());
    let mut tuned = Tuned { operations: operation_count, known: known_count, ..Tuned::default() };
    let bar = Progress::new(candidates as u64, "measuring tiles", candidates == 0);
    for (key, step, candidates) in missing {
        bar.message(step.title());
        let mut contest = Contest { step, cuda, stopwatch, bar: &bar, warnings: &mut tuned.warnings };
        if let Some((tile, seconds, usual_seconds)) = contest.hold(&candidates)? {
            let choice = &operations[key].choice;
            let tuning = Tuning {
                tile,
                microseconds: seconds * 1e6,
                usual_microseconds: usual_seconds * 1e6,
                kernels: cuda.tunings().fingerprint(choice.files, &choice.tiles)?,
            };
            tuned.measured += 1;
            cuda.tunings().add(BTreeMap::from([(key.clone(), tuning)]));
        }
    }
    tuned.warnings.extend(cuda.tunings().take_warnings());
    let known = cuda.tunings().known();
    for (key, operation) in &operations {
        if let Some(tuning) = known.get(key, operation.choice.files, &operation.choice.tiles) {
            let count = operation.count as f64;
            tuned.seconds += count * tuning.microseconds / 1e6;
            tuned.usual_seconds += count * tuning.usual_microseconds / 1e6;
        }
    }
    Ok(tuned)
}

/// An operation of a program, however often it occurs.
struct Operation<'a> {
    step: &'a Step,
    choice: TileChoice,
    count: usize,
}

/// A step alone, in one tile.
struct Candidate {
    tile: String,
    program: Arc<Program>,
    launches: Launches,
}

impl<'a> Operation<'a> {
    fn new(step: &'a Step, choice: TileChoice) -> Self {
        Operation { step, choice, count: 0 }
    }

    /// The candidates, the usual one first. Two that launch the same are one.
    fn candidates(&self, target: &Target) -> Result<Vec<Candidate>> {
        let mut names: Vec<&String> = self.choice.tiles.iter().collect();
        names.swap(0, self.choice.usual);
        let mut candidates: Vec<Candidate> = Vec::with_capacity(names.len());
        for tile in names {
            let Some(op) = self.step.op.with_cuda_tile(tile) else { continue };
            let program = Arc::new(alone(self.step, op, target));
            let launches = launches(&program, target, &Addresses::pretended(&program))?;
            if candidates.iter().all(|other| other.launches != launches) {
                candidates.push(Candidate { tile: tile.clone(), program, launches });
            }
        }
        Ok(candidates)
    }
}

/// A program of nothing but `step`, run by `op`. Each operand is persistent, in memory of its own.
fn alone(step: &Step, op: Arc<dyn Op>, target: &Target) -> Program {
    let mut operands: Vec<Slot> = Vec::new();
    let mut persistent = Vec::new();
    let mut place = |slot: &Slot| {
        let index = operands.iter().position(|other| other == slot).unwrap_or_else(|| {
            operands.push(*slot);
            operands.len() - 1
        });
        let moved = Slot {
            memory: Memory::Persistent(index),
            offset: slot.offset % (ALIGNMENT / slot.dtype.size()),
            ..*slot
        };
        if index == persistent.len() {
            let shape = Shape::vector(moved.offset + moved.extent());
            persistent.push(Persistent { name: index.to_string(), shape, learned: false, dtype: slot.dtype });
        }
        moved
    };
    let inputs = step.inputs.iter().map(|slot| slot.as_ref().map(&mut place)).collect();
    let outputs: Vec<Slot> = step.outputs.iter().map(&mut place).collect();
    let (input_shapes, output_shapes) = step.shapes();
    let bytes = op.cuda_workspace(&input_shapes, &output_shapes, target);
    let words = bytes.div_ceil(WORD);
    Program {
        mode: crate::graph::Mode::Inference,
        prepare: Vec::new(),
        outputs: outputs.iter().enumerate().map(|(o, slot)| (o.to_string(), *slot)).collect(),
        steps: vec![Step {
            op,
            inputs,
            outputs,
            workspace: (words > 0).then_some((0, words)),
            ..step.clone()
        }],
        stores: Vec::new(),
        persistent,
        inputs: Vec::new(),
        arena: words,
        processor: crate::compile::ProcessorKind::Cuda(*target),
        report: Arc::new(MemoryReport::default()),
    }
}

/// Random numbers for all that `program` keeps. Many repeat: what is drawn is not what matters.
fn random_state(program: &Program) -> BTreeMap<String, Tensor> {
    // Prime, so that they lie differently in every row of a map.
    const DRAWN: usize = 65_521;
    let fill = |(index, persistent): (usize, &Persistent)| {
        let mut random = Random::keyed(1, index as u64);
        let drawn: Vec<f32> = (0..DRAWN).map(|_| random.uniform(-1.0, 1.0)).collect();
        let values = drawn.iter().cycle().take(persistent.shape.elements()).copied().collect();
        Ok((persistent.name.clone(), Tensor::new(persistent.shape, values)?))
    };
    // As many values as the shape has elements: no tensor is refused.
    program.persistent.iter().enumerate().map(fill).collect::<Result<_>>().unwrap_or_default()
}

/// The candidates of one operation against each other.
struct Contest<'a, 's> {
    step: &'a Step,
    cuda: &'a Cuda,
    stopwatch: &'a mut Stopwatch<'s>,
    bar: &'a Progress,
    warnings: &'a mut Vec<String>,
}

impl Contest<'_, '_> {
    /// The fastest of `candidates`, of which the first is the usual one, and the seconds of both; `None` where
    /// the usual one cannot be measured.
    fn hold(&mut self, candidates: &[Candidate]) -> Result<Option<(String, f64, f64)>> {
        let Some((usual, others)) = candidates.split_first() else { return Ok(None) };
        let state = random_state(&usual.program);
        let Some((expected, usual_seconds)) = self.attempt(usual, &state)? else {
            self.bar.advance(candidates.len() as u64);
            return Ok(None);
        };
        self.bar.advance(1);
        let mut times = vec![(usual, usual_seconds)];
        for candidate in others {
            self.bar.advance(1);
            let Some((outputs, seconds)) = self.attempt(candidate, &state)? else { continue };
            match first_difference(&outputs, &expected, self.step) {
                None => times.push((candidate, seconds)),
                Some(difference) => self.leave_out(candidate, &difference),
            }
        }
        let best = times.iter().map(|(_, seconds)| *seconds).fold(f64::INFINITY, f64::min);
        for (index, (candidate, seconds)) in times.iter_mut().enumerate() {
            if index == 0 || *seconds <= FINALISTS * best {
                let again = self.attempt(candidate, &state)?;
                *seconds = again.map_or(f64::INFINITY, |(_, again)| seconds.min(again));
            }
        }
        // Of equals the first: the usual one stays unless another is faster.
        let fastest = times.iter().min_by(|(_, a), (_, b)| a.total_cmp(b));
        Ok(match (fastest, times.first()) {
            (Some((fastest, seconds)), Some((_, usual))) if seconds.is_finite() && usual.is_finite() => {
                Some((fastest.tile.clone(), *seconds, *usual))
            }
            _ => None,
        })
    }

    /// The outputs and the seconds of one candidate; `None` where it cannot be run, which is a warning.
    fn attempt(
        &mut self,
        candidate: &Candidate,
        state: &BTreeMap<String, Tensor>,
    ) -> Result<Option<(Vec<Tensor>, f64)>> {
        let error = match self.run(candidate, state) {
            Ok(result) => return Ok(Some(result)),
            Err(error) => error,
        };
        if self.cuda.synchronize().is_err() {
            let Candidate { tile, .. } = candidate;
            let message =
                format!("{} in tiles of {tile} left the device unusable: {error}", self.step.title());
            return Err(Error::new(ErrorKind::Device, message)
                .fix("leave --autotune out, and report this as a defect"));
        }
        self.leave_out(candidate, &error.to_string());
        Ok(None)
    }

    fn run(&mut self, candidate: &Candidate, state: &BTreeMap<String, Tensor>) -> Result<(Vec<Tensor>, f64)> {
        let mut session = CudaSession::new(candidate.program.clone(), self.cuda.clone())?;
        session.load(state)?;
        session.run()?;
        let names = candidate.program.outputs.iter().map(|(name, _)| name);
        let outputs = names.map(|name| session.output(name)).collect::<Result<_>>()?;
        let step = candidate.program.steps.first().unwrap_or(self.step);
        let seconds = (self.stopwatch)(step, &mut session)?;
        Ok((outputs, seconds))
    }

    fn leave_out(&mut self, candidate: &Candidate, why: &str) {
        let warning = format!("{} in tiles of {} is left out: {why}", self.step.title(), candidate.tile);
        self.warnings.push(warning);
    }
}

/// Where `got` differs from `expected` by more than the order of additions and the rounding of the element type
/// explain, in words.
fn first_difference(got: &[Tensor], expected: &[Tensor], step: &Step) -> Option<String> {
    for (index, ((got, expected), slot)) in got.iter().zip(expected).zip(&step.outputs).enumerate() {
        let values = expected.data();
        let square: f64 = values.iter().map(|&v| f64::from(v).powi(2)).sum();
        let root_mean_square = (square / values.len().max(1) as f64).sqrt();
        // Of the element and of what is typical: another order changes a sum by parts in 10⁵ of the latter, what
        // is stored in two bytes by rounding to 8 or 11 bits. A sum that lacks one of a thousand terms is off by 3 %.
        let share = match slot.dtype {
            DType::F32 => 1e-3,
            DType::Bf16 => 4.0 / 256.0,
            DType::F16 => 4.0 / 2048.0,
        };
        for (element, (&got, &want)) in got.data().iter().zip(values).enumerate() {
            let allowed = share * (f64::from(want).abs() + root_mean_square);
            let is_close = (f64::from(got) - f64::from(want)).abs() <= allowed;
            if got.to_bits() != want.to_bits() && !is_close {
                return Some(format!(
                    "element {element} of output {index} is {got}, where the usual tile has {want}"
                ));
            }
        }
    }
    None
}
