//! Whole convolutions merged for a CUDA device: run by the reference device and the cpu, which take the merged
//! ops as the convolutions that they are, against the interpreter; and what the merging saves.

use std::sync::Arc;

use gradpath::analysis::cost::{cost, total};
use gradpath::compile::{Options, Processor, Program, compile};
use gradpath::device::Device;
use gradpath::graph::Graph;
use gradpath::ops::conv_chain::ConvChain;
use gradpath::ops::split_conv::SplitConv;
use gradpath::runtime::cuda::Target;
use gradpath::tensor::{DType, Shape};

use crate::compiled::compare;
use crate::machine::{Machine, initial};
use crate::models::{Trace, Wanted, inference, inputs, menagerie, network, training};

/// A device that is not there.
pub const TARGET: Target =
    Target { arch: 80, multiprocessors: 108, shared_bytes: 163 * 1024, map: DType::F32 };

fn program(graph: &Graph, blocks: Option<Target>) -> Arc<Program> {
    let options = Options { fuse_blocks: blocks, ..Options::new(Processor::Reference) };
    Arc::new(compile(graph, options).unwrap())
}

/// The merged ops of a program: split convolutions, and chains without and with a kept middle map.
fn merged(program: &Program) -> [usize; 3] {
    let mut counts = [0; 3];
    for step in &program.steps {
        if step.op.downcast::<SplitConv>().is_some() {
            counts[0] += 1;
        } else if let Some(chain) = step.op.downcast::<ConvChain>() {
            counts[1 + usize::from(chain.keep_middle)] += 1;
        }
    }
    counts
}

/// Runs steps of `graph`, merged for [`TARGET`], on both host devices.
fn check(what: &str, graph: &Graph, images: Shape, single: f64) {
    let state = initial(graph, 11);
    let mut interpreter = Machine::interpreter(graph, &state);
    interpreter.step(&inputs(images, 11));
    for (device, tolerance) in [(Device::Reference, 6e-8), (Device::cpu(2).unwrap(), single)] {
        let mut machine = Machine::with_options(&device, graph, &state, |options| {
            options.fuse_blocks = Some(TARGET);
        });
        machine.step(&inputs(images, 11));
        compare(&format!("{what} on {device}"), graph, &interpreter, &machine, tolerance);
    }
}

fn check_network(name: &str, images: Shape, trace: Trace<'_>) {
    check(&format!("{name}, inference"), &inference(images, trace), images, 1e-5);
    check(&format!("{name}, training"), &training(images, trace, Wanted::ALL), images, 2e-3);
}

#[test]
fn merged_networks_are_the_networks() {
    let images = Shape::new(2, 64, 64, 3);
    for name in ["csp-nano", "elan-nano"] {
        check_network(name, images, &network(name, 3));
    }
    check_network("menagerie", Shape::new(2, 32, 32, 3), &menagerie);
    let images = Shape::new(1, 64, 64, 3);
    check("yolov7-tiny", &inference(images, &network("yolov7-tiny", 3)), images, 1e-5);
}

/// The scopes of the steps that are not `SplitConv`s, chains without or chains with a kept middle map, and those
/// of each of these.
fn scopes(program: &Program) -> [Vec<&str>; 4] {
    let mut scopes: [Vec<&str>; 4] = Default::default();
    for step in &program.steps {
        let kind = match (step.op.downcast::<SplitConv>(), step.op.downcast::<ConvChain>()) {
            (Some(_), _) => 1,
            (_, Some(chain)) => 2 + usize::from(chain.keep_middle),
            _ => 0,
        };
        scopes[kind].push(&step.scope);
    }
    scopes
}

fn count(scopes: &[&str], part: &str) -> usize {
    scopes.iter().filter(|scope| scope.contains(part)).count()
}

#[test]
fn every_csp_and_elan_block_is_merged() {
    // Stages of 64, 32, 16 and 8 pixels a side: eight in each network, and a pooling pyramid.
    let images = Shape::new(1, 256, 256, 3);
    for map in [DType::F32, DType::F16] {
        let target = Target { map, ..TARGET };
        let csp = program(&inference(images, &network("csp-nano", 3)), Some(target));
        let [others, splits, chains, _] = scopes(&csp);
        assert_eq!(count(&splits, ".crossing"), 9, "{map}");
        assert_eq!(count(&others, ".entry"), 0, "{map}");
        // Two bottlenecks a stage, nothing of which runs outside of a chain.
        assert_eq!(count(&chains, ".block."), 16, "{map}");
        assert_eq!(count(&others, ".block."), 0, "{map}");
        // Each head's two convolutions.
        assert_eq!(count(&chains, ".predict"), 3, "{map}");

        let elan = program(&inference(images, &network("elan-nano", 3)), Some(target));
        let [others, splits, _, stacks] = scopes(&elan);
        assert_eq!(count(&splits, ".crossing"), 9, "{map}");
        assert_eq!(count(&stacks, ".stack1"), 8, "{map}");
        assert_eq!(count(&others, ".stack"), 0, "{map}");
    }
    // In training the splits; with two-byte maps their weights are cast on the way.
    for name in ["csp-nano", "elan-nano"] {
        let graph = training(images, &network(name, 3), Wanted::STEP);
        assert_eq!(merged(&program(&graph, Some(TARGET))), [9, 0, 0], "{name}");
        let target = Target { map: DType::Bf16, ..TARGET };
        let two_byte = compile(&graph, Options::new(Processor::Cuda(target))).unwrap();
        assert_eq!(merged(&two_byte), [9, 0, 0], "{name}");
    }
}

