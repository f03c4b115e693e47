//! `gradpath summary`: what a network costs, layer by layer, and what memory it will take.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::measure::{BLOCK_CHANNELS, BLOCK_SIZE, BlockOptions, ceiling_lines, ceilings};
use super::options::{DeviceOptions, Size, count};
use super::output::{print, print_json};
use crate::analysis::kernels::{Kernel, Work, kernels};
use crate::analysis::roofline::{Binding, Ceilings};
use crate::analysis::workload::{Subject, SubjectName, Workload};
use crate::analysis::{Summary, cost};
use crate::compile::{MemoryReport, Program};
use crate::device::Device;
use crate::graph::{Graph, Mode};
use crate::report::{Align, Layout, Table, number};
use crate::tensor::{DType, Shape};
use crate::train::{MeasuredStep, TrainStep};
use crate::zoo::Network;
use crate::{Error, Result};

/// Say what a network or a block costs: parameters, operations, bytes moved and memory
///
/// Layer by layer, or kernel by kernel. Nothing is run: the numbers are read off the graph and the compiled
/// steps. A network's training step is that of `gradpath train`: detection loss, backward, AdamW, averaged
/// weights. A block's is that of `gradpath bench`: mean square, backward, SGD.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The network, or a block: conv1, conv3, bottleneck, resx, csp, csp-fusion-first, csp-fusion-last,
    /// csp-partial, prn, elan, dense, sparse, osa
    #[arg(value_name = "NET")]
    what: String,
    /// Input size in pixels: 416, or width and height as 416x320 [default: the network's own; of a block 80]
    #[arg(long)]
    size: Option<Size>,
    /// Channels that enter a block [default: 64]
    #[arg(long, value_name = "C", value_parser = count)]
    channels: Option<usize>,
    #[command(flatten)]
    block: BlockOptions,
    /// Number of classes
    #[arg(long, default_value = "80", value_name = "N", value_parser = count)]
    classes: usize,
    /// Images a batch
    #[arg(long, default_value = "1", value_name = "N", value_parser = count)]
    batch: usize,
    /// Images a batch in training [default: as --batch]
    #[arg(long, value_name = "N", value_parser = count)]
    training_batch: Option<usize>,
    /// List the kernels of the compiled program, one a row, in place of the layers
    #[arg(long)]
    kernels: bool,
    /// List those of the training step
    #[arg(long, requires = "kernels")]
    training: bool,
    /// Also say how long each kernel takes at the device's ceilings, which are measured first
    #[arg(long, requires = "kernels")]
    roofline: bool,
    #[command(flatten)]
    device: DeviceOptions,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<usize>,
    input: Shape,
    device: String,
    #[serde(flatten)]
    summary: &'a Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernels: Option<&'a Listed>,
}

/// Kernels as they are listed.
#[derive(Serialize)]
struct Listed {
    /// `inference` or `training`.
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ceilings: Option<Ceilings>,
    total: Row<Work>,
    rows: Vec<Row<Kernel>>,
}

/// A kernel, or the sum, with what follows from its numbers.
#[derive(Serialize)]
struct Row<T> {
    #[serde(flatten)]
    of: T,
    /// Operations for each byte.
    intensity: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    roofline_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bound: Option<Binding>,
}

/// The residents of a peak that are listed.
const LISTED: usize = 8;

/// Runs the command.
///
/// # Errors
/// Where there is no such network or block, or it cannot take such a size; and, where ceilings are wanted, where the
/// device fails.
pub fn run(args: &Args) -> Result<()> {
    let name = SubjectName::find(&args.what)?;
    let device = args.device.open()?;
    let workload = workload(args, name)?;
    let input = workload.input;
    let training_batch = args.training_batch.unwrap_or(args.batch);
    let (graph, training) = steps(&workload, Shape { n: training_batch, ..input })?;
    let (inference, training) = (device.compile(&graph)?, device.compile(&training)?);
    let summary = Summary::new(&graph, (&inference, args.batch), (&training, training_batch))?;
    let (mode, program) = if args.training { ("training", &training) } else { ("inference", &inference) };
    let listed = args.kernels.then(|| Listed::new(mode, program, &device, args.roofline)).transpose()?;
    let network = match &workload.subject {
        Subject::Network { network, .. } => Some(network),
        Subject::Block(_) => None,
    };
    if args.json {
        return print_json(&Json {
            network: network.map(|network| network.name),
            block: network.is_none().then_some(&args.what),
            classes: network.map(|_| args.classes),
            input,
            device: device.to_string(),
            summary: &summary,
            kernels: listed.as_ref(),
        });
    }
    let mut text = match network {
        Some(network) => {
            format!(
                "{}: {}\n{} classes, input {input}, {device}\n\n",
                network.name, network.about, args.classes
            )
        }
        None => format!("{}, input {input}, {device}\n\n", args.what),
    };
    match &listed {
        Some(listed) => text.push_str(&listed.text()),
        None => text.push_str(&layer_table(&summary).render(Layout::stdout())),
    }
    let memory = &summary.memory;
    text.push('\n');
    let bytes = |bytes: usize| number::bytes(bytes as u64);
    let report = &memory.inference;
    // At inference all that is kept are the weights, as they were folded and packed.
    let kept = format!("{} prepared weights", bytes(report.parameter_bytes + report.state_bytes));
    write_memory(&mut text, &format!("inference, batch {}", memory.batch), &kept, report);
    let report = &memory.training;
    let kept = format!("{} parameters, {} states", bytes(report.parameter_bytes), bytes(report.state_bytes));
    text.push('\n');
    write_memory(&mut text, &format!("training, batch {}", memory.training_batch), &kept, report);
    print(&text)
}

