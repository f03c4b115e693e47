//! Rows of kernels against numbers worked by hand.

use std::time::Duration;

use super::*;
use crate::analysis::cost;
use crate::analysis::roofline::Ceiling;
use crate::analysis::workload::{BlockName, BlockSpec, Subject, Workload};
use crate::compile::{Options, Processor, compile};
use crate::device::Device;
use crate::graph::{Graph, Mode};
use crate::ops::batch_norm::NormalizeGradient;
use crate::ops::conv_chain::ConvChain;
use crate::ops::split_conv::SplitConv;
use crate::runtime::Activation;
use crate::runtime::cuda::Target;
use crate::tensor::DType;
use crate::train::MeasuredStep;

const PIXELS: usize = 2 * 6 * 5;

fn target(map: DType) -> Target {
    Target { arch: 80, multiprocessors: 4, shared_bytes: 166_912, map }
}

fn graph(name: BlockName, channels: usize, layers: usize, mode: Mode) -> Graph {
    graph_of(name, Shape::new(2, 6, 5, channels), layers, mode)
}

fn graph_of(name: BlockName, input: Shape, layers: usize, mode: Mode) -> Graph {
    let spec = BlockSpec { name, channels: input.c, layers, depth: 1, share: 0.5 };
    let workload = Workload { subject: Subject::Block(spec), input };
    MeasuredStep::new(workload.trace(mode).unwrap(), true).unwrap().graph
}

#[test]
fn a_unit_is_one_row_by_hand() {
    let graph = graph(BlockName::Conv3, 16, 1, Mode::Inference);
    let row = |processor| {
        let rows = kernels(&compile(&graph, Options::new(processor)).unwrap());
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows[0].clone()
    };
    let (map, weight) = (PIXELS * 16, 9 * 16 * 16);
    let f32 = row(Processor::Reference);
    assert_eq!((f32.op.as_str(), f32.scope.as_str(), f32.pass), ("conv 3×3", "conv3.0", Pass::Forward));
    assert_eq!((f32.work.read_bytes, f32.work.written_bytes), (4 * (map + weight + 16), 4 * map));
    // Weights times pixels, a multiply-add 2, and the bias.
    let darknet = (2 * weight * PIXELS) as f64;
    assert_eq!(f32.work.flops, Flops { mac2: darknet + map as f64, darknet });
    assert_eq!(f32.work.cio, (2 * map) as f64);
    assert_eq!(f32.work.intensity(), f32.work.flops.mac2 / f32.work.bytes() as f64);
    // Maps and weights in two bytes, biases in four.
    let bf16 = row(Processor::Cuda(target(DType::Bf16)));
    assert_eq!((bf16.work.read_bytes, bf16.work.written_bytes), (2 * (map + weight) + 4 * 16, 2 * map));
    assert_eq!(bf16.work.flops, f32.work.flops);
}

#[test]
fn a_norm_s_gradient_takes_two_passes_and_each_processor_its_own() {
    // Five inputs: dy, z, statistics, γ, β. Three outputs: dz, dγ, dβ.
    let (map, c) = (Shape::new(2, 6, 5, 16), Shape::vector(16));
    let (inputs, outputs) = ([map, map, Shape::new(1, 1, 2, 16), c, c], [map, c, c]);
    let e = map.elements();
    let accesses = |activation, batch, kernels| {
        let op = NormalizeGradient { epsilon: 1e-3, activation, batch };
        let op: &dyn crate::ops::Op = &op;
        let accesses = op.accesses(&Usage { inputs: &inputs, outputs: &outputs, in_place: &[], kernels });
        (accesses.read, accesses.written)
    };
    use crate::ops::Kernels::{Cpu, Cuda};
    let cuda = accesses(Activation::Silu, true, Cuda);
    assert_eq!(cuda, (vec![2 * e, 2 * e, 64, 32, 32], vec![e, 16, 16]));
    let cuda = accesses(Activation::Silu, false, Cuda);
    assert_eq!(cuda, (vec![e, e, 64, 32, 32], vec![e, 16, 16]));
    // SiLU's derivative is kept between the passes, ReLU's is not.
    let cpu = accesses(Activation::Silu, true, Cpu);
    assert_eq!(cpu, (vec![2 * e, 2 * e, 32, 16, 16], vec![2 * e, 16, 16]));
    let cpu = accesses(Activation::Relu, true, Cpu);
    assert_eq!(cpu, (vec![2 * e, 2 * e, 32, 16, 16], vec![e, 16, 16]));
}