#[test]
fn small_maps_and_wide_maps_are_left_alone() {
    // At 64 pixels the last stages have 4 and 2 a side: a tile is four times what there is to compute.
    let images = Shape::new(1, 64, 64, 3);
    let csp = program(&inference(images, &network("csp-nano", 3)), Some(TARGET));
    let [others, _, chains, _] = scopes(&csp);
    assert_eq!(count(&chains, "stage2.block."), 2);
    assert_eq!(count(&chains, "stage3.block."), 2);
    assert_eq!(count(&others, "stage4.block."), 4);
    assert_eq!(count(&others, "stage5.block."), 4);
    // The last stage of YOLOv7-tiny has stacks of 256 channels.
    let images = Shape::new(1, 256, 256, 3);
    let wide = program(&inference(images, &network("yolov7-tiny", 3)), Some(TARGET));
    let [others, _, _, stacks] = scopes(&wide);
    assert_eq!(count(&stacks, ".stack1"), 7);
    assert_eq!(count(&others, "stage5.stack"), 2);
}

/// Bytes that the merged ops of a program move less than their convolutions apart, by their operands.
fn predicted(program: &Program) -> usize {
    let mut bytes = 0;
    for step in &program.steps {
        let x = step.inputs[0].map_or(Shape::scalar(), |slot| slot.shape);
        if let Some(split) = step.op.downcast::<SplitConv>() {
            let affine = if split.conv.prologue.is_some() { 2 * x.c } else { 0 };
            bytes += (split.branches - 1) * (x.elements() + affine) * 4;
        } else if let Some(chain) = step.op.downcast::<ConvChain>() {
            let middle = x.pixels() * step.inputs[1].map_or(0, |slot| slot.shape.n);
            bytes += if chain.keep_middle { middle } else { 2 * middle } * 4;
        }
    }
    bytes
}

#[test]
fn the_bytes_saved_are_the_bytes_predicted() {
    for name in ["csp-nano", "elan-nano", "prn-nano", "yolov7-tiny"] {
        let graph = inference(Shape::new(1, 128, 128, 3), &network(name, 3));
        let (apart, blocks) = (program(&graph, None), program(&graph, Some(TARGET)));
        let bytes = |program: &Program| total(&cost(&graph, program).unwrap()).bytes.fused;
        println!("{name}: {} bytes apart, {} merged {:?}", bytes(&apart), bytes(&blocks), merged(&blocks));
        assert!(predicted(&blocks) > 0, "{name}");
        assert_eq!(bytes(&apart) - bytes(&blocks), predicted(&blocks), "{name}");
    }
}

#[test]
fn merging_takes_no_more_memory() {
    for name in ["csp-nano", "elan-nano", "prn-nano", "yolov7-tiny"] {
        for side in [64, 256, 416] {
            for batch in [1, 4] {
                let images = Shape::new(batch, side, side, 3);
                for graph in
                    [inference(images, &network(name, 3)), training(images, &network(name, 3), Wanted::STEP)]
                {
                    let (apart, blocks) = (program(&graph, None), program(&graph, Some(TARGET)));
                    let arena = |program: &Program| program.report.arena_bytes;
                    let bound = |program: &Program| program.report.bound_bytes;
                    println!(
                        "{name} {images} {:?}: {} of bound {} apart, {} of {} merged",
                        graph.mode(),
                        arena(&apart),
                        bound(&apart),
                        arena(&blocks),
                        bound(&blocks)
                    );
                    assert!(bound(&blocks) <= bound(&apart), "{name} {images} {:?}", graph.mode());
                    // How near the plan comes to the bound is a matter of luck.
                    assert!(
                        arena(&blocks) * 100 <= arena(&apart) * 101,
                        "{name} {images} {:?}",
                        graph.mode()
                    );
                    assert_eq!(blocks.report.copies, apart.report.copies, "{name}");
                }
            }
        }
    }
}
