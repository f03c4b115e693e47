//! `gradpath summary`: what a network costs, layer by layer, and what memory it will take.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::options::{DeviceOptions, Size, count};
use super::output::{print, print_json};
use crate::Result;
use crate::analysis::{Summary, cost};
use crate::compile::MemoryReport;
use crate::graph::{Graph, Mode};
use crate::report::{Align, Layout, Table, number};
use crate::tensor::{DType, Shape};
use crate::train::TrainStep;
use crate::zoo::{self, Network};

/// Say what a network costs: parameters, operations, bytes moved and memory, layer by layer
///
/// Nothing is run: the numbers are read off the network's graph and the compiled steps. The training
/// step is that of `gradpath train`: detection loss, backward, AdamW, averaged weights.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The network
    #[arg(value_name = "NET")]
    network: String,
    /// Input size in pixels: 416, or width and height as 416x320 [default: the network's own]
    #[arg(long)]
    size: Option<Size>,
    /// Number of classes
    #[arg(long, default_value = "80", value_name = "N", value_parser = count)]
    classes: usize,
    /// Images a batch
    #[arg(long, default_value = "1", value_name = "N", value_parser = count)]
    batch: usize,
    /// Images a batch in training [default: as --batch]
    #[arg(long, value_name = "N", value_parser = count)]
    training_batch: Option<usize>,
    #[command(flatten)]
    device: DeviceOptions,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    network: &'a str,
    classes: usize,
    input: Shape,
    device: String,
    #[serde(flatten)]
    summary: &'a Summary,
}

/// The residents of a peak that are listed.
const LISTED: usize = 8;

/// Runs the command.
///
/// # Errors
/// Where the network is unknown or cannot take such a size.
pub fn run(args: &Args) -> Result<()> {
    let network = zoo::find(&args.network)?;
    let device = args.device.open()?;
    let size = args.size.unwrap_or(Size::of(&network));
    let training_batch = args.training_batch.unwrap_or(args.batch);
    let input = Shape::new(args.batch, size.height, size.width, 3);
    let graph = inference_graph(&network, input, args.classes)?;
    let inference = device.compile(&graph)?;
    let training = TrainStep::typical_graph(&network, Shape { n: training_batch, ..input }, args.classes)?;
    let training = device.compile(&training)?;
    let summary = Summary::new(&graph, (&inference, args.batch), (&training, training_batch))?;
    if args.json {
        let (network, classes, device) = (network.name, args.classes, device.to_string());
        return print_json(&Json { network, classes, input, device, summary: &summary });
    }
    let mut text =
        format!("{}: {}\n{} classes, input {input}, {device}\n\n", network.name, network.about, args.classes);
    text.push_str(&layer_table(&summary).render(Layout::stdout()));
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
    ]);
    let costs = |cost: &cost::Cost| {
        [
            number::count(cost.params.learnable as u64),
            number::flops(cost.flops.mac2),
            number::flops(cost.flops.darknet),
            number::bytes(cost.bytes.unfused as u64),
            number::bytes(cost.bytes.fused as u64),
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

/// The peak, what is alive there, and the copies; `kept` says what is held between steps.
fn write_memory(text: &mut String, what: &str, kept: &str, report: &MemoryReport) {
    let bytes = |bytes: usize| number::bytes(bytes as u64);
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "memory in {what}: {} ({} arena, {kept})\n\
         the most is alive at {} in {}: {}",
        bytes(report.total_bytes()),
        bytes(report.arena_bytes),
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
