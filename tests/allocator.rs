//! What the allocator really holds while programs run, against what was planned: a program of its own, since it has the
//! counting allocator, and one test, since what other tests allocate would be counted with it.

use std::sync::Arc;

use gradpath::analysis::meter::{Meter, ProcessMeter};
use gradpath::analysis::workload::{BlockName, BlockSpec, INPUT, Subject, Workload};
use gradpath::compile::Program;
use gradpath::device::Device;
use gradpath::graph::{Graph, Mode};
use gradpath::runtime::CountingAllocator;
use gradpath::tensor::{Shape, Tensor};
use gradpath::train::{MeasuredStep, TrainStep};
use gradpath::zoo;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn held() -> usize {
    CountingAllocator::held().unwrap()
}

/// Bytes that a buffer takes beside its elements: it is aligned to 64 bytes, and described by 32 in a list that doubles
/// where it grows.
const PER_BUFFER: usize = 64 + 2 * 32;
/// Bytes of a session itself.
const SESSION: usize = 1024;
/// The most bytes outside of session and state while a step is fed and run: what a kernel's threads need to be started,
/// views of operands, an output that is read.
const OUTSIDE: usize = 16 << 10;

/// Runs a step of `graph` and returns the bytes outside of what was planned.
fn check(device: &Device, graph: &Graph, what: &str) -> usize {
    let program: Arc<Program> = device.compile(graph).unwrap();
    let state = graph.initial_state(0);
    let feed = |(name, slot): &(String, gradpath::compile::Slot)| match name.as_str() {
        INPUT | "images" => (name.clone(), Tensor::full(slot.shape, 0.5)),
        // No match, a rate of nothing, the first step.
        name if name.starts_with("matches") => (name.to_owned(), Tensor::zeros(slot.shape)),
        _ => (name.clone(), Tensor::full(slot.shape, 1.0)),
    };
    let feeds: Vec<(String, Tensor)> = program.inputs.iter().map(feed).collect();
    let feeds: Vec<(&str, &Tensor)> = feeds.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let planned = program.report.total_bytes();
    let buffers = 1 + program.persistent.len();

    let before = held();
    let mut session = device.session(program.clone()).unwrap();
    let taken = held() - before;
    assert!(
        taken >= planned && taken <= planned + buffers * PER_BUFFER + SESSION,
        "{what}: {taken} of {planned}"
    );
    session.load(&state).unwrap();
    // Threads make their stacks of work in the first step.
    session.step(&feeds).unwrap();
    let loaded = held();
    assert!(loaded - before <= taken + OUTSIDE, "{what}: {} are kept of loading", loaded - before - taken);

    let reading = ProcessMeter::new().watch(&mut || session.step(&feeds)).unwrap();
    let outside = reading.allocated_peak.unwrap();
    assert!(outside <= OUTSIDE, "{what}: a step takes {outside} bytes outside of its arena");
    assert_eq!(held(), loaded, "{what}: a step leaves something behind");
    drop(session);
    // All but what threads keep for their next task.
    assert!(held() <= before + OUTSIDE, "{what}: {} stay", held() - before);
    println!("{what}: {planned} planned, {taken} taken, {outside} outside in a step, {:?}", reading);
    outside
}

#[test]
fn a_program_holds_what_was_planned_and_little_beside() {
    // A vector is 4 MiB by itself: the counter counts.
    let reading = ProcessMeter::new().watch(&mut || {
        drop(vec![1u8; 4 << 20]);
        Ok(())
    });
    let peak = reading.unwrap().allocated_peak.unwrap();
    assert!((4 << 20..(4 << 20) + 4096).contains(&peak), "{peak}");

    for threads in [1, 2] {
        let device = Device::cpu(threads).unwrap();
        for name in BlockName::ALL {
            let spec = BlockSpec { name, channels: 32, layers: 2, depth: 1, share: 0.5 };
            let workload = Workload { subject: Subject::Block(spec), input: Shape::new(2, 20, 20, 32) };
            for mode in [Mode::Inference, Mode::Training] {
                let step = MeasuredStep::new(workload.trace(mode).unwrap(), true).unwrap();
                check(&device, &step.graph, &format!("{name} {mode:?}, {threads} threads"));
            }
        }
    }
    let device = Device::cpu(2).unwrap();
    for name in ["prn-nano", "csp-nano", "elan-nano"] {
        let network = zoo::find(name).unwrap();
        let input = Shape::new(2, 64, 64, 3);
        let workload = Workload { subject: Subject::Network { network, classes: 3 }, input };
        let step = MeasuredStep::new(workload.trace(Mode::Inference).unwrap(), false).unwrap();
        check(&device, &step.graph, &format!("{name} at inference"));
        let training = TrainStep::typical_graph(&network, input, 3).unwrap();
        check(&device, &training, &format!("{name} in training"));
    }
}
