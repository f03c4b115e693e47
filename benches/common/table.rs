//! The table that a bench prints first.

use std::time::Duration;

use gradpath::Result;
use gradpath::analysis::bench::{Measurement, compare};
use gradpath::analysis::roofline::Ceilings;
use gradpath::device::Device;
use gradpath::report::{Align, Layout, Table, number};
use gradpath::train::candidates;

use super::Item;

const COLUMNS: [(&str, Align); 11] = [
    ("variant", Align::Left),
    ("time", Align::Right),
    ("FLOP", Align::Right),
    ("moved", Align::Right),
    ("planned", Align::Right),
    ("held", Align::Right),
    ("of roof", Align::Right),
    ("fused/this: time", Align::Right),
    ("FLOP", Align::Right),
    ("moved", Align::Right),
    ("held", Align::Right),
];

const LEGEND: &str = "\
time: median of runs in turn. FLOP: a multiply-add is 2, by definition of the ops. moved: operands of all kernels,
each once, predicted. planned, held: bytes of arena, parameters and states, predicted and of the session at its peak.
of roof: the time at the device's ceilings as a share of the time. fused/this: the fused one's as a share of the row's.";

/// The ceilings' share of the time that a workload is measured for, each.
const CEILINGS: u32 = 4;

/// Measures `items` on `device`, each for about `budget`, and prints them.
///
/// # Errors
/// Where one cannot be traced or run.
pub fn print(device: &Device, items: &[&Item], budget: Duration) -> Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    let ceilings = Ceilings::measure(device, budget / CEILINGS)?;
    let (memory, compute) = (ceilings.memory.per_second / 1e9, ceilings.compute.per_second / 1e9);
    println!("{device}; ceilings {memory:.1} GB/s, {compute:.1} GFLOP/s; load {}", load());
    for item in items {
        let candidates = candidates(&item.workload, item.mode, true)?;
        let measured = compare(device, &ceilings, candidates, budget, &mut |_| ())?;
        println!("\n{}\n{}", item.name(), rows(&measured).render(Layout::PLAIN).trim_end());
    }
    println!("{LEGEND}\n");
    Ok(())
}

fn rows(measured: &[Measurement]) -> Table {
    let mut table = Table::new(&COLUMNS);
    let bytes = |value: usize| number::bytes(value as u64);
    for m in measured {
        let time = Duration::try_from_secs_f64(m.time.median).unwrap_or_default();
        let mut cells = vec![
            m.name.clone(),
            number::duration(time),
            number::flops(m.predicted.flops),
            bytes(m.predicted.bytes),
            bytes(m.predicted.planned_bytes),
            bytes(m.held_bytes),
            format!("{:.0}%", 100.0 * m.share_of_roofline()),
        ];
        // The first is the fused one.
        if let Some(fused) = measured.first().filter(|fused| fused.name != m.name) {
            let ratio = |fused: f64, this: f64| format!("{:.3}", fused / this);
            cells.extend([
                ratio(fused.time.median, m.time.median),
                ratio(fused.predicted.flops, m.predicted.flops),
                ratio(fused.predicted.bytes as f64, m.predicted.bytes as f64),
                ratio(fused.held_bytes as f64, m.held_bytes as f64),
            ]);
        }
        table.row(cells);
    }
    table
}

/// Runnable processes in the last minute (Linux): above the threads of the run, the machine was shared and
/// times mean little.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}
