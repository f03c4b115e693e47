//! C13: operations are not time.

use std::sync::Arc;

use super::Context;
use super::row::{Point, Row};
use crate::Result;
use crate::analysis::bench::{Candidate, Measurement, compare};
use crate::analysis::cost::operations;
use crate::analysis::roofline::Ceilings;
use crate::analysis::workload::{BlockName, BlockSpec, Subject, Traced, Workload};
use crate::compile::{Options, Processor};
use crate::graph::Mode;
use crate::tensor::Shape;
use crate::train::MeasuredStep;

const BLOCKS: [BlockName; 3] = [BlockName::Csp, BlockName::Prn, BlockName::Elan];
const CHANNELS: usize = 64;
const SIDE: usize = 80;
/// Blocks that were timed.
#[derive(Clone, Debug)]
pub struct Speed {
    /// What the device can do at most.
    pub ceilings: Ceilings,
    /// Each block, with: fused, as written, and the same stage without it.
    pub blocks: Vec<(String, Vec<Measurement>)>,
}

/// Time follows operations where their ratios are this near to each other.
const NEAR: f64 = 0.1;

fn candidate(name: &str, traced: Traced, options: fn(Processor) -> Options) -> Result<Candidate> {
    let MeasuredStep { graph, feeds } = MeasuredStep::new(traced, true)?;
    Ok(Candidate { name: name.to_owned(), graph: Arc::new(graph), options, feeds })
}

/// C13: what a block saves in operations beside what it saves in time.
pub(super) fn flops_and_time(context: &mut Context<'_>) -> Result<Vec<Row>> {
    let row = || {
        let claim = "Fewer operations are not as much less time";
        Row::new("C13", claim, "users of CSPDarknet-53", "\"twice as slow\" with fewer FLOPs")
    };
    let quantity = "expected and predicted: operations, block / same stage without it; measured: time";
    if let Some(budget) = context.settings.time {
        let ceilings = Ceilings::measure(context.device, budget / 2)?;
        context.speed = Some(Speed { ceilings, blocks: Vec::new() });
    }
    let mut points = Vec::new();
    let mut point = |label: String, flops: f64, time: Option<f64>| {
        points.push(Point { label, expected: flops, predicted: flops, measured: time, tolerance: None });
    };
    for name in BLOCKS {
        let spec = BlockSpec { name, channels: CHANNELS, layers: 2, depth: 1, share: 0.5 };
        let workload = Workload { subject: Subject::Block(spec), input: Shape::new(1, SIDE, SIDE, CHANNELS) };
        let mode = Mode::Inference;
        let Some((without, stage)) = workload.trace_without(mode)? else { continue };
        let step = MeasuredStep::new(workload.trace(mode)?, true)?;
        let block = Arc::new(step.graph);
        let of_block = |name: &str, options| Candidate {
            name: name.to_owned(),
            graph: block.clone(),
            options,
            feeds: step.feeds.clone(),
        };
        let candidates = vec![
            of_block("fused", Options::new),
            of_block("as written", Options::plain),
            candidate(without, stage, Options::new)?,
        ];
        let flops: Vec<f64> = candidates.iter().map(|one| operations(&one.graph).mac2).collect();
        let times: Vec<f64> = match (&mut context.speed, context.settings.time) {
            (Some(speed), Some(budget)) => {
                let measured = compare(context.device, &speed.ceilings, candidates, budget, &mut |_| {})?;
                let times = measured.iter().map(|m| m.time.median).collect();
                speed.blocks.push((name.name().to_owned(), measured));
                times
            }
            _ => Vec::new(),
        };
        let ratio = |over: usize| Some(times.first()? / times.get(over)?);
        point(format!("{name} over {without}"), flops[0] / flops[2], ratio(2));
        point(format!("{name}, fused over as written"), 1.0, ratio(1));
    }
    let apart =
        |point: &Point| point.measured.is_some_and(|time| (time / point.predicted - 1.0).abs() > NEAR);
    let furthest = points.iter().filter(|point| apart(point)).max_by(|a, b| {
        let far = |p: &Point| (p.measured.unwrap_or(p.predicted) / p.predicted).ln().abs();
        far(a).total_cmp(&far(b))
    });
    let (told, why) = match furthest {
        Some(Point { label, predicted, measured: Some(time), .. }) => (
            true,
            format!(
                "{label}: {predicted:.2} of the operations take {time:.2} of the time at {CHANNELS} channels, {SIDE} × {SIDE}"
            ),
        ),
        _ if context.settings.time.is_none() => {
            (true, "this device has no clock that means anything".to_owned())
        }
        _ => (false, format!("on this device time followed operations within {:.0} %", 100.0 * NEAR)),
    };
    Ok(vec![row().judged(context.device.to_string(), quantity, points, Vec::new(), told, &why)])
}
