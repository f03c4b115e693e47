//! The roofline (Williams, Waterman, Patterson 2009): what a device can do at most, measured on the device
//! itself, and how near a program comes.

use std::time::Duration;

use serde::Serialize;

use super::timing::{Runner, interleaved};
use crate::Result;
use crate::compile::Processor;
use crate::device::Device;
use crate::graph::{Graph, Init, Mode};
use crate::ops::ceiling::{ROWS_IN, ROWS_OUT, has_matrix_units, matrix_multiply_adds, multiply_adds};
use crate::ops::copy::Copy;
use crate::ops::{Tape, Value};
use crate::runtime::cuda::Target;
use crate::tensor::{Random, Shape, Tensor};

/// The most of something that a device did in a second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ceiling {
    /// Bytes or floating-point operations a second.
    pub per_second: f64,
    /// What was run.
    pub how: String,
}

/// A device's ceilings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ceilings {
    /// Bytes a second between memory and kernels, each byte read or written counted once.
    pub memory: Ceiling,
    /// Floating-point operations a second, a multiply-add counted as 2.
    pub compute: Ceiling,
}

/// Which ceiling is reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Binding {
    /// The bytes take longer than the operations.
    Memory,
    /// The operations take longer than the bytes.
    Compute,
}

impl Binding {
    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Binding::Memory => "memory",
            Binding::Compute => "compute",
        }
    }
}

impl Ceilings {
    /// The time, in seconds, that so many operations and bytes take at the ceilings, both at once: the larger
    /// of the two times, and whose it is.
    pub fn bound(&self, flops: f64, bytes: f64) -> (f64, Binding) {
        let (compute, memory) = (flops / self.compute.per_second, bytes / self.memory.per_second);
        if compute >= memory { (compute, Binding::Compute) } else { (memory, Binding::Memory) }
    }

    /// Measures the ceilings of `device`, each for about `budget`: the shortest of all runs counts.
    ///
    /// # Errors
    /// Where memory cannot be had, or the device fails.
    pub fn measure(device: &Device, budget: Duration) -> Result<Self> {
        Ok(Ceilings { memory: memory(device, budget)?, compute: Self::compute(device, budget)? })
    }

    /// Measures the ceiling of arithmetic alone.
    ///
    /// # Errors
    /// As [`Ceilings::measure`].
    pub fn compute(device: &Device, budget: Duration) -> Result<Ceiling> {
        let scalar = |x, turns, how: &str| scalar_loop(device, x, turns, how, budget);
        match device.processor() {
            Processor::Reference => scalar(Shape::new(1, 1, 64, 192), 16, "one thread, f64"),
            Processor::Cpu(cpu) => {
                // Eight equal pieces for each thread: 42 pixels of 192 channels are a chunk (8064 elements), and
                // whole blocks of twelve vectors at every vector width.
                let pixels = 42 * 8 * cpu.threads();
                let how = format!("{} threads, {}, f32", cpu.threads(), cpu.simd());
                scalar(Shape::new(1, 1, pixels, 192), 2048, &how)
            }
            Processor::Cuda(target) if has_matrix_units(&target) => matrix_loop(device, &target, budget),
            Processor::Cuda(_) => scalar(Shape::new(1, 64, 342, 192), 8192, "every thread, f32"),
        }
    }
}

/// A graph of one op on an input `x`.
fn graph_of(x: Shape, op: impl FnOnce(&mut Graph, Value) -> Result<Value>) -> Result<Graph> {
    let mut graph = Graph::new(Mode::Inference);
    let x = graph.map_input("x", x)?;
    let y = op(&mut graph, x)?;
    graph.output("y", y)?;
    Ok(graph)
}

/// The least seconds that a run of `graph` took.
fn least(device: &Device, graph: &Graph, x: Shape, budget: Duration) -> Result<f64> {
    let x = Tensor::uniform(x, 0.0, 1.0, &mut Random::new(1));
    let state = graph.initial_state(0);
    let runner = Runner::new(device, device.compile(graph)?, &state, vec![("x".to_owned(), x)])?;
    let timings = interleaved(&mut [runner], budget, &mut |_| {})?;
    Ok(timings.first().map_or(f64::NAN, |timing| timing.least))
}

/// Bytes of the copy's source where caches are unknown, and at least.
const LEAST_COPY: usize = 64 << 20;
/// Bytes of the copy's source on a GPU: several times the last-level cache of any.
const GPU_COPY: usize = 256 << 20;
/// The most, on a machine with very large caches.
const MOST_COPY: usize = 512 << 20;
/// Channels of what is copied: long runs for any way of copying.
const COPY_CHANNELS: usize = 1024;