fn workload(args: &Args, name: SubjectName) -> Result<Workload> {
    let (subject, size, channels) = match name {
        SubjectName::Network(network) if args.channels.is_none() => {
            (Subject::Network { network, classes: args.classes }, Size::of(&network), 3)
        }
        SubjectName::Network(network) => {
            let message = format!("--channels is for blocks, and {} is a network", network.name);
            return Err(Error::invalid(message).fix("leave it out, or name a block"));
        }
        SubjectName::Block(name) => {
            let channels = args.channels.unwrap_or(BLOCK_CHANNELS);
            (Subject::Block(args.block.spec(name, channels)), BLOCK_SIZE, channels)
        }
    };
    let size = args.size.unwrap_or(size);
    Ok(Workload { subject, input: Shape::new(args.batch, size.height, size.width, channels) })
}

/// The graphs of an inference of `workload`, and of a training step on `training_input`.
fn steps(workload: &Workload, training_input: Shape) -> Result<(Graph, Graph)> {
    match &workload.subject {
        Subject::Network { network, classes } => Ok((
            inference_graph(network, workload.input, *classes)?,
            TrainStep::typical_graph(network, training_input, *classes)?,
        )),
        Subject::Block(_) => {
            let step = |workload: Workload, mode| -> Result<Graph> {
                Ok(MeasuredStep::new(workload.trace(mode)?, true)?.graph)
            };
            let training = Workload { input: training_input, ..*workload };
            Ok((step(*workload, Mode::Inference)?, step(training, Mode::Training)?))
        }
    }
}

fn inference_graph(network: &Network, input: Shape, classes: usize) -> Result<Graph> {
    let mut graph = Graph::new(Mode::Inference);
    let images = graph.input("images", input)?;
    let heads = network.trace(&mut graph, images, classes)?;
    for (index, map) in heads.maps.iter().enumerate() {
        graph.output(&format!("head{index}"), *map)?;
    }
    Ok(graph)
}

fn layer_table(summary: &Summary) -> Table {
    let mut table = Table::new(&[
        ("", Align::Right),
        ("layer", Align::Left),
        ("ops", Align::Left),
        ("output", Align::Left),
        ("parameters", Align::Right),
        ("operations", Align::Right),
        ("Darknet's", Align::Right),
        ("bytes", Align::Right),
        ("fused", Align::Right),
        ("CIO", Align::Right),
    ]);
    let costs = |cost: &cost::Cost| {
        [
            number::count(cost.params.learnable as u64),
            number::flops(cost.flops.mac2),
            number::flops(cost.flops.darknet),
            number::bytes(cost.bytes.unfused as u64),
            number::bytes(cost.bytes.fused as u64),
            cio(cost.cio),
        ]
    };
    for (index, layer) in summary.layers.iter().enumerate() {
        let name = [index.to_string(), layer.name.clone(), layer.ops.join(", "), layer.output.to_string()];
        table.row(name.into_iter().chain(costs(&layer.cost)));
    }
    let stored = format!("{} stored", summary.total.params.stored);
    let learnable = format!("{} learnable", summary.total.params.learnable);
    let name = [String::new(), "total".to_owned(), learnable, stored];
    table.row(name.into_iter().chain(costs(&summary.total)));
    table
}

/// Elements, of which there are none where no convolution is.
fn cio(elements: f64) -> String {
    if elements > 0.0 { number::count(elements as u64) } else { String::new() }
}

impl<T> Row<T> {
    fn new(of: T, work: Work, ceilings: Option<&Ceilings>) -> Self {
        let (seconds, bound) = ceilings.map(|ceilings| work.roofline(ceilings)).unzip();
        Row { of, intensity: work.intensity(), roofline_seconds: seconds, bound }
    }

