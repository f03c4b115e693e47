//! `gradpath sweep`: one block over its own parameter, as a multiple of the stage without it.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use super::measure::{
    COLORS, Described, billions, bytes, candidates, ceiling_lines, ceilings, mode, save_csv, seconds, time,
};
use super::options::{DeviceOptions, Size, count};
use super::output::{print, print_json};
use crate::analysis::bench::{Candidate, Measurement, compare};
use crate::analysis::meter::{Meter, ProcessMeter};
use crate::analysis::roofline::Ceilings;
use crate::analysis::workload::{BlockName, BlockSpec, Subject, Workload};
use crate::report::{
    Align, BarChart, BarRow, BarSeries, Chart, Color, Layout, Plot, Progress, Series, Table, Unit,
    check_chart_name, plot_sheet,
};
use crate::tensor::Shape;
use crate::{Error, Result};

/// Measure a block over its parameter: γ of a CSP split and its truncations, PRN's mask, ELAN's groups and depth
///
/// Each point is put beside the same stage without it: operations, bytes moved, planned memory and time.
/// All points of CSP and PRN are measured in turn, in one run; ELAN's each with its own plain stack.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The block
    #[arg(value_name = "WHAT", value_enum)]
    what: What,
    /// Channels that enter the block
    #[arg(long, value_name = "C", default_value = "64", value_parser = count)]
    channels: usize,
    /// Height and width of what enters: 80, or width and height as 80x40
    #[arg(long, value_name = "SIZE", default_value = "80")]
    size: Size,
    /// Images a batch
    #[arg(long, value_name = "N", default_value = "1", value_parser = count)]
    batch: usize,
    /// Residual blocks of a CSP or PRN stage
    #[arg(long, value_name = "N", default_value = "2", value_parser = count)]
    layers: usize,
    /// Measure a training step: forward, loss, backward, SGD
    #[arg(long)]
    training: bool,
    /// Seconds for each point
    #[arg(long, value_name = "S", default_value = "1", value_parser = seconds)]
    seconds: f64,
    #[command(flatten)]
    device: DeviceOptions,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Also write a table, one row a measurement
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Also draw the curves, as .png or .svg
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// γ from 1/8 to 7/8: the share of the channels that runs through the block
    Csp,
    /// Where the transitions of a CSP stage stand: its gradient-flow truncations, at γ = 1/2
    Truncation,
    /// The share of the channels that the identity is added to, from 0 to 1
    Prn,
    /// Groups s from 1 to 4, of n = 1 or 2 units each
    Elan,
}

/// The truncations of a CSP stage, and what they are called.
const TRUNCATIONS: [(BlockName, &str); 4] = [
    (BlockName::Csp, "CSP: both transitions"),
    (BlockName::CspFusionFirst, "fusion first"),
    (BlockName::CspFusionLast, "fusion last"),
    (BlockName::CspPartial, "none"),
];

/// A point of the sweep, and the stage without the block.
#[derive(Clone, Debug, Serialize)]
struct Point {
    #[serde(flatten)]
    described: Described,
    /// The point as it was measured.
    with: Measurement,
    /// The stage without the block.
    without: Measurement,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    device: &'a str,
    ceilings: &'a Ceilings,
    /// How bytes were counted, or why they were not.
    counted: String,
    points: &'a [Point],
}

