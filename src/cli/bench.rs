//! `gradpath bench`: blocks and networks on this machine, beside what they should take.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::measure::{
    BLOCK_CHANNELS, BLOCK_SIZE, BarsOf, BlockOptions, COLORS, Described, Dot, billions, bytes, ceiling_lines,
    ceilings, mode, roofline, save_csv, seconds, series_of, time,
};
use super::options::{DeviceOptions, Size, count};
use super::output::{print, print_json};
use crate::analysis::bench::{Measurement, compare};
use crate::analysis::meter::{Meter, ProcessMeter};
use crate::analysis::roofline::Ceilings;
use crate::analysis::workload::{Subject, SubjectName, Workload};
use crate::report::{
    Align, BarChart, BarRow, BarSeries, Chart, Layout, Progress, Table, Unit, check_chart_name, plot_sheet,
};
use crate::tensor::Shape;
use crate::train::candidates;
use crate::{Error, Result};

/// Measure blocks and networks: time beside operations, bytes, memory and the device's ceilings
///
/// Each is run fused, unfused (every op as it was written), and, where it is a CSP, PRN, ELAN or OSA
/// block, as the same stage without that; on a GPU with kernels for whole blocks also fused within layers
/// only. They take turns, so that what else the machine does falls on all alike.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Blocks (conv1, conv3, bottleneck, resx, csp, csp-fusion-first, csp-fusion-last, csp-partial, prn, elan,
    /// dense, sparse, osa) and networks
    #[arg(value_name = "WHAT", default_values = ["csp", "prn", "elan"])]
    what: Vec<String>,
    /// Channels that enter a block; several by comma [default: 64]
    #[arg(long, value_name = "C", value_delimiter = ',', value_parser = count)]
    channels: Vec<usize>,
    /// Height and width of what enters: 80, or width and height as 80x40; several by comma [default: 80, of
    /// a network its own]
    #[arg(long, value_name = "SIZE", value_delimiter = ',')]
    size: Vec<Size>,
    /// Images a batch; several by comma
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1", value_parser = count)]
    batch: Vec<usize>,
    #[command(flatten)]
    block: BlockOptions,
    /// Classes of a network's heads
    #[arg(long, value_name = "N", default_value = "80", value_parser = count)]
    classes: usize,
    /// Measure a training step: forward, loss, backward, SGD
    #[arg(long)]
    training: bool,
    /// Seconds for each workload; it has at least three rounds, however long they take
    #[arg(long, value_name = "S", default_value = "2", value_parser = seconds)]
    seconds: f64,
    #[command(flatten)]
    device: DeviceOptions,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Also write a table, one row a measurement
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Also draw times, bytes and the roofline, as .png or .svg
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    device: &'a str,
    ceilings: &'a Ceilings,
    /// How bytes were counted, or why they were not.
    counted: String,
    workloads: &'a [Measured],
}

/// A workload with what was measured of it.
#[derive(Serialize)]
struct Measured {
    #[serde(flatten)]
    described: Described,
    measurements: Vec<Measurement>,
}

/// Runs the command.
///
/// # Errors
/// Where a name is unknown, a block cannot take such a size, the device fails, or a file cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let workloads = workloads(args)?;
    let (mode, mode_name) = mode(args.training);
    // What cannot be traced is found before anything is measured.
    let traced =
        workloads.iter().map(|workload| candidates(workload, mode, true)).collect::<Result<Vec<_>>>()?;
    args.png.as_ref().map_or(Ok(()), check_chart_name)?;
    let device = args.device.open()?;
    let progress = Progress::new(100 * workloads.len() as u64 + 50, "bench", args.json);
    progress.message("ceilings");
    let ceilings = ceilings(&device, args.seconds)?;
    progress.advance(50);
    let mut measured = Vec::with_capacity(workloads.len());
    for (index, (workload, candidates)) in workloads.iter().zip(traced).enumerate() {
        let described = Described::new(workload, mode_name);
        progress.message(described.heading());
        let measurements =
            compare(&device, &ceilings, candidates, Duration::from_secs_f64(args.seconds), &mut |share| {
                let at = 50 + 100 * index as u64 + (100.0 * share) as u64;
                progress.advance(at.saturating_sub(progress.position()));
            })?;
        measured.push(Measured { described, measurements });
    }
    progress.finish();
    let device = device.to_string();
    if let Some(path) = &args.csv {
        let rows = measured.iter().flat_map(|m| m.measurements.iter().map(|one| (&m.described, one)));
        save_csv(path, &device, &ceilings, rows)?;
    }
    if let Some(path) = &args.png {
        plot_sheet(path, &charts(&device, &ceilings, &measured))?;
    }
    if args.json {
        return print_json(&Json {
            device: &device,
            ceilings: &ceilings,
            counted: ProcessMeter::new().how(),
            workloads: &measured,
        });
    }
    print(&text(&device, &ceilings, &measured))
}

