//! The convolutions of YOLOv7-tiny at 416×416, in all directions, in GFLOP/s and as a share of what
//! this machine's multipliers can do.
//!
//! `cargo bench --bench conv` prints a table of them (the best of several runs of each, and the workspace it
//! needs), then the table that all benches have, of the blocks that are convolutions in a row: time, operations,
//! bytes moved, bytes held. Then it times a few typical layers, and the blocks, with criterion. Options and
//! baselines: [`common`]. `-- --only '(3, 1, 13,'` picks layers by (kernel, stride, side, c_in, c_out, count),
//! `-- --simd avx2` lowers the instruction set, `-- --activation silu` changes the activation.

mod common;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use common::{
    Item, block,
    options::{self, Options},
};
use criterion::{BenchmarkId, Criterion, Throughput};
use gradpath::Result;
use gradpath::analysis::roofline::Ceilings;
use gradpath::analysis::workload::BlockName;
use gradpath::device::Device;
use gradpath::ops::conv::{Geometry, cpu};
use gradpath::runtime::{Activation, Cpu, SimdLevel};
use gradpath::tensor::{Random, Shape, Tensor};

/// Kernel, stride, input side, c_in, c_out, how many of it the network has.
type Layer = (usize, usize, usize, usize, usize, usize);

/// YOLOv7-tiny at 416×416.
const LAYERS: &[Layer] = &[
    (3, 2, 416, 3, 32, 1),
    (3, 2, 208, 32, 64, 1),
    (1, 1, 104, 64, 32, 2),
    (3, 1, 104, 32, 32, 2),
    (1, 1, 104, 128, 64, 1),
    (1, 1, 52, 64, 64, 2),
    (3, 1, 52, 64, 64, 2),
    (1, 1, 52, 256, 128, 1),
    (1, 1, 26, 128, 128, 2),
    (3, 1, 26, 128, 128, 2),
    (1, 1, 26, 512, 256, 1),
    (1, 1, 13, 256, 256, 2),
    (3, 1, 13, 256, 256, 2),
    (1, 1, 13, 1024, 512, 1),
    (1, 1, 13, 512, 256, 2),
    (1, 1, 26, 256, 128, 2),
    (3, 1, 26, 64, 64, 4),
    (3, 1, 52, 32, 32, 2),
    (1, 1, 52, 128, 32, 2),
    (3, 2, 52, 64, 128, 1),
    (3, 2, 26, 128, 256, 1),
    (3, 1, 13, 128, 128, 2),
    (3, 1, 52, 64, 128, 1),
    (3, 1, 26, 128, 256, 1),
    (3, 1, 13, 256, 512, 1),
    (1, 1, 13, 512, 255, 1),
];

/// One layer with its operands.
struct Bench {
    geometry: Geometry,
    x: Tensor,
    y: Tensor,
    weight: Vec<f32>,
    packed: Vec<f32>,
    vector: Vec<f32>,
    stats: Vec<f32>,
    activation: Activation,
    workspace: Vec<f32>,
}

impl Bench {
    fn new(
        cpu: &Cpu,
        batch: usize,
        activation: Activation,
        &(kernel, stride, side, c_in, c_out, _): &Layer,
    ) -> Self {
        let mut random = Random::new(1);
        let geometry = Geometry::same(kernel, stride);
        let (h, w) = geometry.output(side, side).expect("the table's layers are valid");
        let (from, to) = (Shape::new(batch, side, side, c_in), Shape::new(batch, h, w, c_out));
        let weight: Vec<f32> =
            (0..geometry.weight(c_in, c_out).elements()).map(|_| random.uniform(-0.1, 0.1)).collect();
        let mut packed = vec![0.0; cpu::packed_len(cpu, &geometry, from, to)];
        cpu::pack(cpu, &geometry, from, to, &weight, &mut packed);
        let workspace = cpu::forward_workspace(cpu, &geometry, from, to)
            .max(cpu::input_gradient_workspace(cpu, &geometry, from, to))
            .max(cpu::weight_gradient_workspace(cpu, &geometry, from, to));
        Bench {
            geometry,
            x: Tensor::uniform(from, -1.0, 1.0, &mut random),
            y: Tensor::uniform(to, -1.0, 1.0, &mut random),
            weight,
            packed,
            vector: vec![0.5; c_in.max(c_out)],
            stats: vec![0.0; 2 * c_out],
            activation,
            workspace: vec![0.0; workspace],
        }
    }

