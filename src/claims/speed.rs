//! C13: operations are not time.

use super::Context;
use super::row::{Point, Row};
use crate::analysis::bench::{Candidate, Measurement, compare};
use crate::analysis::cost::operations;
use crate::analysis::roofline::Ceilings;
use crate::analysis::workload::{BlockName, BlockSpec, Subject, Workload};
use crate::compile::Options;
use crate::graph::Mode;
use crate::tensor::Shape;
use crate::train::candidates;
use crate::{Error, Result};

const BLOCKS: [BlockName; 3] = [BlockName::Csp, BlockName::Prn, BlockName::Elan];
const CHANNELS: usize = 64;
const SIDE: usize = 80;

/// Blocks that were timed.
#[derive(Clone, Debug)]
pub struct Speed {
    /// What the device can do at most.
    pub ceilings: Ceilings,
    /// Each block, with what was measured: [`FUSED`], [`AS_WRITTEN`], and the same stage without the block.
    pub blocks: Vec<(String, Vec<Measurement>)>,
}

/// The block with everything that the compiler can do.
pub const FUSED: &str = "fused";
/// The block with a kernel for every op that was traced.
pub const AS_WRITTEN: &str = "as written";

/// Time follows operations where their ratios are this near to each other.
const NEAR: f64 = 0.1;

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
        let [fused, stage] = candidates(&workload, Mode::Inference, false)?
            .try_into()
            .map_err(|_| Error::internal("a block of C13 has no stage without it"))?;
        let as_written = Candidate {
            name: AS_WRITTEN.to_owned(),
            graph: fused.graph.clone(),
            options: Options::plain,
            feeds: fused.feeds.clone(),
        };
        let without = stage.name.clone();
        let flops = [&fused, &stage].map(|one| operations(&one.graph).mac2);
        let candidates = vec![fused, as_written, stage];
        let measured = match (&mut context.speed, context.settings.time) {
            (Some(speed), Some(budget)) => {
                let measured = compare(context.device, &speed.ceilings, candidates, budget, &mut |_| {})?;
                speed.blocks.push((name.name().to_owned(), measured.clone()));
                measured
            }
            _ => Vec::new(),
        };
        let time = |name: &str| measured.iter().find(|m| m.name == name).map(|m| m.time.median);
        let ratio = |over: &str| Some(time(FUSED)? / time(over)?);
        point(format!("{name} over {without}"), flops[0] / flops[1], ratio(&without));
        point(format!("{name}, fused over as written"), 1.0, ratio(AS_WRITTEN));
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
