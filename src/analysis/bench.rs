//! Programs measured side by side: time, operations, bytes, memory, and how near the roofline they come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::cost;
use super::meter::ProcessMeter;
use super::roofline::{Binding, Ceilings};
use super::timing::{Runner, Timing, interleaved};
use crate::Result;
use crate::compile::{Options, Processor, Program, compile};
use crate::device::Device;
use crate::graph::Graph;
use crate::tensor::Tensor;

/// What is measured beside others.
#[derive(Debug)]
pub struct Candidate {
    /// Its name among them.
    pub name: String,
    /// The step.
    pub graph: Arc<Graph>,
    /// What the compiler may do.
    pub options: fn(Processor) -> Options,
    /// A tensor for every input.
    pub feeds: Vec<(String, Tensor)>,
}

/// What a program costs before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Predicted {
    /// Floating-point operations of the traced step, a multiply-add counted as 2.
    pub flops: f64,
    /// Bytes between its kernels and memory ([`super::kernels`]).
    pub bytes: usize,
    /// Operations for each of these bytes: arithmetic intensity.
    pub intensity: f64,
    /// Elements that convolutions take in and put out ([`crate::ops::Cost::cio`]).
    pub cio: f64,
    /// Bytes of arena, parameters and states, as planned.
    pub planned_bytes: usize,
}

impl Predicted {
    /// Reads it off `graph` and the program compiled from it.
    pub fn new(graph: &Graph, program: &Program) -> Self {
        let (traced, bytes) = (cost::nodes(graph), cost::moved_bytes(program));
        Predicted {
            flops: traced.flops.mac2,
            bytes,
            intensity: traced.flops.mac2 / bytes.max(1) as f64,
            cio: traced.cio,
            planned_bytes: program.report.total_bytes(),
        }
    }
}

/// A candidate as it was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measurement {
    /// Its name.
    pub name: String,
    /// Seconds.
    pub time: Timing,
    /// The median as a multiple of the first candidate's.
    pub time_ratio: f64,
    /// What it costs.
    #[serde(flatten)]
    pub predicted: Predicted,
    /// Kernels of a run.
    pub kernels: usize,
    /// Bytes of device memory held while it ran.
    pub held_bytes: usize,
    /// The most bytes that the process's allocator held at once for it while it ran, its memory included; none where
    /// nobody counts. On a GPU what the host holds beside it.
    pub allocated_peak_bytes: Option<usize>,
    /// The most bytes of it that were resident, loading included.
    pub resident_peak_bytes: Option<usize>,
    /// Bytes that a run read from memory and wrote to it, as they were counted.
    pub counted_bytes: Option<(u64, u64)>,
    /// Operations a second.
    pub flops_per_second: f64,
    /// Bytes a second.
    pub bytes_per_second: f64,
    /// Operations a second as a share of the device's ceiling.
    pub share_of_compute: f64,
    /// Bytes a second as a share of the device's ceiling.
    pub share_of_memory: f64,
    /// Seconds at the ceilings.
    pub roofline_seconds: f64,
    /// Which ceiling they are of.
    pub bound: Binding,
}

impl Measurement {
    /// The time at the ceilings as a share of the time it took: 1 is at the roof.
    pub fn share_of_roofline(&self) -> f64 {
        self.roofline_seconds / self.time.median
    }
}

/// Compiles `candidates`, runs them in turn for about `budget` (see [`interleaved`]), and puts beside each time
/// what was predicted. One that comes to the same kernels as an earlier one of its graph is left out.
///
/// # Errors
/// Where memory cannot be had, or the device fails.
pub fn compare(
    device: &Device,
    ceilings: &Ceilings,
    candidates: Vec<Candidate>,
    budget: Duration,
    done: &mut dyn FnMut(f64),
) -> Result<Vec<Measurement>> {
    let mut predicted = Vec::with_capacity(candidates.len());
    let mut runners = Vec::with_capacity(candidates.len());
    let mut readings = Vec::with_capacity(candidates.len());
    let mut meter = ProcessMeter::new();
    let mut seen: Vec<(Arc<Graph>, Vec<String>)> = Vec::with_capacity(candidates.len());
    for Candidate { name, graph, options, feeds } in candidates {
        let program = Arc::new(compile(&graph, options(device.processor()))?);
        let kernels: Vec<String> = program.steps.iter().map(|step| format!("{:?}", step.op)).collect();
        if seen.iter().any(|(other, those)| Arc::ptr_eq(other, &graph) && *those == kernels) {
            continue;
        }
        seen.push((graph.clone(), kernels));
        predicted.push((name, Predicted::new(&graph, &program), program.steps.len()));
        let state: BTreeMap<String, Tensor> = graph.initial_state(0);
        let (runner, reading) = Runner::watched(device, program, &state, feeds, &mut meter)?;
        runners.push(runner);
        readings.push(reading);
    }
    let timings = interleaved(&mut runners, budget, done)?;
    let first = timings.first().map_or(f64::NAN, |timing| timing.median);
    let measured = predicted.into_iter().zip(timings).zip(runners.iter().zip(readings));
    Ok(measured
        .map(|(((name, predicted, kernels), time), (runner, reading))| {
            let bytes = predicted.bytes as f64;
            let (roofline_seconds, bound) = ceilings.bound(predicted.flops, bytes);
            let (flops_per_second, bytes_per_second) = (predicted.flops / time.median, bytes / time.median);
            Measurement {
                name,
                time,
                time_ratio: time.median / first,
                predicted,
                kernels,
                held_bytes: runner.held_bytes(),
                allocated_peak_bytes: reading.allocated_peak,
                resident_peak_bytes: reading.resident_peak,
                counted_bytes: reading.traffic,
                flops_per_second,
                bytes_per_second,
                share_of_compute: flops_per_second / ceilings.compute.per_second,
                share_of_memory: bytes_per_second / ceilings.memory.per_second,
                roofline_seconds,
                bound,
            }
        })
        .collect())
}