    fn flops(&self) -> f64 {
        2.0 * self.y.shape().pixels() as f64 * self.weight.len() as f64
    }

    /// Inference: packed weights, bias and leaky in the epilogue.
    fn inference(&mut self, cpu: &Cpu) {
        let c_out = self.y.shape().c;
        let epilogue = cpu::Epilogue {
            bias: Some(&self.vector[..c_out]),
            activation: self.activation,
            ..Default::default()
        };
        let (x, y) = (self.x.view(), self.y.view_mut());
        cpu::forward_packed(cpu, &self.geometry, x, &self.packed, None, epilogue, y, &mut self.workspace);
    }

    /// Training: prologue, statistics.
    fn forward(&mut self, cpu: &Cpu) {
        let c_in = self.x.shape().c;
        let vector = &self.vector[..c_in];
        let prologue = (c_in > 3).then_some(cpu::Prologue {
            scale: vector,
            shift: vector,
            activation: Activation::Leaky,
        });
        let epilogue = cpu::Epilogue { stats: Some(&mut self.stats), ..Default::default() };
        let (x, y) = (self.x.view(), self.y.view_mut());
        cpu::forward(cpu, &self.geometry, x, &self.weight, prologue, epilogue, y, &mut self.workspace);
    }

    fn input_gradient(&mut self, cpu: &Cpu) {
        let (y, x) = (self.y.view(), self.x.view_mut());
        cpu::input_gradient(cpu, &self.geometry, y, &self.weight, false, x, &mut self.workspace);
    }

    fn weight_gradient(&mut self, cpu: &Cpu) {
        let c_in = self.x.shape().c;
        let vector = &self.vector[..c_in];
        let prologue = (c_in > 3).then_some(cpu::Prologue {
            scale: vector,
            shift: vector,
            activation: Activation::Leaky,
        });
        let (x, y) = (self.x.view(), self.y.view());
        cpu::weight_gradient(
            cpu,
            &self.geometry,
            x,
            prologue,
            y,
            &mut self.weight,
            None,
            &mut self.workspace,
        );
    }
}

/// The shortest of the runs that fit `budget` (at least 3; one where there is none), in seconds.
fn best(budget: Duration, mut run: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut shortest = f64::INFINITY;
    let mut runs = 0;
    let fewest = if budget.is_zero() { 1 } else { 3 };
    while runs < fewest || start.elapsed() < budget {
        let run_start = Instant::now();
        run();
        shortest = shortest.min(run_start.elapsed().as_secs_f64());
        runs += 1;
    }
    shortest
}

type Run = fn(&mut Bench, &Cpu);

const RUNS: [(&str, Run); 4] = [
    ("inference", Bench::inference),
    ("forward", Bench::forward),
    ("input grad", Bench::input_gradient),
    ("weight grad", Bench::weight_gradient),
];