    /// Its numbers as cells.
    fn cells(&self, work: &Work) -> impl Iterator<Item = String> {
        let time = self
            .roofline_seconds
            .map(|seconds| number::duration(Duration::try_from_secs_f64(seconds).unwrap_or_default()));
        let cells = [
            number::flops(work.flops.mac2),
            number::flops(work.flops.darknet),
            number::bytes(work.read_bytes as u64),
            number::bytes(work.written_bytes as u64),
            cio(work.cio),
            number::plain(self.intensity),
        ];
        cells.into_iter().chain(time).chain(self.bound.map(|bound| bound.name().to_owned()))
    }
}

impl Listed {
    /// The kernels of `program`; with `roofline` their times at the ceilings of `device`, which are measured.
    fn new(mode: &'static str, program: &Arc<Program>, device: &Device, roofline: bool) -> Result<Self> {
        let ceilings = roofline.then(|| ceilings(device, 1.0)).transpose()?;
        let kernels = kernels(program);
        let total: Work = kernels.iter().map(|kernel| kernel.work).sum();
        let mut sum = Row::new(total, total, ceilings.as_ref());
        let rows: Vec<Row<Kernel>> = kernels
            .into_iter()
            .map(|kernel| {
                let work = kernel.work;
                Row::new(kernel, work, ceilings.as_ref())
            })
            .collect();
        // Kernels run one after the other: each has its own ceiling.
        if ceilings.is_some() {
            sum.roofline_seconds = Some(rows.iter().filter_map(|row| row.roofline_seconds).sum());
            sum.bound = None;
        }
        Ok(Listed { mode, ceilings, total: sum, rows })
    }

    fn text(&self) -> String {
        let mut columns = vec![
            ("", Align::Right),
            ("kernel", Align::Left),
            ("in", Align::Left),
            ("pass", Align::Left),
            ("output", Align::Left),
            ("operations", Align::Right),
            ("Darknet's", Align::Right),
            ("read", Align::Right),
            ("written", Align::Right),
            ("CIO", Align::Right),
            ("FLOP/B", Align::Right),
        ];
        if self.ceilings.is_some() {
            columns.extend([("roofline", Align::Right), ("bound", Align::Left)]);
        }
        let mut table = Table::new(&columns);
        for (index, row) in self.rows.iter().enumerate() {
            let kernel = &row.of;
            let names = [
                index.to_string(),
                kernel.op.clone(),
                scope_name(&kernel.scope).to_owned(),
                format!("{:?}", kernel.pass).to_lowercase(),
                kernel.output.to_string(),
            ];
            table.row(names.into_iter().chain(row.cells(&kernel.work)));
        }
        let mut last: Vec<String> = ["", "total", self.mode, "", ""]
            .map(str::to_owned)
            .into_iter()
            .chain(self.total.cells(&self.total.of))
            .collect();
        last.resize(columns.len(), String::new());
        table.row(last);
        let ceilings = self.ceilings.as_ref().map(|ceilings| ceiling_lines(ceilings) + "\n");
        ceilings.unwrap_or_default() + &table.render(Layout::stdout())
    }
}

/// The peak by items, what is alive there, and the copies; `kept` says what is held between steps.
fn write_memory(text: &mut String, what: &str, kept: &str, report: &MemoryReport) {
    let bytes = |bytes: usize| number::bytes(bytes as u64);
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "memory in {what}: {} ({} arena, {kept})\n\
         of it at the peak:",
        bytes(report.total_bytes()),
        bytes(report.arena_bytes)
    );
    for (name, size) in report.items.named().into_iter().filter(|(_, size)| *size > 0) {
        let _ = writeln!(text, "  {:>9}  {name}", bytes(size));
    }
    let _ = writeln!(
        text,
        "the most is alive at {} in {}: {}",
        report.peak_op,
        scope_name(&report.peak_scope),
        bytes(report.bound_bytes)
    );
    for resident in report.alive.iter().take(LISTED) {
        let scope = scope_name(&resident.scope);
        let _ = writeln!(text, "  {:>9}  {} in {scope}", bytes(resident.bytes), resident.op);
    }
    let rest = report.alive.get(LISTED..).unwrap_or_default();
    if !rest.is_empty() {
        let sum = rest.iter().map(|r| r.bytes).sum();
        let _ = writeln!(text, "  {:>9}  in {} others", bytes(sum), rest.len());
    }
    let mut copies: BTreeMap<&str, usize> = BTreeMap::new();
    for copy in &report.copies {
        *copies.entry(&copy.scope).or_default() += copy.elements * DType::F32.size();
    }
    for (scope, size) in copies {
        let _ =
            writeln!(text, "the concat in {} cannot do without a copy: {}", scope_name(scope), bytes(size));
    }
}

/// A scope's name; what was traced outside of all scopes is in the network's root.
fn scope_name(scope: &str) -> &str {
    if scope.is_empty() { "the root" } else { scope }
}