fn memory(device: &Device, budget: Duration) -> Result<Ceiling> {
    let (bytes, size, caches) = match device.processor() {
        // Slow, and no one's ceiling: it need not leave the caches.
        Processor::Reference => (1 << 20, size_of::<f64>(), String::new()),
        Processor::Cpu(_) => {
            let cache = last_level_cache();
            let named = cache.map(|bytes| format!(", last-level cache {} MiB", bytes >> 20));
            // Source and target together are four times the cache.
            let bytes = (2 * cache.unwrap_or(0)).clamp(LEAST_COPY, MOST_COPY);
            (bytes, size_of::<f32>(), named.unwrap_or_default())
        }
        Processor::Cuda(target) => (GPU_COPY, target.map.size(), String::new()),
    };
    let x = Shape::new(1, 1, bytes / size / COPY_CHANNELS, COPY_CHANNELS);
    let graph = graph_of(x, |graph, x| graph.apply(Box::new(Copy), &[x]))?;
    let seconds = least(device, &graph, x, budget)?;
    let how = format!("a copy of {} MiB by the device's copy kernel{caches}", bytes >> 20);
    Ok(Ceiling { per_second: 2.0 * (x.elements() * size) as f64 / seconds, how })
}

/// Bytes of the largest cache of the first core, where the system says so (Linux).
fn last_level_cache() -> Option<usize> {
    let caches = std::fs::read_dir("/sys/devices/system/cpu/cpu0/cache").ok()?;
    let sizes = caches.flatten().filter_map(|cache| {
        let text = std::fs::read_to_string(cache.path().join("size")).ok()?;
        text.trim().strip_suffix('K')?.parse::<usize>().ok().map(|kib| kib << 10)
    });
    sizes.max()
}

fn scalar_loop(device: &Device, x: Shape, turns: usize, how: &str, budget: Duration) -> Result<Ceiling> {
    let graph = graph_of(x, |graph, x| multiply_adds(graph, x, turns))?;
    let flops = super::cost::operations(&graph).mac2;
    let how = format!("fused multiply-adds in registers ({how})");
    Ok(Ceiling { per_second: flops / least(device, &graph, x, budget)?, how })
}

fn matrix_loop(device: &Device, target: &Target, budget: Duration) -> Result<Ceiling> {
    // 16 pixels a warp, 8 warps a block: 16 blocks for each multiprocessor, which are four rounds of four.
    let pixels = 16 * 8 * 16 * target.multiprocessors as usize;
    let (x, weight) = (Shape::new(1, 1, pixels, ROWS_IN), Shape::new(ROWS_OUT, 1, 1, ROWS_IN));
    let graph = graph_of(x, |graph, x| {
        let weight = graph.parameter("weight", weight, Init::he(weight))?;
        matrix_multiply_adds(graph, x, weight, 8192)
    })?;
    let flops = super::cost::operations(&graph).mac2;
    let how = format!("mma.sync m16n8k16 in registers (every warp, {} with f32 sums)", target.map);
    Ok(Ceiling { per_second: flops / least(device, &graph, x, budget)?, how })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ceilings() -> Ceilings {
        let ceiling = |per_second| Ceiling { per_second, how: String::new() };
        Ceilings { memory: ceiling(10e9), compute: ceiling(200e9) }
    }

    #[test]
    fn the_larger_time_binds() {
        // 1 GFLOP at 200 GFLOP/s are 5 ms, 20 MB at 10 GB/s are 2 ms.
        assert_eq!(ceilings().bound(1e9, 20e6), (0.005, Binding::Compute));
        // 80 MB are 8 ms.
        assert_eq!(ceilings().bound(1e9, 80e6), (0.008, Binding::Memory));
        // At the ridge, 20 operations a byte, both are one.
        assert_eq!(ceilings().bound(20e6, 1e6), (1e-4, Binding::Compute));
        assert_eq!(ceilings().bound(0.0, 0.0), (0.0, Binding::Compute));
    }

    #[test]
    fn devices_have_ceilings() {
        for device in [Device::Reference, Device::cpu(2).unwrap()] {
            let ceilings = Ceilings::measure(&device, Duration::ZERO).unwrap();
            for ceiling in [&ceilings.memory, &ceilings.compute] {
                assert!(ceiling.per_second.is_finite() && ceiling.per_second > 0.0, "{ceilings:?}");
            }
            assert!(ceilings.memory.how.starts_with("a copy of "), "{ceilings:?}");
        }
    }
}
