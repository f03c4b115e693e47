//! Costs against numbers worked by hand, and against the networks' published ones.

use std::sync::Arc;

use super::*;
use crate::analysis::Summary;
use crate::analysis::workload::{BlockName, BlockSpec, Subject, Workload};
use crate::compile::{MemoryItems, Options, Processor, compile};
use crate::device::Device;
use crate::graph::Mode;
use crate::nn::{Block, MaxPooling, Style};
use crate::ops::{add, concat};
use crate::train::{MeasuredStep, TrainStep};
use crate::zoo::{self, NETWORKS};

/// A unit of 8 filters on [2, 4, 4, 3], a unit with a residual around it, pooling, a concat.
fn small() -> Graph {
    let mut graph = Graph::new(Mode::Inference);
    let x = graph.input("images", Shape::new(2, 4, 4, 3)).unwrap();
    let style = Style::default();
    let stem = style.unit(8, 3).named(&mut graph, "stem", x).unwrap();
    let sum = graph
        .scope("block", |g| {
            let y = style.unit(8, 1).named(g, "unit", stem)?;
            add::trace(g, y, stem)
        })
        .unwrap();
    let joined = graph
        .scope("end", |g| {
            let a = MaxPooling::half().trace(g, sum)?;
            let b = MaxPooling::half().trace(g, stem)?;
            concat::trace(g, &[a, b])
        })
        .unwrap();
    graph.output("joined", joined).unwrap();
    graph
}

#[test]
fn a_small_network_costs_what_it_costs_by_hand() {
    let graph = small();
    let program = compile(&graph, Options::new(Processor::Reference)).unwrap();
    let layers = cost(&graph, &program).unwrap();
    let names: Vec<&str> = layers.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(names, ["stem", "block.unit", "block", "end"]);
    let ops: Vec<Vec<String>> = layers.iter().map(|l| l.ops.clone()).collect();
    assert_eq!(ops[0], ["conv 3×3", "normalize silu"]);
    assert_eq!(ops[3], ["max pool 2×2/2", "max pool 2×2/2", "concat"]);
    let outputs: Vec<[usize; 4]> = layers.iter().map(|l| l.output.into()).collect();
    assert_eq!(outputs, [[2, 4, 4, 8], [2, 4, 4, 8], [2, 4, 4, 8], [2, 2, 2, 16]]);

    // Weight 8·3·3·3 = 216, scale and shift 8 each; mean and variance of 8 channels.
    assert_eq!(layers[0].cost.params, Parameters { learnable: 216 + 16, stored: 216 + 32 });
    assert_eq!(layers[1].cost.params, Parameters { learnable: 64 + 16, stored: 64 + 32 });
    assert_eq!(layers[2].cost.params, Parameters::default());

    // A map of 8 channels has 2·4·4·8 = 256 elements, the input 96. The norm is a multiply-add.
    assert_eq!(layers[0].cost.flops, Flops { mac2: (2 * 27 * 256 + 2 * 256) as f64, darknet: 13824.0 });
    assert_eq!(layers[1].cost.flops, Flops { mac2: (2 * 8 * 256 + 2 * 256) as f64, darknet: 4096.0 });
    assert_eq!(layers[2].cost.flops.mac2, 256.0);

    // Unfused: conv reads input and weight and writes z; normalize reads z and four vectors.
    let bytes: Vec<usize> = layers.iter().map(|l| l.cost.bytes.unfused / 4).collect();
    assert_eq!(bytes[0], (96 + 216 + 256) + (256 + 32 + 256));
    assert_eq!(bytes[2], 3 * 256);
    assert_eq!(bytes[3], 2 * (256 + 64) + (128 + 128));

    // Fused: conv reads input, folded weight and bias, and writes; the residual is one more read of
    // the 1×1, the add is gone, and the poolings write into the concat.
    let bytes: Vec<usize> = layers.iter().map(|l| l.cost.bytes.fused / 4).collect();
    assert_eq!(bytes, [96 + 216 + 8 + 256, 256 + 64 + 8 + 256 + 256, 0, 2 * (256 + 64)]);
}

fn programs(name: &str, size: usize, classes: usize, cpu: bool) -> (Graph, Arc<Program>, Arc<Program>) {
    let device = if cpu { Device::cpu(2).unwrap() } else { Device::Reference };
    let network = zoo::find(name).unwrap();
    let mut graph = Graph::new(Mode::Inference);
    let shape = Shape::new(1, size, size, 3);
    let images = graph.input("images", shape).unwrap();
    let heads = network.trace(&mut graph, images, classes).unwrap();
    for (index, map) in heads.maps.iter().enumerate() {
        graph.output(&format!("head{index}"), *map).unwrap();
    }
    let training = TrainStep::typical_graph(&network, shape, classes).unwrap();
    let (inference, training) = (device.compile(&graph).unwrap(), device.compile(&training).unwrap());
    (graph, inference, training)
}

#[test]
fn yolov7_tiny_costs_what_is_published() {
    let (graph, inference, training) = programs("yolov7-tiny", 416, 80, true);
    let summary = Summary::new(&graph, (&inference, 1), (&training, 1)).unwrap();
    assert_eq!(summary.total.params, Parameters { learnable: 6_227_101, stored: 6_241_885 });
    assert_eq!((summary.total.flops.darknet / 1e6).round() / 1e3, 5.802);
    // The norm's multiply-adds and the heads' biases are a little on top.
    let ratio = summary.total.flops.mac2 / summary.total.flops.darknet;
    assert!(ratio > 1.0 && ratio < 1.01, "{ratio}");
    let bytes = summary.total.bytes;
    assert!(bytes.fused * 10 < bytes.unfused * 6, "{bytes:?}");
    assert!(summary.memory.training_peak_bytes > summary.memory.inference_peak_bytes);
    // Every 1×1 and 3×3 convolution is a layer of its own: 58 of them.
    let convs = summary.layers.iter().filter(|l| l.ops[0].starts_with("conv")).count();
    assert_eq!(convs, 58);
}

