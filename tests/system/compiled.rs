//! Whole networks, compiled with everything on, against their graphs as traced; and what the compiler
//! promises of steps and memory.

use std::sync::Arc;

use gradpath::compile::{Options, Program, compile};
use gradpath::device::Device;
use gradpath::graph::Graph;
use gradpath::runtime::{Cpu, SimdLevel};
use gradpath::tensor::Shape;

use crate::machine::{Machine, distance, initial};
use crate::models::{Trace, Wanted, inference, inputs, menagerie, network, training};

const NANO: [&str; 3] = ["elan-nano", "csp-nano", "prn-nano"];
const SEED: u64 = 11;

/// Compares every output and, in training, everything kept: the norm of the difference over the norm.
pub fn compare(what: &str, graph: &Graph, interpreter: &Machine, machine: &Machine, tolerance: f64) {
    let mut worst = (0.0, String::new());
    let mut hold = |name: &str, got: &[f64], want: &[f64]| {
        let off = distance(got, want);
        if off > worst.0 || off.is_nan() {
            worst = (off, name.to_owned());
        }
    };
    for (name, _) in graph.outputs() {
        hold(name, &machine.output(name), &interpreter.output(name));
    }
    let after = machine.state();
    for (name, want) in interpreter.state().iter().filter(|_| !graph.assignments().is_empty()) {
        hold(&format!("{name} after the step"), &after[name], want);
    }
    println!("{what}: the worst is {:.1e} in {}", worst.0, worst.1);
    assert!(worst.0 <= tolerance, "{what}: {} is off by {:.1e}", worst.1, worst.0);
}

/// Runs a step of `graph` on the interpreter and compiled for every SIMD level of the cpu, and two steps for
/// the reference device.
fn check(what: &str, graph: &Graph, images: Shape, single: f64) {
    let state = initial(graph, SEED);
    let mut interpreter = Machine::interpreter(graph, &state);
    interpreter.step(&inputs(images, SEED));
    for simd in SimdLevel::available() {
        let device = Device::Cpu(Cpu::with_simd(2, simd).unwrap());
        let mut machine = Machine::compiled(&device, graph, &state);
        machine.step(&inputs(images, SEED));
        compare(&format!("{what} on {device}"), graph, &interpreter, &machine, single);
    }
    let mut machine = Machine::compiled(&Device::Reference, graph, &state);
    machine.step(&inputs(images, SEED));
    compare(&format!("{what} in f64"), graph, &interpreter, &machine, ROUNDED);
    machine.step(&inputs(images, SEED + 1));
    interpreter.step(&inputs(images, SEED + 1));
    compare(&format!("{what} in f64, second step"), graph, &interpreter, &machine, ROUNDED);
}

/// What is read from the reference device was rounded to f32.
const ROUNDED: f64 = 6e-8;

fn check_network(name: &str, images: Shape, trace: Trace<'_>) {
    check(&format!("{name}, inference"), &inference(images, trace), images, 1e-5);
    check(&format!("{name}, training"), &training(images, trace, Wanted::ALL), images, 2e-3);
}

#[test]
fn elan_nano() {
    check_network("elan-nano", Shape::new(2, 64, 64, 3), &network("elan-nano", 3));
}

#[test]
fn csp_nano() {
    check_network("csp-nano", Shape::new(2, 64, 64, 3), &network("csp-nano", 3));
}

#[test]
fn prn_nano() {
    check_network("prn-nano", Shape::new(2, 64, 64, 3), &network("prn-nano", 3));
}

#[test]
fn every_other_block() {
    check_network("menagerie", Shape::new(2, 32, 32, 3), &menagerie);
}

fn program(graph: &Graph, device: &Device, change: impl Fn(&mut Options)) -> Arc<Program> {
    let mut options = Options::new(device.processor());
    change(&mut options);
    Arc::new(compile(graph, options).unwrap())
}

fn count(program: &Program, ops: &[&str]) -> usize {
    program.steps.iter().filter(|step| ops.contains(&step.op.name())).count()
}

#[test]
fn inference_is_convolutions_and_moves_nothing() {
    let images = Shape::new(1, 64, 64, 3);
    for name in NANO {
        for device in [Device::Reference, Device::cpu(2).unwrap()] {
            let graph = inference(images, &network(name, 3));
            let program = program(&graph, &device, |_| ());
            let names: Vec<&str> = program.steps.iter().map(|s| s.op.name()).collect();
            let left = names.iter().filter(|n| !["conv", "max pool", "upsample", "add"].contains(n));
            assert_eq!(left.collect::<Vec<_>>(), Vec::<&&str>::new(), "{name} on {device}");
            assert_eq!(program.report.copies, [], "{name} on {device}");
        }
    }
}

#[test]
fn training_moves_nothing_for_its_topology() {
    let images = Shape::new(2, 64, 64, 3);
    for name in NANO {
        let graph = training(images, &network(name, 3), Wanted::STEP);
        let program = program(&graph, &Device::Reference, |_| ());
        let moved = count(&program, &["concat", "slice", "copy", "stop_gradient"]);
        assert_eq!((moved, program.report.copies.len()), (0, 0), "{name}: {:?}", program.report.copies);
        assert!(program.stores.is_empty(), "{name}: updates are in place");
    }
}

#[test]
fn memory_is_as_planned() {
    let images = Shape::new(2, 64, 64, 3);
    for name in NANO.into_iter().chain(["yolov7-tiny"]) {
        for device in [Device::Reference, Device::cpu(2).unwrap()] {
            let graph = training(images, &network(name, 3), Wanted::STEP);
            let fused = program(&graph, &device, |_| ());
            let kept = program(&graph, &device, |options| options.recompute = false);
            let report = &fused.report;
            println!(
                "{name} on {device}: arena {} of bound {}, without recompute {}",
                report.arena_bytes, report.bound_bytes, kept.report.arena_bytes
            );
            assert!(report.arena_bytes >= report.bound_bytes);
            assert!(report.arena_bytes * 100 <= report.bound_bytes * 105, "{name} on {device}");
            assert!(report.arena_bytes < kept.report.arena_bytes, "{name} on {device}");
            let total = report.total_bytes();
            let width = if matches!(device, Device::Reference) { 2 } else { 1 };
            assert_eq!(device.session(fused).unwrap().held_bytes(), width * total, "{name} on {device}");
        }
    }
}
