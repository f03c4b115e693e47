//! One workload in a process of its own, so that the peak of its memory is its own: one JSON line with
//! the fields of `benches/peers`, or with `--profile` a table of where the time goes, by op.
//!
//!     cargo run --release --example speed -- [--network yolov7-tiny] [--training] [--size 416]
//!         [--batch 1] [--threads 0] [--seconds 10] [--profile [--steps]]

#[path = "../benches/workload/mod.rs"]
mod workload;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use gradpath::device::Device;
use gradpath::graph::Mode;
use gradpath::{Error, Result};
use workload::{Prepared, Workload};

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
    let network = gradpath::zoo::find(value("--network").unwrap_or("yolov7-tiny"))?;
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
    let start = std::time::Instant::now();
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