/// The items of a plan add up to what is planned, which is what a session holds.
fn check_held(device: &Device, program: Arc<Program>, what: &str) -> MemoryItems {
    let report = program.report.clone();
    assert_eq!(report.items.total(), report.total_bytes(), "{what}: {:?}", report.items);
    assert_eq!(device.session(program).unwrap().held_bytes(), report.total_bytes(), "{what}");
    report.items
}

#[test]
fn planned_bytes_are_the_bytes_a_session_holds() {
    let device = Device::cpu(2).unwrap();
    for network in NETWORKS {
        let (graph, inference, training) = programs(network.name, 64, 3, true);
        let summary = Summary::new(&graph, (&inference, 1), (&training, 1)).unwrap();
        let memory = &summary.memory;
        assert_eq!(memory.inference_peak_bytes, memory.inference.total_bytes());
        assert_eq!(memory.training_peak_bytes, memory.training.total_bytes());
        let items = check_held(&device, inference, network.name);
        assert_eq!((items.optimizer_state, items.map_gradients, items.weight_gradients), (0, 0, 0));
        let items = check_held(&device, training, network.name);
        // Both moments of every weight, the average of it, and the average of every statistic.
        assert!(items.optimizer_state >= 3 * items.weights, "{items:?}");
        assert_eq!(items.weights, 4 * summary.total.params.learnable, "{}", network.name);
        let statistics = summary.total.params.stored - summary.total.params.learnable;
        assert_eq!(items.running_statistics, 4 * statistics, "{}", network.name);
    }
    let mut found = 0;
    for name in BlockName::ALL {
        let spec = BlockSpec { name, channels: 32, layers: 2, depth: 2, share: 0.5 };
        let workload = Workload { subject: Subject::Block(spec), input: Shape::new(2, 17, 19, 32) };
        for mode in [Mode::Inference, Mode::Training] {
            let graph = MeasuredStep::new(workload.trace(mode).unwrap(), true).unwrap().graph;
            for options in [Options::new, Options::plain] {
                let program = compile(&graph, options(device.processor())).unwrap();
                let alive = program.report.alive.clone();
                let items = check_held(&device, Arc::new(program), name.name());
                // Behind slices and concats too gradients are gradients.
                let made = alive.iter().filter(|resident| resident.op.ends_with("gradient"));
                let gradients: usize = made.map(|resident| resident.bytes).sum();
                assert!(
                    items.map_gradients + items.weight_gradients >= gradients,
                    "{name}: {items:?} {alive:?}"
                );
                found += gradients;
            }
        }
    }
    assert!(found > 0);
}

/// A unit of 16 filters, 3×3, on [2, 8, 8, 16], with SGD: all items by hand.
#[test]
fn a_step_s_memory_is_what_it_is_by_hand() {
    let spec = BlockSpec { name: BlockName::Conv3, channels: 16, layers: 1, depth: 1, share: 0.5 };
    let workload = Workload { subject: Subject::Block(spec), input: Shape::new(2, 8, 8, 16) };
    let graph = MeasuredStep::new(workload.trace(Mode::Training).unwrap(), true).unwrap().graph;
    let program = compile(&graph, Options::new(Processor::Reference)).unwrap();
    let items = program.report.items;
    let (map, vector) = (2 * 8 * 8 * 16 * 4, 16 * 4);
    let weights = 9 * 16 * 16 * 4 + 2 * vector;
    assert_eq!((items.weights, items.optimizer_state), (weights, weights));
    assert_eq!((items.running_statistics, items.workspace), (2 * vector, 0));
    // The most is alive where the weight's gradient is made, of x and dz; the norm's own vectors are updated by then,
    // and dx is not yet begun. The loss is there to be read, rate and momentum to be used.
    assert_eq!(program.report.peak_op, "conv weight gradient");
    assert_eq!((items.inputs, items.activations), (map + 2 * 4, 4), "{items:?}");
    assert_eq!((items.map_gradients, items.weight_gradients), (map, 9 * 16 * 16 * 4), "{items:?}");
    // Three scalars, each in 64 bytes.
    assert_eq!(items.gaps, 3 * 60, "{items:?}");
    assert_eq!(items.total(), program.report.total_bytes());
}

#[test]
fn every_step_is_counted_in_one_layer() {
    for network in NETWORKS {
        for cpu in [false, true] {
            let (graph, inference, _) = programs(network.name, 64, 3, cpu);
            let layers = cost(&graph, &inference).unwrap();
            let steps: usize = inference.steps.iter().map(|s| Work::of(s, inference.processor).bytes()).sum();
            assert_eq!(total(&layers).bytes.fused, steps, "{}", network.name);
            // A layer with a weight has a convolution, which always moves bytes.
            for layer in layers.iter().filter(|l| l.cost.params.learnable > 0) {
                assert!(layer.cost.bytes.fused > 0, "{}: {}", network.name, layer.name);
            }
            let pools = |l: &&Layer| l.ops.iter().any(|op| op.starts_with("max pool"));
            for layer in layers.iter().filter(pools) {
                assert!(layer.cost.bytes.fused > 0, "{}: {}", network.name, layer.name);
            }
        }
    }
}

#[test]
fn a_program_of_another_graph_is_refused() {
    let (graph, _, _) = programs("elan-nano", 64, 3, false);
    let other = compile(&small(), Options::new(Processor::Reference)).unwrap();
    assert!(cost(&graph, &other).is_err());
}
