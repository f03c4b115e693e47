//! `gradpath bench` on a CUDA device: programs measured, not how long they take.

use std::sync::Arc;
use std::time::Duration;

use gradpath::analysis::bench::{Candidate, compare};
use gradpath::analysis::roofline::{Ceiling, Ceilings};
use gradpath::analysis::workload::{BlockName, BlockSpec, Subject, Workload};
use gradpath::compile::{Options, Processor};
use gradpath::graph::Mode;
use gradpath::tensor::{DType, Shape};
use gradpath::train::MeasuredStep;

use crate::device::{device, open};

fn csp(mode: Mode) -> MeasuredStep {
    let spec = BlockSpec { name: BlockName::Csp, channels: 16, layers: 1, depth: 1, share: 0.5 };
    let workload = Workload { subject: Subject::Block(spec), input: Shape::new(1, 16, 16, 16) };
    MeasuredStep::new(workload.trace(mode).unwrap(), true).unwrap()
}

/// Convolutions of the forward pass.
fn convolutions(graph: &gradpath::graph::Graph) -> usize {
    graph.nodes().iter().filter(|node| node.op.name() == "conv").count()
}

#[test]
fn blocks_are_measured_in_every_element_type() {
    let Some((_session, cuda)) = open(80, DType::F32) else { return };
    let ceiling = || Ceiling { per_second: 1e9, how: String::new() };
    let ceilings = Ceilings { memory: ceiling(), compute: ceiling() };
    let mut bytes = Vec::new();
    for map in [DType::F32, DType::Bf16] {
        for mode in [Mode::Inference, Mode::Training] {
            let MeasuredStep { graph, feeds } = csp(mode);
            let graph = Arc::new(graph);
            let candidate = |name: &str, options: fn(Processor) -> Options| Candidate {
                name: name.to_owned(),
                graph: graph.clone(),
                options,
                feeds: feeds.clone(),
            };
            // The second one is the first one again, and is left out.
            let candidates = vec![
                candidate("fused", Options::new),
                candidate("again", Options::new),
                candidate("unfused", Options::plain),
            ];
            let device = device(&cuda, map);
            let measured = compare(&device, &ceilings, candidates, Duration::ZERO, &mut |_| {}).unwrap();
            let names: Vec<&str> = measured.iter().map(|m| m.name.as_str()).collect();
            assert_eq!(names, ["fused", "unfused"]);
            for m in &measured {
                assert!(m.time.runs >= 3, "{m:?}");
                assert_eq!(m.held_bytes, m.predicted.planned_bytes, "{m:?}");
            }
            assert!(measured[0].predicted.bytes < measured[1].predicted.bytes);
            // A step in bf16 rounds its weights anew, a kernel each.
            let casts = if map == DType::F32 { 0 } else { 2 * convolutions(&graph) };
            assert!(measured[0].kernels < measured[1].kernels + casts);
            bytes.push(measured[0].predicted.bytes);
        }
    }
    // Weights and statistics are f32 in both; all maps take half.
    assert!(bytes[2] < bytes[0] && bytes[3] < bytes[1], "{bytes:?}");
}

#[test]
fn every_timed_run_has_the_same_inputs() {
    let Some((_session, cuda)) = open(80, DType::F32) else { return };
    let device = device(&cuda, DType::F32);
    let MeasuredStep { graph, feeds } = csp(Mode::Inference);
    let output = |count: Option<usize>| {
        let mut session = device.begin(&graph, 0).unwrap();
        // Twice, so that both sets of staging buffers are in use.
        for _ in 0..2 {
            for (name, tensor) in &feeds {
                session.feed(name, tensor).unwrap();
            }
            match count {
                Some(count) => assert_eq!(session.time_runs(count).unwrap().len(), count),
                None => session.run().unwrap(),
            }
        }
        session.output("map0").unwrap()
    };
    let expected = output(None);
    assert!(expected.data().iter().any(|v| *v != 0.0));
    for count in [1, 2, 5] {
        assert_eq!(output(Some(count)), expected, "{count} runs");
    }
}