fn table(cpu: &Cpu, batch: usize, budget: Duration, only: &str, activation: Activation) {
    let ceiling = Ceilings::compute(&Device::Cpu(cpu.clone()), 2 * budget);
    let peak = ceiling.expect("a loop of multiply-adds runs").per_second;
    println!("{} threads, {}, peak {:.1} GFLOP/s, batch {batch}", cpu.threads(), cpu.simd(), peak / 1e9);
    println!(
        "inference: packed weights, bias + leaky; forward and weight gradient: leaky prologue, statistics"
    );
    println!(
        "{:28} {:>9}  {}",
        "layer",
        "MFLOP",
        RUNS.map(|(name, _)| format!("{name:>18}")).join("") + "  workspace"
    );
    let mut totals = [0.0; RUNS.len()];
    let mut flops = [0.0; RUNS.len()];
    for layer in LAYERS.iter().filter(|layer| format!("{layer:?}").contains(only)) {
        let (kernel, stride, side, c_in, c_out, times) = *layer;
        let mut bench = Bench::new(cpu, batch, activation, layer);
        let name = format!("{kernel}x{kernel} s{stride} {side}² {c_in}→{c_out} ×{times}");
        let mut line = format!("{name:28} {:9.1}  ", bench.flops() / 1e6);
        for (i, ((name, run), total)) in RUNS.iter().zip(&mut totals).enumerate() {
            if *name == "input grad" && c_in == 3 {
                // The network's input needs no gradient.
                line += &format!("{:>18}", "–");
                continue;
            }
            flops[i] += times as f64 * bench.flops();
            let seconds = cpu.install(|| best(budget, || run(&mut bench, cpu)));
            *total += times as f64 * seconds;
            let speed = bench.flops() / seconds;
            line += &format!("{:10.1} {:5.1} %", speed / 1e9, 100.0 * speed / peak);
        }
        line += &format!("{:8.2} MB", 4e-6 * bench.workspace.len() as f64);
        println!("{line}");
    }
    let line: String = totals
        .iter()
        .zip(flops)
        .map(|(t, flops)| format!("{:10.1} {:5.1} %", flops / t / 1e9, 100.0 * flops / t / peak))
        .collect();
    println!("{:28} {:9.1}  {line}", "all, as often as they occur", flops[0] / 1e6);
    let line: String = totals.iter().map(|t| format!("{:15.2} ms", t * 1e3)).collect();
    println!("{:28} {:9}  {line}", "", "");
}

fn bench(criterion: &mut Criterion, cpu: &Cpu, batch: usize, activation: Activation) {
    let mut group = criterion.benchmark_group("conv");
    for layer in [&LAYERS[6], &LAYERS[7], &LAYERS[12]] {
        let mut bench = Bench::new(cpu, batch, activation, layer);
        group.throughput(Throughput::Elements(bench.flops() as u64));
        for (name, run) in RUNS {
            let (kernel, _, side, c_in, c_out, _) = *layer;
            let id = BenchmarkId::new(name, format!("{kernel}x{kernel} {side}² {c_in}→{c_out}"));
            group.bench_function(id, |b| cpu.install(|| b.iter(|| run(&mut bench, cpu))));
        }
    }
    group.finish();
}

fn main() -> Result<ExitCode> {
    let options = Options::read(&["--simd", "--activation"]);
    let level = match options.value("--simd") {
        Some("portable") => SimdLevel::Portable,
        Some("avx2") => SimdLevel::Avx2,
        _ => SimdLevel::detect(),
    };
    let wanted = options.value("--activation");
    let activation = Activation::ALL.into_iter().find(|a| Some(a.to_string().as_str()) == wanted);
    let activation = activation.unwrap_or(Activation::Leaky);
    let cpu = Cpu::with_simd(options.number("--threads").unwrap_or(0), level)?;
    let batch = options.number("--batch").unwrap_or(1).max(1);
    if !options.listing {
        // Four runs of each of the layers: a fifth of what the blocks get.
        table(&cpu, batch, options.budget() / 5, options.value("--only").unwrap_or(""), activation);
    }
    if !options.table_only() {
        bench(&mut options::criterion(), &cpu, batch, activation);
    }
    let items: Vec<Item> = [
        block(BlockName::Conv1, 64, 80, 2, 1),
        block(BlockName::Conv3, 64, 80, 2, 1),
        block(BlockName::Bottleneck, 64, 80, 2, 1),
        block(BlockName::ResX, 64, 80, 2, 1),
        block(BlockName::Dense, 64, 80, 4, 1),
        block(BlockName::Sparse, 64, 80, 4, 1),
    ]
    .concat();
    common::run("conv blocks", &options, &items, |_| Ok(()))
}
