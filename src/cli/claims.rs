//! `gradpath claims`: the papers' cost claims, checked on this device.

use std::path::PathBuf;
use std::time::Duration;

use super::measure::{BarsOf, COLORS, Dot, ceiling_lines, roofline, seconds, series_of};
use super::options::{DeviceOptions, count};
use super::output::{print, print_json};
use crate::analysis::bench::Measurement;
use crate::analysis::meter::ProcessMeter;
use crate::claims::{AS_WRITTEN, FUSED, Point, Report, Row, Settings, Speed, check};
use crate::report::{
    Align, BarChart, BarRow, BarSeries, Chart, Layout, Page, Progress, Table, Unit, check_chart_name,
    plot_sheet,
};
use crate::{Error, ErrorKind, Result};

/// Check the papers' cost claims on this device: half the FLOPs, two thirds of the peak memory, and the rest
///
/// Each claim is put beside what the cost model and the memory plan predict, and beside what was measured: bytes
/// that the device holds, operations of the kernels that ran, bytes moved where they can be counted, time. Claims
/// that are not true as told say what is true. Exit code 1 where prediction or measurement is not what it must be.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Claims by number (C1 to C13, F1 to F3; C3 is C3a to C3d); all where none is named
    #[arg(value_name = "CLAIM")]
    only: Vec<String>,
    /// Height and width of the maps whose memory is compared; small ones are blurred by weights and scratch
    /// memory [default: by device]
    #[arg(long, value_name = "SIZE", value_parser = count)]
    size: Option<usize>,
    /// Seconds for each block whose time is measured (C13); 0: none is
    #[arg(long, value_name = "S", default_value = "1", value_parser = seconds)]
    seconds: f64,
    #[command(flatten)]
    device: DeviceOptions,
    /// Print JSON: a list of the claims
    #[arg(long)]
    json: bool,
    /// Print tables in Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Also write a page with tables, charts and the roofline
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Also draw the charts, as .png or .svg
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// Where a claim has no such number, the device fails, a file cannot be written, or a claim that must hold
/// does not.
pub fn run(args: &Args) -> Result<()> {
    args.png.as_ref().map_or(Ok(()), check_chart_name)?;
    let device = args.device.open()?;
    let mut settings = Settings::new(&device);
    settings.size = args.size.unwrap_or(settings.size);
    settings.time = (args.seconds > 0.0).then(|| Duration::from_secs_f64(args.seconds));
    settings.only = args.only.iter().map(|name| with_capital(name)).collect();
    let mut bar: Option<Progress> = None;
    let report = check(&device, &settings, &mut ProcessMeter::new(), &mut |done, total| {
        let bar = bar.get_or_insert_with(|| Progress::new(total as u64, "claims", args.json));
        bar.advance((done as u64).saturating_sub(bar.position()));
    })?;
    drop(bar);
    if let Some(path) = &args.html {
        page(&report).save(path)?;
    }
    if let Some(path) = &args.png {
        plot_sheet(path, &charts(&report))?;
    }
    if args.json {
        print_json(&report.rows)?;
    } else {
        print(&text(&report, args.markdown))?;
    }
    let failed: Vec<&str> = report.failed().map(|row| row.id).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let message =
        format!("on {} these claims are not what they must be: {}", report.device, failed.join(", "));
    Err(Error::new(ErrorKind::Device, message)
        .fix("the table says what each was expected to be, and why it fails"))
}

