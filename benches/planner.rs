//! The planner: how long it takes from a model to a program, and how near the program's memory comes to what no
//! plan can be below.
//!
//! `cargo bench --bench planner` prints for each step its nodes and kernels, the times of tracing, of backward
//! and update, and of compiling (recompute, fuse, schedule, place, plan), and the arena over its lower bound, the
//! most bytes alive at one kernel; then it times the same with criterion. It fails where an arena is above
//! 1.05 of its bound. Options and baselines: [`common`].

mod common;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use common::claims::{self, Check, Expected};
use common::{
    Item, block, network,
    options::{self, Options},
};
use criterion::{BatchSize, Criterion};
use gradpath::Result;
use gradpath::analysis::timing::Timing;
use gradpath::analysis::workload::{BlockName, Subject, Traced};
use gradpath::compile::{Options as CompileOptions, Program, compile};
use gradpath::device::Device;
use gradpath::graph::Mode;
use gradpath::report::{Align, Layout, Table, number};
use gradpath::train::MeasuredStep;

/// How far an arena may be above its bound.
const MOST_OVER_BOUND: f64 = 0.05;

fn items() -> Result<Vec<Item>> {
    let mut items = vec![network("yolov7-tiny", Mode::Training, 416, 8)?];
    items.push(network("yolov7-tiny", Mode::Inference, 416, 1)?);
    for name in ["elan-nano", "csp-nano", "prn-nano"] {
        items.push(network(name, Mode::Training, 160, 16)?);
    }
    for name in [BlockName::Csp, BlockName::Prn, BlockName::Elan, BlockName::Dense] {
        items.extend(block(name, 64, 80, 8, 1).into_iter().filter(|item| item.mode == Mode::Training));
    }
    Ok(items)
}

fn trace(item: &Item) -> Traced {
    item.workload.trace(item.mode).expect("a workload of this bench can be traced")
}

fn step(item: &Item, traced: Traced) -> MeasuredStep {
    let is_block = matches!(item.workload.subject, Subject::Block(_));
    MeasuredStep::new(traced, is_block).expect("every op of this bench has a gradient")
}

fn program(device: &Device, step: &MeasuredStep) -> Program {
    compile(&step.graph, CompileOptions::new(device.processor())).expect("a traced graph compiles")
}

/// Times `run` on what `prepare` makes, for about `budget` and at least once.
fn time<T, R>(budget: Duration, prepare: impl Fn() -> T, run: impl Fn(T) -> R) -> Duration {
    let (start, mut seconds) = (Instant::now(), Vec::new());
    while seconds.is_empty() || start.elapsed() < budget {
        let prepared = prepare();
        let begun = Instant::now();
        black_box(run(prepared));
        seconds.push(begun.elapsed().as_secs_f64());
    }
    Duration::from_secs_f64(Timing::of(seconds).median)
}

fn table(device: &Device, items: &[&Item], budget: Duration, checks: &mut Vec<Check>) {
    let mut columns = vec![("step", Align::Left)];
    let numbers = ["nodes", "kernels", "trace", "backward", "compile", "arena", "bound", "arena/bound"];
    columns.extend(numbers.map(|name| (name, Align::Right)));
    let mut table = Table::new(&columns);
    for item in items {
        let measured = step(item, trace(item));
        let program = program(device, &measured);
        let times = [
            time(budget / 3, || (), |()| trace(item)),
            time(budget / 3, || trace(item), |traced| step(item, traced)),
            time(budget / 3, || (), |()| self::program(device, &measured)),
        ];
        let report = &program.report;
        let ratio = report.arena_bytes as f64 / report.bound_bytes as f64;
        let mut cells = vec![item.name()];
        cells.extend([measured.graph.nodes().len(), program.steps.len()].map(|count| count.to_string()));
        cells.extend(times.map(number::duration));
        cells.extend([report.arena_bytes, report.bound_bytes].map(|bytes| number::bytes(bytes as u64)));
        cells.push(format!("{ratio:.4}"));
        table.row(cells);
        let what = format!("arena over its bound, {}", item.name());
        let expected = Expected::Within(1.0, MOST_OVER_BOUND);
        checks.push(Check { claim: "plan", what, expected, got: ratio });
    }
    println!("{device}\n{}", table.render(Layout::PLAIN));
}

fn bench(criterion: &mut Criterion, device: &Device, item: &Item) {
    let mut group = criterion.benchmark_group("planner");
    group.bench_function(format!("trace {}", item.name()), |bencher| bencher.iter(|| trace(item)));
    group.bench_function(format!("backward {}", item.name()), |bencher| {
        bencher.iter_batched(|| trace(item), |traced| step(item, traced), BatchSize::LargeInput);
    });
    group.bench_function(format!("compile {}", item.name()), |bencher| {
        let step = step(item, trace(item));
        bencher.iter_with_large_drop(|| program(device, &step));
    });
    group.finish();
}

fn main() -> Result<ExitCode> {
    let options = Options::read(&[]);
    let device = options.device()?;
    let items: Vec<Item> = items()?.into_iter().map(|item| item.with_batch(&options)).collect();
    let items: Vec<&Item> = items.iter().filter(|item| options.wants(&item.name())).collect();
    let mut holds = true;
    if !options.listing {
        let mut checks = Vec::new();
        table(&device, &items, options.budget(), &mut checks);
        holds = claims::report(&checks);
    }
    if !options.table_only() {
        let mut criterion = options::criterion();
        items.iter().for_each(|item| bench(&mut criterion, &device, item));
        criterion.final_summary();
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
