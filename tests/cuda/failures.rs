//! Devices that fail: too little memory, impossible data, launches and copies that the driver refuses. A sentence
//! each; what was taken is given back, and what can go on goes on.

use std::sync::Arc;

use gradpath::analysis::workload::{BlockName, BlockSpec, Subject, Workload};
use gradpath::device::{Device, Session};
use gradpath::graph::{Graph, Mode};
use gradpath::ops::Case;
use gradpath::ops::conv::cuda::{ConvCandidate, tile};
use gradpath::ops::conv::{Conv, Geometry};
use gradpath::ops::matches::column;
use gradpath::ops::matches::testing::{UNUSED, row};
use gradpath::ops::{class_loss, softmax_cross_entropy};
use gradpath::selftest::{CaseProgram, Variant};
use gradpath::tensor::{DType, Shape, Tensor};
use gradpath::train::{MeasuredStep, TrainStep};
use gradpath::zoo;

use crate::device::{device, open};
use crate::emulator;

/// A small training step.
fn training() -> MeasuredStep {
    let spec = BlockSpec { name: BlockName::Csp, channels: 16, layers: 1, depth: 1, share: 0.5 };
    let workload = Workload { subject: Subject::Block(spec), input: Shape::new(1, 4, 4, 16) };
    MeasuredStep::new(workload.trace(Mode::Training).unwrap(), true).unwrap()
}

fn step(session: &mut dyn Session, step: &MeasuredStep) -> gradpath::Result<Tensor> {
    for (name, tensor) in &step.feeds {
        session.feed(name, tensor)?;
    }
    session.run()?;
    session.output("loss")
}

/// The number before `unit` in `text`, behind `before`.
fn number(text: &str, before: &str) -> usize {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("{text} lacks {before:?}")).1;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("{text}: no number behind {before:?}"))
}

/// For several sizes of memory: the sentence has what is needed and what is free, and the batch that it says fits does.
#[test]
fn too_little_memory() {
    let Some((session, cuda)) = open(80, DType::F32) else { return };
    let device = device(&cuda, DType::F32);
    let network = zoo::find("prn-nano").unwrap();
    let planned = |batch: usize| {
        let graph = TrainStep::typical_graph(&network, Shape::new(batch, 64, 64, 3), 3).unwrap();
        device.compile(&graph).unwrap()
    };
    let before = session.memory();
    let batch = 16;
    let program = planned(batch);
    let report = &program.report;
    let kept = report.parameter_bytes + report.state_bytes;
    let mut suggested = Vec::new();
    for share in [95, 75, 55] {
        let memory_bytes = (kept + report.arena_bytes * share / 100) as u64;
        session.set_device(&emulator::Device { memory_bytes, ..Default::default() });
        let error = device.session(Arc::clone(&program)).err().expect("it does not fit").to_string();
        let after = session.memory();
        assert_eq!(
            (after.live_bytes, after.live_allocations),
            (before.live_bytes, before.live_allocations),
            "{share}%"
        );
        assert_eq!(after.pinned_bytes, before.pinned_bytes);
        assert!(error.starts_with("Emulator has too little memory: the step needs "), "{error}");
        let needed = number(&error, "the step needs ");
        let inputs: usize = program.inputs.iter().map(|(_, slot)| 2 * slot.shape.elements() * 4).sum();
        assert_eq!(needed, (report.total_bytes() + inputs).div_ceil(1 << 20), "{error}");
        let free = memory_bytes >> 20;
        assert!(error.contains(&format!("{free} of {free} MiB are free")), "{error}");
        let fits = number(&error, "a batch of ");
        assert!(fits < batch, "{error}");
        println!("{share} % of the arena: {error}");
        // One of these really opens.
        let smaller = planned(fits);
        let opened = device.session(smaller);
        assert!(opened.is_ok(), "{share} %: {:?}", opened.err());
        drop(opened);
        assert_eq!(session.memory().live_bytes, before.live_bytes);
        suggested.push(fits);
    }
    assert!(suggested.is_sorted_by(|a, b| a > b), "{suggested:?}");
    // What is said is on the safe side, and not far off it: nearly the whole plan has room for half of the batch.
    assert!(suggested[0] >= batch / 2, "{suggested:?}");

    // So little that no batch fits.
    session.set_device(&emulator::Device { memory_bytes: kept as u64 + 4096, ..Default::default() });
    let error = device.session(Arc::clone(&program)).err().expect("it does not fit").to_string();
    assert!(error.ends_with("use a smaller input size, or --device cpu"), "{error}");
    assert_eq!(session.memory().live_bytes, before.live_bytes);
}