#[test]
fn a_masked_add_in_place_touches_its_channels_only() {
    let (a, b) = (Shape::new(1, 2, 3, 8), Shape::new(1, 2, 3, 4));
    let op: &dyn crate::ops::Op = &crate::ops::add::Add { offset: 0 };
    let accesses = |in_place: &[bool]| {
        let usage = Usage { inputs: &[a, b], outputs: &[a], in_place, kernels: crate::ops::Kernels::Cpu };
        let accesses = op.accesses(&usage);
        (accesses.read, accesses.written)
    };
    assert_eq!(accesses(&[false, false]), (vec![48, 24], vec![48]));
    assert_eq!(accesses(&[true, false]), (vec![24, 24], vec![24]));
}

/// HarDNet's count of a dense block of m layers with growth d: c·m + (m² + m)·d/2 elements a pixel.
#[test]
fn cio_of_a_dense_block_is_the_formula_s() {
    let (c, m) = (64, 4);
    let d = c / 4;
    let graph = graph(BlockName::Dense, c, m, Mode::Inference);
    let wanted = (PIXELS * (c * m + (m * m + m) * d / 2)) as f64;
    let traced = cost::nodes(&graph).cio;
    let program = compile(&graph, Options::new(Processor::Reference)).unwrap();
    // The block ends in no transition.
    assert_eq!((traced, total(&program).cio), (wanted, wanted));
}

#[test]
fn fusing_changes_bytes_and_not_convolutions() {
    for name in BlockName::ALL {
        for mode in [Mode::Inference, Mode::Training] {
            let graph = graph(name, 64, 2, mode);
            let cio = cost::nodes(&graph).cio;
            let darknet = cost::operations(&graph).darknet;
            let cpu = Device::cpu(1).unwrap().processor();
            for processor in [Processor::Reference, cpu, Processor::Cuda(target(DType::F32))] {
                let plain = total(&compile(&graph, Options::plain(processor.clone())).unwrap());
                let program =
                    compile(&graph, Options { recompute: false, ..Options::new(processor) }).unwrap();
                let fused = total(&program);
                assert!(fused.bytes() < plain.bytes(), "{name} {mode:?}: {fused:?} {plain:?}");
                assert_eq!((plain.cio, fused.cio), (cio, cio), "{name} {mode:?}");
                // In backward a sum of gradients that is fused is no shortcut any more.
                if mode == Mode::Inference {
                    assert_eq!((plain.flops.darknet, fused.flops.darknet), (darknet, darknet), "{name}");
                }
                assert_eq!(cost::moved_bytes(&program), fused.bytes());
            }
        }
    }
}

/// Kernels for whole blocks are several convolutions in one row.
#[test]
fn kernels_for_whole_blocks_count_the_maps_between() {
    let program = |name| {
        let graph = graph_of(name, Shape::new(4, 80, 80, 64), 2, Mode::Inference);
        compile(&graph, Options::new(Processor::Cuda(target(DType::Bf16)))).unwrap()
    };
    let mut found = 0;
    for name in BlockName::ALL {
        for (step, kernel) in program(name).steps.iter().zip(kernels(&program(name))) {
            let elements = |slots: &mut dyn Iterator<Item = &Slot>| -> f64 {
                slots.map(|slot| slot.shape.elements() as f64).sum()
            };
            if let Some(split) = step.op.downcast::<SplitConv>() {
                let x = split.branches as f64 * step.inputs[0].unwrap().shape.elements() as f64;
                assert_eq!(kernel.work.cio, x + elements(&mut step.outputs.iter()));
                found += 1;
            }
            if let Some(chain) = step.op.downcast::<ConvChain>() {
                let x = step.inputs[0].unwrap().shape;
                let middle = step.inputs[1].unwrap().shape.n;
                let y = step.outputs[0].shape;
                let wanted = x.elements() + 2 * x.with_c(middle).elements() + y.elements();
                assert_eq!(kernel.work.cio, wanted as f64, "{chain:?}");
                found += 1;
            }
        }
    }
    assert!(found > 2, "{found}");
}

#[test]
fn the_ceiling_that_binds_is_the_row_s_own() {
    let ceiling = |per_second| Ceiling { per_second, how: String::new() };
    let ceilings = Ceilings { memory: ceiling(1e9), compute: ceiling(1e10) };
    // 10 operations a byte are the ridge.
    let work = |mac2, read_bytes| Work { flops: Flops { mac2, darknet: 0.0 }, read_bytes, ..Work::default() };
    let (seconds, bound) = work(1e6, 1000).roofline(&ceilings);
    assert_eq!((Duration::from_secs_f64(seconds), bound), (Duration::from_micros(100), Binding::Compute));
    let (seconds, bound) = work(1e3, 100_000).roofline(&ceilings);
    assert_eq!((Duration::from_secs_f64(seconds), bound), (Duration::from_micros(100), Binding::Memory));
    assert_eq!(work(1.0, 0).intensity(), 0.0);
}