impl Args {
    /// The blocks of the sweep.
    fn specs(&self) -> Vec<BlockSpec> {
        let (channels, layers) = (self.channels, self.layers);
        let spec = |name, layers, depth, share| BlockSpec { name, channels, layers, depth, share };
        match self.what {
            What::Csp => (1..8).map(|i| spec(BlockName::Csp, layers, 1, f64::from(i) / 8.0)).collect(),
            What::Truncation => TRUNCATIONS.iter().map(|&(name, _)| spec(name, layers, 1, 0.5)).collect(),
            What::Prn => (0..=8).map(|i| spec(BlockName::Prn, layers, 1, f64::from(i) / 8.0)).collect(),
            What::Elan => (1..=2)
                .flat_map(|depth| (1..=4).map(move |groups| (groups, depth)))
                .map(|(groups, depth)| spec(BlockName::Elan, groups, depth, 0.5))
                .collect(),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Where the block cannot take such a size, the device fails, or a file cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let (mode, mode_name) = mode(args.training);
    let input = Shape::new(args.batch, args.size.height, args.size.width, args.channels);
    let workloads: Vec<Workload> =
        args.specs().into_iter().map(|spec| Workload { subject: Subject::Block(spec), input }).collect();
    let pairs = workloads
        .iter()
        .map(|workload| {
            let pair: [Candidate; 2] = candidates(workload, mode, false)?
                .try_into()
                .map_err(|_| Error::internal("a block of a sweep has no stage without it"))?;
            Ok(pair)
        })
        .collect::<Result<Vec<_>>>()?;
    args.png.as_ref().map_or(Ok(()), check_chart_name)?;
    let device = args.device.open()?;
    let progress = Progress::new(100 * workloads.len() as u64 + 50, "sweep", args.json);
    progress.message("ceilings");
    let ceilings = ceilings(&device, args.seconds)?;
    progress.advance(50);
    progress.message("");
    // Points that share their baseline are one group.
    let mut groups: Vec<Vec<Candidate>> = Vec::new();
    for [with, without] in pairs {
        match groups.first_mut().filter(|_| args.what != What::Elan) {
            Some(group) => group.push(with),
            None => groups.push(vec![without, with]),
        }
    }
    let mut described = workloads.iter().map(|workload| Described::new(workload, mode_name));
    let mut points: Vec<Point> = Vec::with_capacity(workloads.len());
    for group in groups {
        let (done, share) = (points.len() as u64, group.len() as u64 - 1);
        let budget = Duration::from_secs_f64(args.seconds * share as f64);
        let mut measured = compare(&device, &ceilings, group, budget, &mut |part| {
            let at = 50 + 100 * done + (100.0 * part * share as f64) as u64;
            progress.advance(at.saturating_sub(progress.position()));
        })?
        .into_iter();
        let Some(without) = measured.next() else { continue };
        for (with, described) in measured.zip(&mut described) {
            points.push(Point { described, with, without: without.clone() });
        }
    }
    progress.finish();
    let device = device.to_string();
    if let Some(path) = &args.csv {
        let rows = points.iter().flat_map(|p| [(&p.described, &p.with), (&p.described, &p.without)]);
        save_csv(path, &device, &ceilings, rows)?;
    }
    if let Some(path) = &args.png {
        plot_sheet(path, &charts(args.what, &device, &points))?;
    }
    if args.json {
        return print_json(&Json {
            device: &device,
            ceilings: &ceilings,
            counted: ProcessMeter::new().how(),
            points: &points,
        });
    }
    let mut text = format!("{device}\n{}\n", ceiling_lines(&ceilings));
    if let Some(first) = points.first() {
        text += &format!("{}, {} of input {}\n", args.what_name(), mode_name, first.described.input);
    }
    print(&(text + &table(args.what, &points).render(Layout::stdout()) + LEGEND))
}

/// What stands below the table.
const LEGEND: &str =
    "\n×: as a multiple of the same stage without the block, which was measured in turn with it.\n";

impl Args {
    fn what_name(&self) -> String {
        match self.what {
            What::Csp => format!("CSP, {} residual blocks, over γ", self.layers),
            What::Truncation => {
                format!("CSP, {} residual blocks, over its truncations, γ = 0.5", self.layers)
            }
            What::Prn => format!("PRN, {} residual blocks, over the mask's share", self.layers),
            What::Elan => "ELAN over groups s of n units".to_owned(),
        }
    }
}

/// A point's name.
fn label(what: What, described: &Described) -> String {
    match what {
        What::Csp | What::Prn => described.split.unwrap_or_default().to_string(),
        What::Truncation => {
            let named = TRUNCATIONS.iter().find(|(name, _)| name.name() == described.what);
            named.map_or_else(|| described.what.clone(), |(_, name)| (*name).to_owned())
        }
        What::Elan => {
            format!("{} × {}", described.layers.unwrap_or_default(), described.depth.unwrap_or_default())
        }
    }
}

/// What is compared: its name, its color, and how it is read.
type Reading = (&'static str, Color, fn(&Measurement) -> f64);

const READINGS: [Reading; 4] = [
    ("operations", [95, 99, 104], |m| m.predicted.flops),
    ("bytes moved", COLORS[1], |m| m.predicted.bytes as f64),
    ("planned memory", COLORS[2], |m| m.predicted.planned_bytes as f64),
    ("time", COLORS[0], |m| m.time.median),
];

fn table(what: What, points: &[Point]) -> Table {
    let mut table = Table::new(&[
        (
            match what {
                What::Csp => "γ",
                What::Truncation => "transitions",
                What::Prn => "share",
                What::Elan => "s × n",
            },
            Align::Left,
        ),
        ("GFLOP", Align::Right),
        ("×", Align::Right),
        ("moved", Align::Right),
        ("×", Align::Right),
        ("planned", Align::Right),
        ("×", Align::Right),
        ("held", Align::Right),
        ("time", Align::Right),
        ("×", Align::Right),
        ("bound", Align::Left),
    ]);
    for Point { described, with, without } in points {
        let [flops, moved, planned, seconds] =
            READINGS.map(|(_, _, read)| format!("{:.2}", read(with) / read(without)));
        table.row([
            label(what, described),
            billions(with.predicted.flops),
            flops,
            bytes(with.predicted.bytes),
            moved,
            bytes(with.predicted.planned_bytes),
            planned,
            bytes(with.held_bytes),
            time(with),
            seconds,
            with.bound.name().to_owned(),
        ]);
    }
    table
}

fn charts(what: What, device: &str, points: &[Point]) -> Vec<Chart> {
    let mode = points.first().map_or("", |p| p.described.mode);
    if matches!(what, What::Elan | What::Truncation) {
        let names = match what {
            What::Elan => ["ELAN", "the same units in a row"],
            _ => ["CSP", "the residual stage"],
        };
        let prefix = if what == What::Elan { "s × n = " } else { "" };
        let bars = |title: String, unit, read: fn(&Measurement) -> f64| {
            let series = [(names[0], COLORS[0]), (names[1], COLORS[2])];
            Chart::Bars(BarChart {
                title,
                unit,
                series: series.map(|(name, color)| BarSeries { name: name.to_owned(), color }).to_vec(),
                rows: points
                    .iter()
                    .map(|p| BarRow {
                        label: format!("{prefix}{}", label(what, &p.described)),
                        values: vec![read(&p.with), read(&p.without)],
                    })
                    .collect(),
            })
        };
        return vec![
            bars(format!("Time, {mode}, {device}"), Unit::Seconds, READINGS[3].2),
            bars("Operations".to_owned(), Unit::Flops, READINGS[0].2),
            bars("Bytes between kernels and memory".to_owned(), Unit::Bytes, READINGS[1].2),
            bars("Planned memory".to_owned(), Unit::Bytes, READINGS[2].2),
        ];
    }
    let x = |p: &Point| p.described.split.unwrap_or_default();
    let series: Vec<Series> = READINGS
        .iter()
        .map(|&(name, color, read)| Series {
            name: name.to_owned(),
            points: points.iter().map(|p| (x(p), read(&p.with) / read(&p.without))).collect(),
            color,
        })
        .collect();
    let highest = series.iter().flat_map(|s| &s.points).map(|p| p.1).fold(1.0, f64::max);
    let (title, x_label) = match what {
        What::Prn => ("A masked residual stage", "share of the channels that the identity is added to"),
        _ => ("A CSP stage", "γ, the share of the channels that runs through the residual blocks"),
    };
    vec![Chart::Lines(Plot {
        title: format!("{title} as a multiple of the residual stage, {mode}, {device}"),
        x_label: x_label.to_owned(),
        y_label: "1: the residual stage over all channels".to_owned(),
        y_range: Some((0.0, highest * 1.06)),
        series,
        size: (900, 460),
        ..Plot::default()
    })]
}
