//! The claims about CSP, PRN and ELAN, checked on what is compiled and held: one function a bench. C1 to C13 are
//! rows of the claims report ([`gradpath::claims`]).
//!
//! Memory is what a session of the cpu device, with one thread, holds at its peak: arena, parameters and
//! states. Expected ratios count maps of c channels, the stage's width, and leave out weights and workspaces;
//! the maps here are large enough that these are below the tolerance.

use gradpath::Result;
use gradpath::analysis::cost::moved_bytes;
use gradpath::analysis::meter::ProcessMeter;
use gradpath::analysis::workload::{BlockName, BlockSpec, Subject, Traced, Workload};
use gradpath::claims::Settings;
use gradpath::device::Device;
use gradpath::graph::Mode;
use gradpath::report::{Align, Layout, Table, number};
use gradpath::tensor::Shape;
use gradpath::train::MeasuredStep;

/// Channels of every stage here.
const C: usize = 64;
/// The side of the maps: large for inference, whose peak is a few maps only.
const INFERENCE_SIDE: usize = 256;
const TRAINING_SIDE: usize = 160;
/// How far a ratio of bytes may be from the ratio of maps: weights and workspaces are not maps.
const TOLERANCE: f64 = 0.02;

/// What a number has to be.
#[derive(Clone, Copy)]
pub enum Expected {
    /// This, to the last bit.
    Exactly(f64),
    /// This, within a share of it.
    Within(f64, f64),
}

/// A number that a claim is about.
pub struct Check {
    /// The claim.
    pub claim: &'static str,
    /// What the number is.
    pub what: String,
    /// What it has to be.
    pub expected: Expected,
    /// What it is.
    pub got: f64,
}

impl Check {
    fn holds(&self) -> bool {
        match self.expected {
            Expected::Exactly(value) => self.got == value,
            Expected::Within(value, share) => (self.got - value).abs() <= share * value,
        }
    }

    fn expectation(&self) -> String {
        match self.expected {
            Expected::Exactly(value) => format!("exactly {}", number::plain(value)),
            Expected::Within(value, share) => format!("{value:.4} ± {}%", 100.0 * share),
        }
    }
}

/// Prints `checks`, and those that do not hold once more as sentences; whether all hold.
pub fn report(checks: &[Check]) -> bool {
    if checks.is_empty() {
        return true;
    }
    let (left, right) = (Align::Left, Align::Right);
    let mut table =
        Table::new(&[("claim", left), ("", left), ("expected", right), ("got", right), ("", left)]);
    for check in checks {
        let verdict = if check.holds() { "holds" } else { "FAILS" };
        let got = format!("{:.4}", check.got);
        table.row([check.claim, &check.what, &check.expectation(), &got, verdict]);
    }
    println!("{}", table.render(Layout::PLAIN));
    let failed: Vec<&Check> = checks.iter().filter(|check| !check.holds()).collect();
    for check in &failed {
        let (claim, what, expected) = (check.claim, &check.what, check.expectation());
        eprintln!("{claim} does not hold: {what} is {:.4}, and was to be {expected}", check.got);
    }
    failed.is_empty()
}

/// A block or stage of `name` with `layers`, of ELAN in groups of `depth`.
fn stage(name: BlockName, layers: usize, depth: usize, mode: Mode) -> Workload {
    let side = side(mode);
    let spec = BlockSpec { name, channels: C, layers, depth, share: 0.5 };
    Workload { subject: Subject::Block(spec), input: Shape::new(1, side, side, C) }
}

fn side(mode: Mode) -> usize {
    if mode == Mode::Inference { INFERENCE_SIDE } else { TRAINING_SIDE }
}

/// The workload and the same stage without what it is about.
fn both(workload: &Workload, mode: Mode) -> Result<[Traced; 2]> {
    let without = workload.trace_without(mode)?.expect("CSP, PRN and ELAN have a stage without");
    Ok([workload.trace(mode)?, without.1])
}

/// What a session of a step holds after it has run, in all and without the weights, and what its kernels move.
struct Held {
    bytes: f64,
    maps: f64,
    moved: f64,
}

/// Runs the step of `traced`.
fn held(traced: Traced) -> Result<Held> {
    let MeasuredStep { graph, feeds } = MeasuredStep::new(traced, true)?;
    let mut session = Device::cpu(1)?.begin(&graph, 0)?;
    let feeds: Vec<_> = feeds.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    session.step(&feeds)?;
    let (program, bytes) = (session.program(), session.held_bytes());
    let maps = bytes - program.report.parameter_bytes - program.report.state_bytes;
    Ok(Held { bytes: bytes as f64, maps: maps as f64, moved: moved_bytes(program) as f64 })
}

/// What the first holds as a share of what the second holds.
fn held_ratio([a, b]: [Traced; 2]) -> Result<f64> {
    Ok(held(a)?.bytes / held(b)?.bytes)
}

