//! The claims of the literature about CSP, PRN and ELAN, checked on what is compiled and held: one function a
//! bench. C1 to C13 number the claims of the claims report.
//!
//! Memory is what a session of the cpu device, with one thread, holds at its peak: arena, parameters and
//! states. Expected ratios count maps of c channels, the stage's width, and leave out weights and workspaces;
//! the maps here are large enough that these are below the tolerance.

use gradpath::Result;
use gradpath::analysis::cost::moved_bytes;
use gradpath::analysis::workload::{BlockName, BlockSpec, INPUT, Subject, Traced, Workload};
use gradpath::device::Device;
use gradpath::graph::{Graph, Mode};
use gradpath::nn::{Block, Csp, Mask, Sequence, Split, Style, Truncation, bottleneck};
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
    /// This, within [`TOLERANCE`] of it.
    Near(f64),
    /// More than this.
    Above(f64),
    /// At most this.
    AtMost(f64),
    /// From one to the other, within [`TOLERANCE`] of each.
    Between(f64, f64),
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
            Expected::Near(value) => (self.got - value).abs() <= TOLERANCE * value,
            Expected::Above(value) => self.got > value,
            Expected::AtMost(value) => self.got <= value,
            Expected::Between(low, high) => {
                (low * (1.0 - TOLERANCE)..=high * (1.0 + TOLERANCE)).contains(&self.got)
            }
        }
    }

    fn expectation(&self) -> String {
        match self.expected {
            Expected::Exactly(value) => format!("exactly {}", number::plain(value)),
            Expected::Near(value) => format!("{value:.3} ± {:.0}%", 100.0 * TOLERANCE),
            Expected::Above(value) => format!("above {value}"),
            Expected::AtMost(value) => format!("at most {value}"),
            Expected::Between(low, high) => format!("{low:.3} to {high:.3} ± {:.0}%", 100.0 * TOLERANCE),
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

/// `block` alone on a map of `channels`.
fn alone(block: &dyn Block, channels: usize, mode: Mode) -> Result<Traced> {
    let mut graph = Graph::new(mode);
    let input = graph.map_input(INPUT, Shape::new(1, side(mode), side(mode), channels))?;
    let maps = vec![block.named(&mut graph, "alone", input)?];
    Ok(Traced { graph, input, maps })
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

/// Operations of the nodes of `graph` that are of `op`, and stand in a scope that begins with `scope`.
fn flops(graph: &Graph, op: &str, scope: &str) -> f64 {
    let nodes = graph.nodes().iter().filter(|node| node.op.name() == op && node.scope.starts_with(scope));
    let shapes =
        |values: &[_]| -> Vec<Shape> { values.iter().map(|&value| graph.info(value).shape).collect() };
    nodes.map(|node| node.op.cost(&shapes(&node.inputs), &shapes(&node.outputs)).flops).sum()
}

/// The learned numbers of `graph` whose names begin and end so.
fn parameters(graph: &Graph, scope: &str, name: &str) -> f64 {
    let wanted = graph.parameters().filter(|(_, p)| p.name.starts_with(scope) && p.name.ends_with(name));
    wanted.map(|(_, info)| info.shape.elements()).sum::<usize>() as f64
}

/// C1 to C3: CSP with γ = 1/2 against the residual stage.
///
/// # Errors
/// Where a stage cannot be traced or run.
pub fn csp(checks: &mut Vec<Check>) -> Result<()> {
    let mut check = |claim, what: String, expected, got| checks.push(Check { claim, what, expected, got });
    let [csp, residual] = both(&stage(BlockName::Csp, 2, 1, Mode::Inference), Mode::Inference)?;
    let ratio = flops(&csp.graph, "conv", "csp.block.") / flops(&residual.graph, "conv", "residual.");
    check("C1", "operations of the block's convs, CSP / residual".into(), Expected::Exactly(0.5), ratio);
    let weights = |traced: &Traced, scope| parameters(&traced.graph, scope, ".weight");
    let ratio = weights(&csp, "csp.block.") / weights(&residual, "residual.");
    check("C2", "weights of the block's convs, CSP / residual".into(), Expected::Exactly(0.5), ratio);

    let (style, mode, two_thirds) = (Style::default(), Mode::Inference, Expected::Near(2.0 / 3.0));
    let conv = |to| alone(&style.unit(to, 3), C / 2, mode);
    let ratio = held_ratio([conv(C / 2)?, conv(C)?])?;
    check("C3 (a)", "peak of the largest conv alone, c/2 → c/2 / c/2 → c".into(), two_thirds, ratio);
    let block =
        |width| alone(&Sequence::repeat(2, || bottleneck(style, C / 2, width, Mask::Whole)), width, mode);
    let ratio = held_ratio([block(C / 2)?, block(C)?])?;
    check("C3 (b)", "peak of the computational block alone, CSP / residual".into(), two_thirds, ratio);
    // No saving: the crossing half stays, c/2 + c/2 + c/2 against c + c/2. Where the concat lies around x, as
    // now, the half that entered the block stays too, and the block's output lies beside it: 2 c.
    let crossing = Csp {
        truncation: Truncation::Partial,
        ..Csp::new(
            style,
            Split::Slice(0.5),
            Sequence::repeat(2, || bottleneck(style, C / 2, C / 2, Mask::Whole)),
            C,
        )
    };
    let ratio = held_ratio([alone(&crossing, C, mode)?, block(C)?])?;
    let what = "peak of the stage without transitions, inference, CSP / residual";
    check("C3 (c)", what.into(), Expected::Between(1.0, 2.0 / 1.5), ratio);

    // A residual block keeps its middle c/2, its output before the norm c and its sum c; within the split
    // it is half of each. Beside them stand, of the residual stage, x and the gradient of its last conv; of
    // CSP the concat 1.5 c (x lies in it), its gradient 1.5 c, the gradient of the last transition c, and the
    // inner transition c/2.
    let mode = Mode::Training;
    for n in [1, 2, 4, 8] {
        let ratio = held_ratio(both(&stage(BlockName::Csp, n, 1, mode), mode)?)?;
        let blocks = n as f64;
        let expected = Expected::Near((1.5 * blocks + 4.5) / (2.5 * blocks + 2.0));
        check("C3 (d)", format!("peak of the stage in training, n = {n}, CSP / residual"), expected, ratio);
    }
    // Without the last transition: the concat, the gradient of its c channels, the inner transition c/2 and
    // its gradient.
    let ratio = held_ratio(both(&stage(BlockName::CspFusionLast, 8, 1, mode), mode)?)?;
    let what = "peak of the stage in training, n = 8, CSP fusion last / residual";
    check("C3 (d)", what.into(), Expected::Near((1.5 * 8.0 + 3.5) / (2.5 * 8.0 + 2.0)), ratio);
    Ok(())
}

/// C8: PRN's masked residual with γ = 1/2 against the plain residual.
///
/// # Errors
/// Where a stage cannot be traced or run.
pub fn prn(checks: &mut Vec<Check>) -> Result<()> {
    let mut check = |what: &str, expected, got| {
        checks.push(Check { claim: "C8", what: what.to_owned(), expected, got });
    };
    let [prn, residual] = both(&stage(BlockName::Prn, 2, 1, Mode::Inference), Mode::Inference)?;
    let ratio = parameters(&prn.graph, "", "") / parameters(&residual.graph, "", "");
    check("parameters, masked / plain", Expected::Exactly(1.0), ratio);
    let ratio = flops(&prn.graph, "add", "") / flops(&residual.graph, "add", "");
    check("operations of the adds, masked / plain", Expected::Exactly(0.5), ratio);
    let operations = |traced: &Traced| gradpath::analysis::cost::operations(&traced.graph).mac2;
    let ratio = operations(&prn) / operations(&residual);
    check("operations in all, masked / plain", Expected::Above(0.999), ratio);
    let peak = |mode| held_ratio(both(&stage(BlockName::Prn, 2, 1, mode), mode)?);
    check("peak in training, masked / plain", Expected::AtMost(1.0), peak(Mode::Training)?);
    // A plain residual's sum is written over x. A masked one's is written beside it, as now: c more than 1.5 c.
    let in_place_or_beside = Expected::Between(1.0, 2.5 / 1.5);
    check("peak of inference, masked / plain", in_place_or_beside, peak(Mode::Inference)?);
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
                checks.push(Check { claim: "ELAN", what, expected: Expected::Near(expected), got });
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
/// conv's output, writes); the weights' and the input's gradients.
fn unit_traffic(from: f64, to: f64, activated: Activated) -> f64 {
    let written = match activated {
        Activated::Read => 0.0,
        Activated::Written => 2.0 * 2.0 * to,
    };
    (from + to) + written + 3.0 * to + 2.0 * (from + to)
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
