//! `gradpath selftest`: does this device compute what it should?

use std::fmt::Write;

use clap::ValueEnum;
use serde::Serialize;

use super::options::DeviceOptions;
use super::output::{print, print_json};
use crate::device::Device;
use crate::ops::cases;
use crate::report::{Align, Layout, Progress, Table};
use crate::selftest::{CaseReport, Selection, TrainingReport, check_kernels, check_training};
use crate::tensor::DType;
use crate::zoo;
use crate::{Error, ErrorKind, Result};

/// Check every kernel of a device against the reference, then a short training against the cpu's
///
/// Each op runs on random and awkward shapes, dense, in channel slices with guards beside them, and in
/// place, in every element type, with poisoned outputs, twice. Exit code 1 where something is wrong.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    device: DeviceOptions,
    /// Only ops whose name contains this; no training then
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Element types of maps: all that the device has, or one
    #[arg(long, value_enum, default_value_t = Maps::All)]
    maps: Maps,
    /// Networks that are trained for three steps
    #[arg(long, value_name = "NET", default_values = ["prn-nano", "csp-nano", "elan-nano"], num_args = 0..)]
    train: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Maps {
    All,
    F32,
    Bf16,
    F16,
}

impl Maps {
    fn types(self) -> Vec<DType> {
        match self {
            Maps::All => vec![DType::F32, DType::Bf16, DType::F16],
            Maps::F32 => vec![DType::F32],
            Maps::Bf16 => vec![DType::Bf16],
            Maps::F16 => vec![DType::F16],
        }
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    device: String,
    passed: bool,
    kernels: &'a [CaseReport],
    training: Vec<Trained>,
}

/// A training in one element type.
#[derive(Serialize)]
struct Trained {
    map: DType,
    passed: bool,
    #[serde(flatten)]
    report: TrainingReport,
}

/// Failures that are printed for each op.
const LISTED: usize = 3;
/// Steps of a training.
const STEPS: usize = 3;

/// Runs the command.
///
/// # Errors
/// Where the device cannot be had, or computes something else than it should.
pub fn run(args: &Args) -> Result<()> {
    let device = args.device.open()?;
    let networks = args.train.iter().map(|name| zoo::find(name)).collect::<Result<Vec<_>>>()?;
    let cases = cases::all();
    let selection = Selection { maps: args.maps.types(), filter: args.only.clone() };
    let mut bar: Option<Progress> = None;
    let kernels = check_kernels(&device, &cases, &selection, &mut |total| {
        bar.get_or_insert_with(|| Progress::new(total as u64, "cases", args.json)).advance(1);
    })?;
    drop(bar);
    if kernels.is_empty() {
        let only = args.only.as_deref().unwrap_or_default();
        return Err(Error::invalid(format!("no op's name contains {only:?}")));
    }
    let mut training = Vec::new();
    if args.only.is_none() {
        for network in &networks {
            for (map, device) in by_map(&device, &selection.maps) {
                let report = check_training(&device, network, STEPS)?;
                training.push(Trained { map, passed: report.passed(), report });
            }
        }
    }
    let failed = kernels.iter().any(|k| !k.failures.is_empty()) || training.iter().any(|t| !t.passed);
    if args.json {
        let device = device.to_string();
        print_json(&Json { device, passed: !failed, kernels: &kernels, training })?;
    } else {
        print(&text(&device, &kernels, &training))?;
    }
    if failed {
        let message = format!("{device} does not compute what it should");
        return Err(
            Error::new(ErrorKind::Device, message).fix("please report the lines above, or use --device cpu")
        );
    }
    Ok(())
}

/// The device in each element type that it has.
fn by_map(device: &Device, maps: &[DType]) -> Vec<(DType, Device)> {
    match device {
        Device::Cuda(cuda) => maps.iter().map(|&map| (map, Device::Cuda(cuda.with_map(map)))).collect(),
        other => vec![(DType::F32, other.clone())],
    }
}

fn text(device: &Device, kernels: &[CaseReport], training: &[Trained]) -> String {
    let mut table = Table::new(&[
        ("op", Align::Left),
        ("maps", Align::Left),
        ("cases", Align::Right),
        ("variants", Align::Right),
        ("worst error", Align::Right),
        ("", Align::Left),
    ]);
    for report in kernels {
        let verdict = match report.failures.len() {
            0 => "ok".to_owned(),
            count => format!("{count} FAILED"),
        };
        table.row([
            report.op.to_owned(),
            report.map.to_string(),
            report.cases.to_string(),
            report.variants.to_string(),
            format!("{:.1} %", 100.0 * report.worst),
            verdict,
        ]);
    }
    let mut text = format!("{device}\n\n{}", table.render(Layout::stdout()));
    text.push_str(
        "\nThe error is a share of what is allowed: of the tolerance of the op and its element type.\n",
    );
    for report in kernels {
        for failure in report.failures.iter().take(LISTED) {
            // Writing to a string does not fail.
            let _ = writeln!(text, "\n{} ({:?}): {}", report.op, failure.variant, failure.message);
        }
        if let Some(rest) = report.failures.len().checked_sub(LISTED).filter(|rest| *rest > 0) {
            let _ = writeln!(text, "… and {rest} more of {} in {}", report.op, report.map);
        }
    }
    for Trained { map, passed, report } in training {
        let losses = |values: &[f64]| values.iter().map(|v| format!("{v:.4}")).collect::<Vec<_>>().join(", ");
        let _ = writeln!(
            text,
            "\n{} trained in {map}: losses {}; on the cpu {}; weights off by {:.2} % of their way (allowed {:.1} %): {}",
            report.network,
            losses(&report.losses),
            losses(&report.expected),
            100.0 * report.way_error,
            100.0 * report.tolerance,
            if *passed { "ok" } else { "FAILED" },
        );
    }
    text
}