/// `c3a` as `C3a`.
fn with_capital(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

/// A ratio, or what is not there.
fn value(number: Option<f64>) -> String {
    number.map_or("–".to_owned(), |value| format!("{value:.4}"))
}

fn tolerance(share: Option<f64>) -> String {
    match share {
        None => String::new(),
        Some(0.0) => "exact".to_owned(),
        Some(share) => format!("±{} %", 100.0 * share),
    }
}

/// A row a claim.
fn claims_table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        ("", Align::Left),
        ("claim", Align::Left),
        ("source", Align::Left),
        ("the paper says", Align::Left),
        ("expected", Align::Right),
        ("predicted", Align::Right),
        ("measured", Align::Right),
        ("on", Align::Left),
        ("tolerance", Align::Left),
        ("verdict", Align::Left),
    ]);
    for row in rows {
        table.row([
            row.id.to_owned(),
            row.claim.clone(),
            row.source.to_owned(),
            row.told.clone(),
            value(row.expected),
            value(row.predicted),
            value(row.measured),
            if row.measured.is_some() { row.device.clone() } else { String::new() },
            if row.points.is_empty() { String::new() } else { tolerance(row.tolerance) },
            row.verdict.to_string(),
        ]);
    }
    table
}

/// A row a number.
fn points_table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        ("", Align::Left),
        ("of what", Align::Left),
        ("expected", Align::Right),
        ("predicted", Align::Right),
        ("measured", Align::Right),
        ("tolerance", Align::Left),
    ]);
    for (row, point) in rows.iter().flat_map(|row| row.points.iter().map(move |point| (row, point))) {
        table.row([
            row.id.to_owned(),
            point.label.clone(),
            value(Some(point.expected)),
            value(Some(point.predicted)),
            value(point.measured),
            tolerance(point.tolerance),
        ]);
    }
    table
}

/// A row a program that ran: its memory and its traffic.
fn runs_table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        ("", Align::Left),
        ("program", Align::Left),
        ("planned", Align::Right),
        ("held", Align::Right),
        ("allocated", Align::Right),
        ("resident", Align::Right),
        ("moved, predicted", Align::Right),
        ("counted", Align::Right),
    ]);
    let bytes =
        |value: Option<usize>| value.map_or("–".to_owned(), |bytes| Unit::Bytes.format(bytes as f64));
    for (row, run) in rows.iter().flat_map(|row| row.runs.iter().map(move |run| (row, run))) {
        table.row([
            row.id.to_owned(),
            run.name.clone(),
            bytes(Some(run.planned_bytes)),
            bytes(Some(run.held_bytes)),
            bytes(run.reading.allocated_peak),
            bytes(run.reading.resident_peak),
            bytes(Some(run.moved_bytes)),
            run.reading
                .traffic
                .map_or("–".to_owned(), |(read, written)| Unit::Bytes.format((read + written) as f64)),
        ]);
    }
    table
}

/// What each claim rests on, or what is wrong.
fn reasons(rows: &[Row]) -> impl Iterator<Item = String> {
    rows.iter().map(|row| {
        let quantity = if row.quantity.is_empty() { String::new() } else { format!(" ({})", row.quantity) };
        format!("{}: {}{quantity}. {}.", row.id, row.verdict, row.why)
    })
}

const LEGEND: &str = "\
expected: what follows from the claim, or what is true instead. predicted: by the cost model and the memory plan.
planned, held: bytes of arena, parameters and states. allocated, resident: the most of the whole process above what
it had before, tensors that are fed and read included. moved: each operand of each kernel once.
";

fn text(report: &Report, markdown: bool) -> String {
    let rows = &report.rows;
    let tables = [claims_table(rows), points_table(rows), runs_table(rows)].map(|table| match markdown {
        true => table.markdown(),
        false => table.render(Layout::stdout()),
    });
    let gap = if markdown { "\n\n" } else { "\n" };
    let reasons: String = reasons(rows).map(|line| line + gap).collect();
    let ceilings = report.speed.as_ref().map(|speed| ceiling_lines(&speed.ceilings)).unwrap_or_default();
    let [claims, points, runs] = tables;
    let (device, newline) = (&report.device, if markdown { "\n" } else { "" });
    format!("{device}\n{newline}{ceilings}\n{claims}\n{reasons}\n{points}\n{runs}\n{LEGEND}")
}

