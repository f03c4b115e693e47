//! What a training takes of the device's memory: what its plan says, to the byte, from the first step to the last; and
//! that how a step is run (graph or single launches, fed ahead or not) changes no bit of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use gradpath::compile::Program;
use gradpath::device::Session;
use gradpath::ops::matches::column;
use gradpath::ops::matches::testing::{UNUSED, row};
use gradpath::tensor::{DType, Random, Shape, Tensor};
use gradpath::train::TrainStep;
use gradpath::zoo;

use crate::device::{device, open};

const INPUT: Shape = Shape { n: 2, h: 64, w: 64, c: 3 };
const CLASSES: usize = 3;

/// Something for every input of a training step, another one for each `number`.
fn feeds(program: &Program, number: usize) -> Vec<(String, Tensor)> {
    let mut random = Random::new(100 + number as u64);
    let feed = |(name, slot): &(String, gradpath::compile::Slot)| {
        let shape = slot.shape;
        let tensor = match name.as_str() {
            "images" => Tensor::uniform(shape, 0.0, 1.0, &mut random),
            "learning rate" if shape.c == 2 => Tensor::new(shape, vec![1e-3, (number + 1) as f32]).unwrap(),
            "learning rate" => Tensor::full(shape, 1e-3),
            "average decay" => Tensor::full(shape, 0.9),
            _ => {
                assert!(name.starts_with("matches"), "what is fed as {name:?}?");
                let mut rows = vec![UNUSED; shape.w];
                // Of the one cell that every level has.
                rows[number % 3] =
                    row([number % 2, 0, 0, number % 3, number % CLASSES], [11.0, 13.0, 20.0, 17.0]);
                assert_eq!(shape, Shape::new(1, 1, shape.w, column::COUNT));
                Tensor::new(shape, rows.concat()).unwrap()
            }
        };
        (name.clone(), tensor)
    };
    program.inputs.iter().map(feed).collect()
}

fn feed(session: &mut dyn Session, feeds: &[(String, Tensor)]) {
    feeds.iter().for_each(|(name, tensor)| session.feed(name, tensor).unwrap());
}

/// The bits of all outputs.
fn outputs(session: &dyn Session) -> Vec<u32> {
    let names = session.program().outputs.iter().map(|(name, _)| name.clone());
    let bits =
        |name: String| session.output(&name).unwrap().data().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    names.flat_map(bits).collect()
}

fn bits(state: &BTreeMap<String, Tensor>) -> Vec<Vec<u32>> {
    state.values().map(|tensor| tensor.data().iter().map(|v| v.to_bits()).collect()).collect()
}

/// Bytes of device memory, in all and of the parts.
fn planned(program: &Program) -> u64 {
    let arena = 4 * program.arena;
    let persistent: usize = program.persistent.iter().map(|p| p.shape.elements() * p.dtype.size()).sum();
    // A word for each step; two buffers for each input.
    let status = 4 * program.steps.len();
    (arena + persistent + status) as u64 + staged(program)
}

fn staged(program: &Program) -> u64 {
    program.inputs.iter().map(|(_, slot)| (2 * slot.shape.elements() * slot.dtype.size()) as u64).sum()
}

/// Runs `count` steps in each way.
fn check(network: &str, count: usize) {
    let Some((emulator, cuda)) = open(80, DType::F32) else { return };
    let device = device(&cuda, DType::F32);
    let graph = TrainStep::typical_graph(&zoo::find(network).unwrap(), INPUT, CLASSES).unwrap();
    let program = device.compile(&graph).unwrap();
    let initial = graph.initial_state(3);
    let begin = || {
        let mut session = device.session(Arc::clone(&program)).unwrap();
        session.load(&initial).unwrap();
        session
    };
    let before = emulator.memory();
    let mut session = begin();
    let held = emulator.memory();
    assert_eq!(held.live_bytes - before.live_bytes, planned(&program), "{network}");
    // Without inputs of no bytes: each buffer is an allocation of its own.
    let parts = 1 + program.persistent.len() + 1 + 2 * program.inputs.len();
    assert_eq!(held.live_allocations - before.live_allocations, parts as u64);
    assert_eq!(held.pinned_bytes - before.pinned_bytes, staged(&program));
    let status = 4 * program.steps.len() as u64;
    assert_eq!(session.held_bytes() as u64, planned(&program) - status - staged(&program));
    assert_eq!(session.held_bytes(), program.report.total_bytes());
    assert_eq!(program.report.items.total(), program.report.total_bytes());

    // Fed, run and read one after the other.
    let steps: Vec<_> = (0..count).map(|number| feeds(&program, number)).collect();
    let mut expected = Vec::new();
    for fed in &steps {
        feed(&mut *session, fed);
        session.run().unwrap();
        expected.push(outputs(&*session));
        assert_eq!(emulator.memory().allocation_calls, held.allocation_calls, "a step allocates");
    }
    assert_eq!(emulator.memory(), held);
    let state = bits(&session.state().unwrap());
    assert!(expected.windows(2).all(|pair| pair[0] != pair[1]), "a step changes nothing");
    let loss = f32::from_bits(expected.last().unwrap()[0]);
    assert!(loss.is_finite(), "{loss}");
    drop(session);
    assert_eq!(emulator.memory().live_bytes, before.live_bytes);
    assert_eq!(emulator.memory().pinned_bytes, before.pinned_bytes);

    // Each step fed before the one before it is read.
    let mut session = begin();
    assert!(session.feeds_ahead());
    feed(&mut *session, &steps[0]);
    for (number, expected) in expected.iter().enumerate() {
        session.run().unwrap();
        if let Some(next) = steps.get(number + 1) {
            feed(&mut *session, next);
        }
        assert_eq!(&outputs(&*session), expected, "step {number} fed ahead");
    }
    assert_eq!(bits(&session.state().unwrap()), state);
    drop(session);

    // Not as a graph, launch by launch.
    let mut session = begin();
    for (number, (fed, expected)) in steps.iter().zip(&expected).take(4).enumerate() {
        feed(&mut *session, fed);
        let times = session.run_timed().unwrap();
        assert_eq!(times.len(), program.steps.len());
        assert_eq!(&outputs(&*session), expected, "step {number} launch by launch");
    }
    drop(session);
    let after = emulator.memory();
    assert_eq!((after.live_bytes, after.live_allocations), (before.live_bytes, before.live_allocations));
    assert_eq!(emulator.last_error(), "");
    println!("{network}: {} bytes held, {} of them staging", planned(&program), staged(&program));
}

#[test]
fn prn_nano_takes_what_was_planned() {
    check("prn-nano", 5);
}

#[test]
fn csp_nano_takes_what_was_planned() {
    check("csp-nano", 5);
}

#[test]
fn elan_nano_takes_what_was_planned() {
    check("elan-nano", 20);
}
