//! One workload in a process of its own, so that the peak of its memory is its own: one JSON line with
//! the fields of `benches/peers`, or with `--profile` a table of where the time goes, by op.
//!
//!     cargo run --release --example speed -- [--network yolov7-tiny] [--training] [--size 416]
//!         [--batch 1] [--threads 0] [--seconds 10] [--profile [--steps]]
//!
//! A training step is that of `benches/peers/training.py`: the loss is Σ over heads of mean(head²), the optimiser
//! SGD with Nesterov momentum 0.937 and weight decay 5e-4.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use gradpath::analysis::cost::operations;
use gradpath::analysis::workload::{self, Subject};
use gradpath::device::{Device, Session};
use gradpath::graph::Mode;
use gradpath::tensor::{Shape, Tensor};
use gradpath::train::MeasuredStep;
use gradpath::{Error, Result, zoo};

/// Classes of the heads: those of COCO.
const CLASSES: usize = 80;

/// What is run.
#[derive(Clone, Copy, Debug)]
struct Workload {
    /// A network of the zoo.
    network: &'static str,
    /// Training or inference.
    mode: Mode,
    /// Height and width of the images.
    size: usize,
    /// Images at a time.
    batch: usize,
}

/// A workload that is ready to run.
struct Prepared {
    /// The session: parameters set, the scalars and images not.
    session: Box<dyn Session>,
    feeds: Vec<(String, Tensor)>,
    /// Operations of a run by Darknet's count; a training step is three times the forward's.
    flops: f64,
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
    fn prepare(&self, device: &Device) -> Result<Prepared> {
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
    fn feed(&mut self) -> Result<()> {
        self.feeds.iter().try_for_each(|(name, tensor)| self.session.feed(name, tensor))
    }

    /// Feeds, runs and reads what comes out: what a user waits for.
    ///
    /// # Errors
    /// As the session's.
    fn run(&mut self) -> Result<()> {
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
    fn time(&mut self, warmup: usize, budget: Duration) -> Result<Times> {
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
struct Times {
    /// By the clock on the wall.
    wall: Vec<f64>,
    /// That threads of this process ran, all together: what other processes do lengthens it little.
    processor: Vec<f64>,
}

impl Times {
    /// The run in the middle, by the clock on the wall.
    fn median(&self) -> f64 {
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

struct Options {
    workload: Workload,
    threads: usize,
    seconds: f64,
    profile: bool,
    steps: bool,
}

fn options() -> Result<Options> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|a| a == name);
    let value = |name: &str| arguments.iter().skip_while(|a| *a != name).nth(1).map(String::as_str);
    let number = |name: &str, otherwise: f64| match value(name) {
        Some(text) => {
            text.parse().map_err(|_| Error::invalid(format!("{name} takes a number, not {text:?}")))
        }
        None => Ok(otherwise),
    };
    let network = zoo::find(value("--network").unwrap_or("yolov7-tiny"))?;
    let mode = if has("--training") { Mode::Training } else { Mode::Inference };
    let workload = Workload {
        network: network.name,
        mode,
        size: number("--size", network.size as f64)? as usize,
        batch: number("--batch", 1.0)? as usize,
    };
    Ok(Options {
        workload,
        threads: number("--threads", 0.0)? as usize,
        seconds: number("--seconds", 10.0)?,
        profile: has("--profile"),
        steps: has("--steps"),
    })
}

/// Linux's own count for this process, in bytes: `VmHWM` (peak resident) or `VmRSS` (resident now); 0
/// where there is none.
fn memory_bytes(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Each op's shortest time over the runs, summed by op (or listed by step).
fn profile(prepared: &mut Prepared, budget: Duration, by_step: bool) -> Result<()> {
    prepared.run()?;
    let start = Instant::now();
    let mut least: Vec<Duration> = Vec::new();
    while least.is_empty() || start.elapsed() < budget {
        prepared.feed()?;
        let times = prepared.session.run_timed()?;
        if least.is_empty() {
            least = times;
        } else {
            least.iter_mut().zip(times).for_each(|(least, time)| *least = time.min(*least));
        }
    }
    let program = prepared.session.program();
    let mut groups: BTreeMap<String, (usize, Duration)> = BTreeMap::new();
    for (index, (step, time)) in program.steps.iter().zip(&least).enumerate() {
        let shape = step.outputs.first().map(|slot| slot.shape.to_string()).unwrap_or_default();
        let name = match by_step {
            true => format!("{index:4} {} {shape} {}", step.op.name(), step.scope),
            false => format!("{:?} {}", step.pass, step.op.name()),
        };
        let group = groups.entry(name).or_default();
        *group = (group.0 + 1, group.1 + *time);
    }
    let total: Duration = least.iter().sum();
    let mut rows: Vec<_> = groups.into_iter().collect();
    rows.sort_by_key(|(_, (_, time))| std::cmp::Reverse(*time));
    println!("{:>9} {:>6} {:>5}  op", "ms", "share", "steps");
    for (name, (count, time)) in rows {
        let (ms, share) = (time.as_secs_f64() * 1e3, 100.0 * time.as_secs_f64() / total.as_secs_f64());
        println!("{ms:9.3} {share:5.1}% {count:5}  {name}");
    }
    println!("{:9.3} 100.0% {:5}  all", total.as_secs_f64() * 1e3, least.len());
    Ok(())
}

fn measure() -> Result<()> {
    let options = options()?;
    let device = Device::cpu(options.threads)?;
    let mut prepared = options.workload.prepare(&device)?;
    let budget = Duration::from_secs_f64(options.seconds);
    if options.profile {
        return profile(&mut prepared, budget, options.steps);
    }
    let loaded = memory_bytes("VmRSS");
    let training = options.workload.mode == Mode::Training;
    let times = prepared.time(if training { 2 } else { 3 }, budget)?;
    let threads = match &device {
        Device::Cpu(cpu) => cpu.threads(),
        Device::Reference | Device::Cuda(_) => 1,
    };
    let line = serde_json::json!({
        "variant": options.workload.network, "framework": "gradpath", "version": env!("CARGO_PKG_VERSION"),
        "training": training, "threads": threads, "batch": options.workload.batch, "size": options.workload.size,
        "ms_median": times.median() * 1e3, "ms_min": times.wall[0] * 1e3, "runs": times.wall.len(),
        "processor_ms_min": times.processor[0] * 1e3, "gflops": prepared.flops / times.median() / 1e9,
        "peak_rss_bytes": memory_bytes("VmHWM"), "loaded_rss_bytes": loaded,
        "held_bytes": prepared.session.held_bytes(),
    });
    println!("{line}");
    Ok(())
}

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