/// Expected, predicted and measured of one row.
fn bars(row: &Row) -> Chart {
    let names = [("expected", COLORS[1]), ("predicted", COLORS[2]), ("measured", COLORS[0])];
    let bar = |point: &Point| BarRow {
        label: point.label.clone(),
        values: vec![point.expected, point.predicted, point.measured.unwrap_or(f64::NAN)],
    };
    Chart::Bars(BarChart {
        title: format!("{}: {}", row.id, row.quantity),
        unit: Unit::Plain,
        series: names.map(|(name, color)| BarSeries { name: name.to_owned(), color }).to_vec(),
        rows: row.points.iter().map(bar).collect(),
    })
}

/// The bars of a block, from top to bottom: the measurement's name, the name in the legend, the color. One of another
/// name is of the stage without the block: the last.
const SERIES: [BarsOf; 3] = [
    (FUSED, FUSED, COLORS[0]),
    (AS_WRITTEN, AS_WRITTEN, COLORS[1]),
    ("", "the same stage without it", COLORS[2]),
];

/// Times and the roofline of the blocks that were timed.
fn speed_charts(device: &str, speed: &Speed) -> Vec<Chart> {
    let series = SERIES.map(|(_, name, color)| BarSeries { name: name.to_owned(), color });
    let bars = |title: String, unit, read: fn(&Measurement) -> f64| {
        let of = |measured: &[Measurement], index| {
            measured.iter().find(|one| series_of(&SERIES, &one.name) == index).map_or(f64::NAN, read)
        };
        let row = |(name, measured): &(String, Vec<Measurement>)| BarRow {
            label: name.clone(),
            values: (0..SERIES.len()).map(|index| of(measured, index)).collect(),
        };
        let rows = speed.blocks.iter().map(row).collect();
        Chart::Bars(BarChart { title, unit, series: series.to_vec(), rows })
    };
    let dot = |name: &str, one: &Measurement| Dot {
        name: format!("{name} {}", one.name),
        flops_per_byte: one.predicted.intensity,
        flops_per_second: one.flops_per_second,
        color: SERIES[series_of(&SERIES, &one.name)].2,
    };
    let dots =
        speed.blocks.iter().flat_map(|(name, measured)| measured.iter().map(move |one| dot(name, one)));
    vec![
        bars(format!("C13: time, {device}"), Unit::Seconds, |m| m.time.median),
        bars("C13: operations".to_owned(), Unit::Flops, |m| m.predicted.flops),
        bars("C13: bytes between kernels and memory".to_owned(), Unit::Bytes, |m| m.predicted.bytes as f64),
        Chart::Lines(roofline(&speed.ceilings, dots.collect())),
    ]
}

fn charts(report: &Report) -> Vec<Chart> {
    let ratios = report.rows.iter().filter(|row| !row.points.is_empty()).map(bars);
    let speed = report.speed.iter().flat_map(|speed| speed_charts(&report.device, speed));
    ratios.chain(speed).collect()
}

fn page(report: &Report) -> Page {
    let rows = &report.rows;
    let mut page = Page::new("The cost claims of PRN, CSP and ELAN, checked");
    page.paragraph(&format!("Device: {}.", report.device));
    if let Some(speed) = &report.speed {
        page.paragraph(&ceiling_lines(&speed.ceilings).trim().replace('\n', "; "));
    }
    page.heading("The claims").table(&claims_table(rows));
    page.heading("What each rests on");
    for reason in reasons(rows) {
        page.paragraph(&reason);
    }
    page.heading("Charts").charts(&charts(report));
    page.heading("Every number").table(&points_table(rows));
    page.heading("Every program that ran").table(&runs_table(rows)).paragraph(LEGEND.trim());
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_in_small_letters() {
        assert_eq!(["c3a", "C1", "f2", ""].map(with_capital), ["C3a", "C1", "F2", ""]);
    }

    #[test]
    fn numbers_and_tolerances() {
        assert_eq!([value(Some(2.0 / 3.0)), value(None)], ["0.6667", "–"]);
        assert_eq!(
            [None, Some(0.0), Some(0.02), Some(0.001)].map(tolerance),
            ["", "exact", "±2 %", "±0.1 %"]
        );
    }
}
