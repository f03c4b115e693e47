//! What the benches share: options, workloads, the table that each prints first, and the claims it checks.
//!
//! A bench runs in three parts. The *table* has every workload of the bench fused, unfused and as the same
//! stage without its block, measured in turn: time, operations, bytes moved, bytes held, and what the fused
//! one has of each as a share of the others. The *claims* are ratios that have to hold; where one leaves its
//! tolerance, the bench says so and exits with 1. *Criterion* then times the fused ones again, and compares
//! with a baseline:
//!
//! ```text
//! cargo bench --bench csp                               # table, claims, criterion
//! cargo bench --bench csp -- --table                    # without criterion
//! cargo bench --bench csp -- --save-baseline before     # keeps the times under target/criterion
//! cargo bench --bench csp -- --baseline before          # and says how far these are from them
//! cargo bench --bench csp -- --test                     # everything once and small, claims included: a test
//! cargo bench --bench csp -- --help                     # the other options
//! ```

// Each bench is a program of its own and uses a part of this.
#![allow(dead_code, unused_imports)]

pub mod claims;
pub mod options;
mod table;
mod workloads;

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use gradpath::Result;
use gradpath::analysis::bench::{Candidate, Predicted};
use gradpath::analysis::timing::Runner;
use gradpath::compile::compile;
use gradpath::device::Device;
use gradpath::train::candidates;

use claims::Check;
use options::Options;
pub use workloads::{Item, block, network};

/// Runs a bench named `group`: its table, its claims, criterion. The exit code is 1 where a claim fails.
///
/// # Errors
/// Where a workload cannot be traced or run.
pub fn run(
    group: &str,
    options: &Options,
    items: &[Item],
    claims: impl FnOnce(&mut Vec<Check>) -> Result<()>,
) -> Result<std::process::ExitCode> {
    let items: Vec<Item> = items.iter().map(|item| item.as_wanted(options)).collect();
    let items: Vec<&Item> = items.iter().filter(|item| options.wants(&item.name())).collect();
    let device = options.device()?;
    let mut holds = true;
    if !options.listing {
        table::print(&device, &items, options.budget())?;
        let mut checks = Vec::new();
        claims(&mut checks)?;
        holds = claims::report(&checks);
    }
    if !options.table_only() {
        let mut criterion = options::criterion();
        items.iter().try_for_each(|item| time(&mut criterion, group, &device, item))?;
        criterion.final_summary();
    }
    Ok(if holds { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE })
}

/// Times `item`, fused, with criterion.
fn time(criterion: &mut Criterion, group: &str, device: &Device, item: &Item) -> Result<()> {
    let Some(Candidate { graph, options, feeds, .. }) =
        candidates(&item.workload, item.mode, false)?.into_iter().next()
    else {
        return Ok(());
    };
    let program = Arc::new(compile(&graph, options(device.processor()))?);
    let predicted = Predicted::new(&graph, &program);
    let mut runner = None;
    let mut group = criterion.benchmark_group(group);
    group.throughput(Throughput::Elements(predicted.flops as u64));
    let name = match device {
        Device::Cuda(_) => format!("{} {device}", item.name()),
        _ => item.name(),
    };
    group.bench_function(name, |bencher| {
        // Only where this one is wanted: a list or a filter allocates nothing. What goes wrong in a run has
        // gone wrong in the table already.
        let runner = runner.get_or_insert_with(|| {
            Runner::new(device, program.clone(), &graph.initial_state(0), feeds.clone())
                .expect("a session as before")
        });
        bencher.iter_custom(|iterations| {
            let (mut seconds, mut runs) = (0.0, 0);
            while runs < iterations {
                for run in runner.sample().expect("a run as before") {
                    seconds += run;
                    runs += 1;
                }
            }
            // A device that is fed ahead runs in bursts, which need not end on the last iteration.
            Duration::from_secs_f64(seconds * iterations as f64 / runs as f64)
        });
    });
    group.finish();
    Ok(())
}
