//! What named blocks cost, against numbers worked by hand.

use super::*;
use crate::analysis::cost::{Flops, operations};
use crate::compile::{Options, Processor, compile};
use crate::ops::Tape;
use crate::runtime::cuda::Target;
use crate::tensor::DType;

const PIXELS: f64 = 6.0 * 5.0 * 2.0;

fn spec(name: BlockName) -> BlockSpec {
    BlockSpec { name, channels: 16, layers: 3, depth: 2, share: 0.5 }
}

fn workload(spec: BlockSpec) -> Workload {
    Workload { subject: Subject::Block(spec), input: Shape::new(2, 6, 5, spec.channels) }
}

/// Operations a pixel, of the block and of the stage without it.
fn per_pixel(spec: BlockSpec) -> (Flops, Option<Flops>) {
    let workload = workload(spec);
    let count = |traced: Traced| {
        let flops = operations(&traced.graph);
        Flops { mac2: flops.mac2 / PIXELS, darknet: flops.darknet / PIXELS }
    };
    let without = workload.trace_without(Mode::Inference).unwrap();
    (count(workload.trace(Mode::Inference).unwrap()), without.map(|(_, traced)| count(traced)))
}

#[test]
fn csp_halves_the_computational_block() {
    let c = 16.0;
    let (csp, residual) = per_pixel(spec(BlockName::Csp));
    let residual = residual.unwrap();
    // A residual block: 1×1 c → c/2 and 3×3 c/2 → c are 5 c² multiply-adds, the add is c operations. Each
    // norm, which Darknet does not count, is one multiply-add an element.
    assert_eq!(residual.darknet, 3.0 * (2.0 * 5.0 * c * c + c));
    assert_eq!(residual.mac2, residual.darknet + 3.0 * 2.0 * 1.5 * c);
    // Within the split, c/2 → c/2 → c/2: 2.5 c². The transitions are (c/2)² and c².
    let transitions = 2.0 * (c * c / 4.0) + 2.0 * c * c;
    assert_eq!(csp.darknet, 3.0 * (2.0 * 2.5 * c * c + c / 2.0) + transitions);
    assert_eq!((csp.darknet - transitions) / residual.darknet, 0.5);
    assert_eq!(csp.mac2, csp.darknet + 3.0 * 2.0 * c + 2.0 * 1.5 * c);
}

#[test]
fn each_truncation_leaves_out_its_transition() {
    let c = 16.0;
    let darknet = |name| per_pixel(spec(name)).0.darknet;
    let both = darknet(BlockName::Csp);
    assert_eq!(both - darknet(BlockName::CspFusionFirst), 2.0 * c * c / 4.0);
    assert_eq!(both - darknet(BlockName::CspFusionLast), 2.0 * c * c);
}

#[test]
fn a_mask_saves_only_its_adds() {
    let c = 16.0;
    for (share, saved) in [(0.5, 0.5), (0.25, 0.75)] {
        let (prn, residual) = per_pixel(BlockSpec { share, ..spec(BlockName::Prn) });
        let residual = residual.unwrap();
        assert_eq!(prn.darknet, residual.darknet);
        assert_eq!(residual.mac2 - prn.mac2, 3.0 * saved * c);
    }
}

#[test]
fn elan_costs_its_branches_more_than_a_plain_stack() {
    let c = 16.0;
    let (elan, plain) = per_pixel(spec(BlockName::Elan));
    // Two branches c → c/2, six 3×3 units c/2 wide in three groups, a transition of (2 + 3) c/2 → c.
    assert_eq!(elan.darknet, 2.0 * c * c + 6.0 * 4.5 * c * c + 5.0 * c * c);
    // One entry, the same six units, c/2 → c.
    assert_eq!(plain.unwrap().darknet, c * c + 6.0 * 4.5 * c * c + c * c);
}

#[test]
fn every_block_is_found_by_its_name_and_traces_in_both_modes() {
    for name in BlockName::ALL {
        let Ok(SubjectName::Block(found)) = SubjectName::find(name.name()) else { panic!("{name}") };
        assert_eq!(found, name);
        for mode in [Mode::Inference, Mode::Training] {
            let traced = workload(spec(name)).trace(mode).unwrap();
            let output = traced.graph.shape(traced.maps[0]);
            assert_eq!((output.n, output.h, output.w), (2, 6, 5), "{name}");
            let without = workload(spec(name)).trace_without(mode).unwrap();
            if let Some((_, without)) = &without {
                let map = without.graph.shape(without.maps[0]);
                // Fusion last has no transition: it, too, ends in c channels.
                assert_eq!(map, output, "{name}");
            }
            assert_eq!(without.is_some(), name.has_share() || matches!(name.name(), "elan" | "osa"));
        }
    }
    assert!(matches!(SubjectName::find("csp-nano"), Ok(SubjectName::Network(_))));
    let error = SubjectName::find("resnet").unwrap_err().to_string();
    assert!(error.contains("no block and no network \"resnet\"; use some of conv1, "), "{error}");
    assert!(error.ends_with("prn-nano, yolov7-tiny"), "{error}");
}

#[test]
fn narrow_and_odd_blocks_trace() {
    for name in BlockName::ALL {
        for channels in [1, 2, 3, 5] {
            let traced = workload(BlockSpec { channels, ..spec(name) }).trace(Mode::Inference);
            // One channel cannot be split, and the block says so.
            assert_eq!(traced.is_err(), channels == 1 && name.name().starts_with("csp"), "{name} {channels}");
        }
    }
}

#[test]
fn bytes_moved_are_the_operands_of_the_kernels() {
    // One 1×1 unit of 16 channels on 60 pixels: input, weight, bias, output.
    let one = BlockSpec { layers: 1, ..spec(BlockName::Conv1) };
    let mut traced = workload(one).trace(Mode::Inference).unwrap();
    traced.graph.output("y", traced.maps[0]).unwrap();
    let bytes = |options| crate::analysis::kernels::total(&compile(&traced.graph, options).unwrap()).bytes();
    let map = 60 * 16;
    assert_eq!(bytes(Options::new(Processor::Reference)), 4 * (map + 16 * 16 + 16 + map));
    // Unfused, the conv writes z, and the norm reads it, gamma, beta, mean and variance.
    let unfused = (map + 16 * 16 + map) + (map + 4 * 16 + map);
    assert_eq!(bytes(Options::plain(Processor::Reference)), 4 * unfused);
}

#[test]
fn what_enters_a_block_is_stored_as_its_maps_are() {
    let target = Target { arch: 80, multiprocessors: 4, shared_bytes: 166_912, map: DType::Bf16 };
    let compiled = |workload: Workload| {
        let mut traced = workload.trace(Mode::Inference).unwrap();
        traced.graph.output("y", traced.maps[0]).unwrap();
        compile(&traced.graph, Options::new(Processor::Cuda(target))).unwrap()
    };
    // The half that crosses lies in the concat, which is bf16: x must be, or be copied.
    let csp = compiled(workload(spec(BlockName::Csp)));
    assert_eq!(csp.inputs[0].1.dtype, DType::Bf16);
    assert!(csp.report.copies.is_empty(), "{:?}", csp.report.copies);
    // A picture is fed as it is.
    let Ok(SubjectName::Network(network)) = SubjectName::find("csp-nano") else { panic!() };
    let subject = Subject::Network { network, classes: 3 };
    let csp = compiled(Workload { subject, input: Shape::new(1, 32, 32, 3) });
    assert_eq!(csp.inputs[0].1.dtype, DType::F32);
}