/// The rows `ids` of the claims report, a check for each of their numbers.
fn reported(checks: &mut Vec<Check>, ids: &[&str]) -> Result<()> {
    let device = Device::cpu(1)?;
    let only = ids.iter().map(|id| (*id).to_owned()).collect();
    let settings = Settings { size: Settings::least_size(&device), time: None, only };
    let report = gradpath::claims::check(&device, &settings, &mut ProcessMeter::new(), &mut |_, _| {})?;
    // C1 begins the names of C10 to C13 too.
    for row in report.rows.into_iter().filter(|row| ids.contains(&row.id)) {
        for point in row.points {
            let expected = match point.tolerance {
                Some(0.0) => Expected::Exactly(point.expected),
                Some(tolerance) => Expected::Within(point.expected, tolerance),
                None => continue,
            };
            let (what, got) =
                (format!("{}: {}", row.quantity, point.label), point.measured.unwrap_or(f64::NAN));
            checks.push(Check { claim: row.id, what, expected, got });
        }
    }
    Ok(())
}

/// C1 to C3: CSP with γ = 1/2 against the residual stage.
///
/// # Errors
/// Where a stage cannot be traced or run.
pub fn csp(checks: &mut Vec<Check>) -> Result<()> {
    reported(checks, &["C1", "C2", "C3a", "C3b", "C3c", "C3d"])
}

/// C8: PRN's masked residual with γ = 1/2 against the plain residual, and its memory.
///
/// # Errors
/// Where a stage cannot be traced or run.
pub fn prn(checks: &mut Vec<Check>) -> Result<()> {
    reported(checks, &["C8"])?;
    for mode in [Mode::Inference, Mode::Training] {
        let ratio = held_ratio(both(&stage(BlockName::Prn, 2, 1, mode), mode)?)?;
        let what = format!("peak in {mode:?}, masked / plain").to_lowercase();
        checks.push(Check { claim: "PRN", what, expected: Expected::Within(1.0, TOLERANCE), got: ratio });
    }
    Ok(())
}

/// ELAN against the same units in a row: what aggregation costs in memory and traffic.
///
/// # Errors
/// Where a stage cannot be traced or run.
pub fn elan(checks: &mut Vec<Check>) -> Result<()> {
    for (s, n) in [(2, 1), (4, 2)] {
        for mode in [Mode::Inference, Mode::Training] {
            let workload = stage(BlockName::Elan, s, n, mode);
            let [elan, plain] = both(&workload, mode)?;
            let (elan, plain) = (held(elan)?, held(plain)?);
            let (groups, units) = (s as f64, (s * n) as f64);
            let (peak, moved) = match mode {
                Mode::Inference => {
                    // The concat of 2 + s maps c/2 and the output, against x and the entry.
                    let peak = (groups / 2.0 + 2.0) / 1.5;
                    // Two branches c → c/2, the units, the transition; against one entry and c/2 → c.
                    (peak, (2.0 * 1.5 + units + groups / 2.0 + 2.0) / (1.5 + units + 1.5))
                }
                Mode::Training => (
                    // The concat and its gradient; x, and the gradient of the last conv; each unit's output
                    // before the norm. In a row: x, the last conv's output and its gradient, the others'.
                    (groups + 2.0 + 2.0 + (2.0 + units) / 2.0) / (3.0 + (1.0 + units) / 2.0),
                    elan_traffic(s, n) / plain_traffic(s * n),
                ),
            };
            let what = |what| format!("{what}, {s} groups of {n}, {mode:?}, ELAN / plain").to_lowercase();
            let mut check = |what, expected, got| {
                checks.push(Check {
                    claim: "ELAN",
                    what,
                    expected: Expected::Within(expected, TOLERANCE),
                    got,
                });
            };
            check(what("peak beside the weights"), peak, elan.maps / plain.maps);
            check(what("moved"), moved, elan.moved / plain.moved);
        }
    }
    Ok(())
}

/// How a unit's activated map gets to its readers in training.
#[derive(Clone, Copy)]
enum Activated {
    /// The reader applies norm and activation to what the conv wrote.
    Read,
    /// It is written, in forward and again for the gradients: into a concat, or for the loss.
    Written,
}

/// Maps of c channels that a conv unit `from → to` moves in a training step, in units of c channels: forward;
/// writing the activated map twice, where it is written; the norm's gradient (reads the gradient and the
/// conv's output for its sums, and both again to write); the weights' and the input's gradients.
fn unit_traffic(from: f64, to: f64, activated: Activated) -> f64 {
    let written = match activated {
        Activated::Read => 0.0,
        Activated::Written => 2.0 * 2.0 * to,
    };
    (from + to) + written + 5.0 * to + 2.0 * (from + to)
}

/// The loss mean(y²) of a map of c channels, and its gradient, which reads and writes one.
const LOSS_TRAFFIC: f64 = 3.0;

fn elan_traffic(groups: usize, depth: usize) -> f64 {
    let (concat, half) = (1.0 + 0.5 * groups as f64, 0.5);
    // Both branches add to the gradient of x: one writes it, the other reads it too.
    let branches = 2.0 * unit_traffic(1.0, half, Activated::Written) + 1.0;
    let inner = (groups * (depth - 1)) as f64 * unit_traffic(half, half, Activated::Read);
    // A group's first unit adds to the gradient that came from the concat.
    let last = groups as f64 * (unit_traffic(half, half, Activated::Written) + half);
    branches + inner + last + unit_traffic(concat, 1.0, Activated::Written) + LOSS_TRAFFIC
}

fn plain_traffic(units: usize) -> f64 {
    let entry = unit_traffic(1.0, 0.5, Activated::Read);
    let row = units as f64 * unit_traffic(0.5, 0.5, Activated::Read);
    entry + row + unit_traffic(0.5, 1.0, Activated::Written) + LOSS_TRAFFIC
}