/// All combinations of what was asked for.
fn workloads(args: &Args) -> Result<Vec<Workload>> {
    let names = args.what.iter().map(|name| SubjectName::find(name)).collect::<Result<Vec<_>>>()?;
    let has_block = names.iter().any(|name| matches!(name, SubjectName::Block(_)));
    if !has_block && !args.channels.is_empty() {
        let message = "--channels is for blocks, and only networks are named";
        return Err(Error::invalid(message).fix("leave it out, or name a block"));
    }
    let or = |given: &[usize], otherwise| if given.is_empty() { vec![otherwise] } else { given.to_vec() };
    let mut workloads = Vec::new();
    for name in names {
        let (channels, size) = match name {
            SubjectName::Block(_) => (or(&args.channels, BLOCK_CHANNELS), BLOCK_SIZE),
            SubjectName::Network(network) => (vec![3], Size::of(&network)),
        };
        let sizes = if args.size.is_empty() { vec![size] } else { args.size.clone() };
        for &channels in &channels {
            let subject = match name {
                SubjectName::Block(name) => Subject::Block(args.block.spec(name, channels)),
                SubjectName::Network(network) => Subject::Network { network, classes: args.classes },
            };
            for size in &sizes {
                for &batch in &args.batch {
                    let input = Shape::new(batch, size.height, size.width, channels);
                    workloads.push(Workload { subject, input });
                }
            }
        }
    }
    Ok(workloads)
}

/// What stands below the tables.
const LEGEND: &str = "\
time: the median, ± half of what the middle half of the runs spreads; ratio: to the fused one's.
GFLOP: a multiply-add is 2, by definition of the ops (an algorithm may need fewer: Winograd's does).
moved: operands of all kernels, each once; what stays in a cache moves faster than a copy of memory.
%: of the ceiling. bound: the ceiling that the roofline's time is of. planned, held: bytes of arena,
parameters and states by the compiler's plan, and as the device holds them. --json and --csv also
have what the process allocated, had resident, and read and wrote where that can be counted.
";

fn text(device: &str, ceilings: &Ceilings, measured: &[Measured]) -> String {
    let mut text = format!("{device}\n{}", ceiling_lines(ceilings));
    for Measured { described, measurements } in measured {
        let mut table = Table::new(&[
            ("", Align::Left),
            ("time", Align::Right),
            ("ratio", Align::Right),
            ("GFLOP", Align::Right),
            ("GFLOP/s", Align::Right),
            ("moved", Align::Right),
            ("GB/s", Align::Right),
            ("bound", Align::Left),
            ("planned", Align::Right),
            ("held", Align::Right),
        ]);
        for m in measurements {
            let rate = |value: f64, share: f64| format!("{} {:.0}%", billions(value), 100.0 * share);
            table.row([
                m.name.clone(),
                time(m),
                format!("{:.2}", m.time_ratio),
                billions(m.predicted.flops),
                rate(m.flops_per_second, m.share_of_compute),
                bytes(m.predicted.bytes),
                rate(m.bytes_per_second, m.share_of_memory),
                m.bound.name().to_owned(),
                bytes(m.predicted.planned_bytes),
                bytes(m.held_bytes),
            ]);
        }
        text += &format!("\n{}\n{}", described.heading(), table.render(Layout::stdout()));
    }
    text + "\n" + LEGEND
}

/// The bars of a row from top to bottom: the measurement's name, the name in the legend, the color. One of
/// another name is of the stage without the block: the last.
const SERIES: [BarsOf; 4] = [
    ("fused", "fused", COLORS[0]),
    ("by layer", "fused within layers", COLORS[3]),
    ("unfused", "unfused", COLORS[1]),
    ("", "the same stage without CSP, PRN, ELAN", COLORS[2]),
];

/// A workload's name in a chart: what differs between the rows.
fn label(described: &Described) -> String {
    let Shape { n, h, w, c } = described.input;
    let channels = described.layers.map_or(String::new(), |_| format!(" {c},"));
    let batch = if n == 1 { String::new() } else { format!(", batch {n}") };
    format!("{}{channels} {w}×{h}{batch}", described.what)
}

fn charts(device: &str, ceilings: &Ceilings, measured: &[Measured]) -> Vec<Chart> {
    let all = || measured.iter().flat_map(|m| &m.measurements);
    let series: Vec<usize> =
        (0..SERIES.len()).filter(|&i| all().any(|m| series_of(&SERIES, &m.name) == i)).collect();
    let bars = |title: String, unit, value: &dyn Fn(&Measurement) -> f64| {
        let name = |&i: &usize| BarSeries { name: SERIES[i].1.to_owned(), color: SERIES[i].2 };
        let row = |m: &Measured| {
            let of = |&i: &usize| m.measurements.iter().find(|one| series_of(&SERIES, &one.name) == i);
            let values = series.iter().map(|i| of(i).map_or(f64::NAN, value)).collect();
            BarRow { label: label(&m.described), values }
        };
        let (series, rows) = (series.iter().map(name).collect(), measured.iter().map(row).collect());
        Chart::Bars(BarChart { title, unit, series, rows })
    };
    let mode = measured.first().map_or("", |m| m.described.mode);
    vec![
        bars(format!("Time, {mode}, {device}"), Unit::Seconds, &|m| m.time.median),
        bars("Bytes between kernels and memory".to_owned(), Unit::Bytes, &|m| m.predicted.bytes as f64),
        Chart::Lines(roofline(ceilings, dots(measured))),
    ]
}

/// Each measurement as a dot below the roof.
fn dots(measured: &[Measured]) -> Vec<Dot> {
    let dot = |m: &Measured, one: &Measurement| Dot {
        name: format!("{} {}", label(&m.described), one.name),
        flops_per_byte: one.predicted.intensity,
        flops_per_second: one.flops_per_second,
        color: SERIES[series_of(&SERIES, &one.name)].2,
    };
    measured.iter().flat_map(|m| m.measurements.iter().map(move |one| dot(m, one))).collect()
}