/// The class loss of a table with `class` of four in row 1.
fn class_loss_of(class: usize) -> (Graph, Vec<(&'static str, Tensor)>) {
    let rows = 6;
    let table = Shape::new(1, 1, rows, column::COUNT);
    let mut graph = Graph::new(Mode::Training);
    let logits = graph.input("logits", table.with_c(4)).unwrap();
    let matches = graph.input("matches", table).unwrap();
    let loss = class_loss::trace(&mut graph, logits, matches, 0.0).unwrap();
    graph.output("loss", loss).unwrap();
    let mut data = vec![UNUSED; rows];
    data[0] = row([0, 1, 2, 1, 3], [4.0; 4]);
    data[1] = row([0, 2, 0, 0, class], [4.0; 4]);
    let table_of = Tensor::new(table, data.concat()).unwrap();
    (graph, vec![("logits", Tensor::full(table.with_c(4), 0.5)), ("matches", table_of)])
}

/// What the cpu says of impossible data the device says too, and both go on with the next step.
#[test]
fn impossible_data_is_named_as_on_the_cpu() {
    let Some((emulated, cuda)) = open(80, DType::F32) else { return };
    let (graph, bad) = class_loss_of(7);
    let (_, good) = class_loss_of(2);
    let mut said = Vec::new();
    for device in [device(&cuda, DType::F32), Device::cpu(1).unwrap()] {
        let mut session = device.session(device.compile(&graph).unwrap()).unwrap();
        let mut run = |feeds: &[(&str, Tensor)]| {
            let feeds: Vec<(&str, &Tensor)> = feeds.iter().map(|(name, tensor)| (*name, tensor)).collect();
            session.step(&feeds)?;
            session.output("loss")
        };
        let expected = run(&good).unwrap();
        assert!(expected.data().iter().all(|v| v.is_finite()));
        said.push(run(&bad).expect_err("class 7 of 4").to_string());
        assert_eq!(run(&good).unwrap(), expected);
        // And again: the word was taken back.
        assert_eq!(run(&bad).expect_err("class 7 of 4").to_string(), said[said.len() - 1]);
        assert_eq!(run(&good).unwrap(), expected);
    }
    // The device's word has room for the row and the number, not for the limit.
    assert!(said[0].contains("class 7, which there is not") && said[1].contains("class 7, but"), "{said:?}");
    for sentence in &said {
        assert!(sentence.starts_with("class loss: row 1 of the match table has "), "{sentence}");
        let fix = "assign the objects with the head and the input size that the graph was traced with";
        assert!(sentence.ends_with(fix), "{sentence}");
    }
    assert_eq!(emulated.last_error(), "");
}

/// The row and the label are in the word, so the sentence is the cpu's, digit by digit.
#[test]
fn a_label_that_is_no_class_is_named_as_on_the_cpu() {
    let Some((emulated, cuda)) = open(80, DType::F32) else { return };
    let mut graph = Graph::new(Mode::Training);
    let logits = graph.input("logits", Shape::new(5, 1, 1, 4)).unwrap();
    let labels = graph.input("labels", Shape::new(5, 1, 1, 1)).unwrap();
    let loss = softmax_cross_entropy::trace(&mut graph, logits, labels).unwrap();
    graph.output("loss", loss).unwrap();
    let logits = Tensor::full(Shape::new(5, 1, 1, 4), 0.5);
    for bad in [4.0, 1.1, -1.0, f32::NAN] {
        let labels = Tensor::new(Shape::new(5, 1, 1, 1), vec![0.0, 3.0, bad, 1.0, 9.0]).unwrap();
        let said = [device(&cuda, DType::F32), Device::cpu(1).unwrap()].map(|device| {
            let mut session = device.session(device.compile(&graph).unwrap()).unwrap();
            let ran = session.step(&[("logits", &logits), ("labels", &labels)]);
            let ran = ran.and_then(|()| session.output("loss"));
            ran.expect_err("a label that is no class").to_string()
        });
        let expected =
            format!("softmax cross entropy: row 2 has the label {}, which is no class; ", f64::from(bad));
        for sentence in said {
            assert!(sentence.starts_with(&expected), "{sentence}");
        }
    }
    assert_eq!(emulated.last_error(), "");
}

/// Calls of the driver that fail once, in the middle of a training: a sentence, and the same step again succeeds.
#[test]
fn calls_that_fail_once() {
    const OUT_OF_RESOURCES: u32 = 701;
    let Some((emulated, cuda)) = open(80, DType::F32) else { return };
    let device = device(&cuda, DType::F32);
    let training = training();
    let before = emulated.memory();
    let expected = {
        let mut session = device.begin(&training.graph, 1).unwrap();
        [step(&mut *session, &training).unwrap(), step(&mut *session, &training).unwrap()]
    };
    assert_ne!(expected[0], expected[1]);
    // The first step copies its inputs with launches and is captured; the second is replayed.
    let failures = [
        ("cuLaunchKernel", 1, true),
        ("cuLaunchKernel", 12, true),
        ("cuStreamBeginCapture_v2", 1, true),
        ("cuGraphLaunch", 1, true),
        ("cuGraphLaunch", 1, false),
        ("cuMemcpyHtoDAsync_v2", 1, true),
        ("cuMemcpyHtoDAsync_v2", 2, false),
        ("cuStreamWaitEvent", 1, false),
        ("cuEventRecord", 1, false),
    ];
    for (function, nth, in_first) in failures {
        let what =
            format!("call {nth} of {function} in the {} step", if in_first { "first" } else { "second" });
        let mut session = device.begin(&training.graph, 1).unwrap();
        if !in_first {
            assert_eq!(step(&mut *session, &training).unwrap(), expected[0]);
        }
        emulated.fail(function, nth, OUT_OF_RESOURCES);
        let error = step(&mut *session, &training).expect_err(&what).to_string();
        println!("{what}: {error}");
        assert!(error.contains("the driver says"), "{what}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        if (function, nth) == ("cuLaunchKernel", 12) {
            // The op and where it stands, the kernel and its sizes, and not its twenty macros.
            let (op, rest) = error.split_once(": kernel ").unwrap();
            assert!(training.graph.nodes().iter().any(|node| op.starts_with(node.op.name())), "{error}");
            assert!(rest.contains(" blocks of ") && rest.contains(" threads"), "{error}");
            assert!(!error.contains('<') && error.len() < 200, "{error}");
        }
        let again = step(&mut *session, &training).unwrap_or_else(|e| panic!("after {what}: {e}"));
        assert_eq!(again, expected[usize::from(!in_first)], "after {what}");
        drop(session);
        let after = emulated.memory();
        assert_eq!(
            (after.live_bytes, after.pinned_bytes),
            (before.live_bytes, before.pinned_bytes),
            "{what}"
        );
        emulated.clear();
    }
}

/// A context that an illegal access broke gives the same sentence from then on, and a session of it can be dropped.
#[test]
fn a_device_that_is_lost() {
    const ILLEGAL_ADDRESS: u32 = 700;
    let Some((emulated, cuda)) = open(80, DType::F32) else { return };
    let device = device(&cuda, DType::F32);
    let training = training();
    let mut session = device.begin(&training.graph, 1).unwrap();
    step(&mut *session, &training).unwrap();
    for _ in 0..2 {
        emulated.fail("cuStreamSynchronize", 1, ILLEGAL_ADDRESS);
        let error = step(&mut *session, &training).expect_err("the stream failed").to_string();
        assert!(error.contains("the device failed while it ran: the driver says"), "{error}");
        assert!(error.contains("gradpath selftest"), "{error}");
    }
}

/// Memory or a stream that the driver refuses for another reason than that there is no more.
#[test]
fn a_session_that_cannot_be_opened() {
    const UNKNOWN: u32 = 999;
    let Some((emulated, cuda)) = open(80, DType::F32) else { return };
    let device = device(&cuda, DType::F32);
    let program = device.compile(&training().graph).unwrap();
    let before = emulated.memory();
    for (function, nth) in [
        ("cuMemAlloc_v2", 1),
        ("cuMemAlloc_v2", 5),
        ("cuMemHostAlloc", 2),
        ("cuStreamCreate", 1),
        ("cuEventCreate", 1),
        ("cuMemsetD8Async", 1),
    ] {
        emulated.fail(function, nth, UNKNOWN);
        let error = device.session(Arc::clone(&program)).err();
        let error = error.unwrap_or_else(|| panic!("{function} {nth} was not called")).to_string();
        println!("{function}: {error}");
        assert!(error.contains("the driver says"), "{function}: {error}");
        let after = emulated.memory();
        assert_eq!(
            (after.live_bytes, after.pinned_bytes),
            (before.live_bytes, before.pinned_bytes),
            "{function}"
        );
        emulated.clear();
    }
    device.session(program).unwrap();
}

/// A tensor map that the driver does not encode is a sentence too.
#[test]
fn a_tensor_map_that_the_driver_refuses() {
    const INVALID_VALUE: u32 = 1;
    let Some((emulated, cuda)) = open(90, DType::F32) else { return };
    let device = device(&cuda, DType::Bf16);
    let conv = Conv::plain(Geometry::same(1, 1), false);
    let op = ConvCandidate { conv, candidate: tile::candidates(DType::Bf16).len() };
    let case = Case::random(op, &[Shape::new(1, 4, 4, 8), Shape::new(8, 1, 1, 8)], 1).dense_inputs(&[1]);
    let variant = Variant { map: DType::Bf16, padding: 0, in_place: false };
    let laid_out = CaseProgram::new(&case, variant, &device.processor()).unwrap();
    let mut session = device.session(Arc::clone(&laid_out.program)).unwrap();
    session.load(&laid_out.state).unwrap();
    // The weight's.
    emulated.fail("cuTensorMapEncodeTiled", 2, INVALID_VALUE);
    let error = session.run().expect_err("no tensor map").to_string();
    println!("{error}");
    for part in ["tensor map of bf16", "8 by 16 bytes (box 32)", "cannot be encoded: the driver says"] {
        assert!(error.contains(part), "{error:?} lacks {part:?}");
    }
    session.run().unwrap();
    session.state().unwrap();
}
