//! What the fused blocks move: the bytes of their floors and no others, and shared memory without bank conflicts.

use gradpath::device::Device;
use gradpath::graph::{Graph, Mode};
use gradpath::nn::{Block, Csp, Elan, Mask, Sequence, Split, Style, Truncation, bottleneck};
use gradpath::ops::conv::{Conv, Geometry};
use gradpath::ops::conv_chain::ConvChain;
use gradpath::ops::split_conv::SplitConv;
use gradpath::ops::{Case, Op};
use gradpath::runtime::Activation;
use gradpath::selftest::{Variant, check_case_between};
use gradpath::tensor::{DType, Random, Shape, Tensor};

use crate::device::{device, open};
use crate::emulator::{Options, Order, Site};

fn unit(kernel: usize) -> Conv {
    Conv { activation: Activation::Silu, ..Conv::plain(Geometry::same(kernel, 1), true) }
}

/// Runs `op` once on dense operands of `shapes` and returns the bytes that its first launch reads and writes at least
/// once. Fails where lanes of a warp meet in a bank.
fn traffic(op: impl Op, shapes: &[Shape], weights: &[usize], map: DType) -> Option<(u64, u64)> {
    let (session, cuda) = open(80, DType::F32)?;
    let vectors: Vec<usize> =
        (0..shapes.len()).filter(|&i| shapes[i] == Shape::vector(shapes[i].c)).collect();
    let what = format!("{} in {map}", op.name());
    let case = Case::random(op, shapes, 1).dense_inputs(weights).f32_inputs(&vectors).tolerance(1e-4);
    // Weights as a training begins with them: sums over many products stay near 1.
    let case = weights.iter().fold(case, |case, &weight| {
        let fan_in = shapes[weight].elements() / shapes[weight].n;
        case.map(weight, |v| v * (3.0 / fan_in as f32).sqrt())
    });
    let variant = Variant { map, padding: 0, in_place: false };
    let trace =
        || session.set_options(Options { order: Order::WarpPriority, trace: true, ..Default::default() });
    let worst = check_case_between(&device(&cuda, map), &case, variant, &mut [&mut || trace()]);
    let worst = worst.unwrap_or_else(|e| panic!("{what}: {e} {}", session.last_error()));
    let launches = session.launches();
    let position =
        launches.iter().position(|l| l.kernel.starts_with("csp_") || l.kernel.starts_with("elan_")).unwrap();
    let counts = launches[position].counts;
    println!("{what}: {counts:?}, {worst:.2} of what is allowed");
    let conflicts: Vec<Site> = session
        .sites(position)
        .into_iter()
        .filter(|site| site.shared && site.passes > site.ideal_passes)
        .collect();
    assert_eq!(counts.shared_wavefronts, counts.shared_requests, "{what}: bank conflicts in {conflicts:?}");
    Some((counts.unique_read_bytes, counts.unique_write_bytes))
}

/// Bytes of maps and cast weights `shapes`, and of `biases` in f32.
fn bytes(shapes: &[Shape], map: DType, biases: usize) -> u64 {
    (shapes.iter().map(Shape::elements).sum::<usize>() * map.size() + 4 * biases) as u64
}

#[test]
fn a_bottleneck_reads_its_operands_and_writes_its_output() {
    let op = ConvChain::new(unit(1), Conv { residual: true, ..unit(3) }, false);
    for (map, c) in [(DType::F32, 16), (DType::F32, 32), (DType::F16, 32), (DType::Bf16, 64)] {
        let x = Shape::new(1, 11, 20, c);
        let (first, second) = (Shape::new(c, 1, 1, c), Shape::new(c, 3, 3, c));
        let shapes = [x, first, Shape::vector(c), second, Shape::vector(c), x];
        let Some((read, written)) = traffic(op.clone(), &shapes, &[1, 3], map) else { return };
        // Here the residual is a map of its own.
        assert_eq!(read, bytes(&[x, first, second, x], map, 2 * c));
        assert_eq!(written, bytes(&[x], map, 0));
    }
}

#[test]
fn a_stack_writes_both_of_its_maps_and_reads_neither() {
    let op = ConvChain::new(unit(3), unit(3), true);
    for (map, c) in [(DType::F32, 16), (DType::F16, 32), (DType::F16, 64)] {
        let x = Shape::new(1, 10, 19, c);
        let weight = Shape::new(c, 3, 3, c);
        let shapes = [x, weight, Shape::vector(c), weight, Shape::vector(c)];
        let Some((read, written)) = traffic(op.clone(), &shapes, &[1, 3], map) else { return };
        assert_eq!(read, bytes(&[x, weight, weight], map, 2 * c));
        assert_eq!(written, bytes(&[x, x], map, 0));
    }
}

#[test]
fn a_split_reads_its_map_once() {
    let op = SplitConv::new(unit(1), 2);
    for (map, c, width) in
        [(DType::F32, 16, 8), (DType::F32, 64, 32), (DType::F16, 32, 16), (DType::Bf16, 64, 32)]
    {
        let (x, y) = (Shape::new(1, 13, 21, c), Shape::new(1, 13, 21, width));
        let weight = Shape::new(width, 1, 1, c);
        let shapes = [x, weight, Shape::vector(width), weight, Shape::vector(width)];
        let Some((read, written)) = traffic(op.clone(), &shapes, &[1, 3], map) else { return };
        assert_eq!(read, bytes(&[x, weight, weight], map, 2 * width));
        assert_eq!(written, bytes(&[y, y], map, 0));
    }
}

/// A CSP stage of two bottlenecks, and an ELAN behind it.
fn csp_and_elan(images: Shape) -> Graph {
    let style = Style::default();
    let csp = Csp {
        split: Split::Transitions(8, 8),
        block: Sequence::repeat(2, || bottleneck(style, 8, 8, Mask::Whole)),
        truncation: Truncation::FusionFirst,
        inner: None,
        filters: 16,
        style,
    };
    let elan = Elan { branch: 8, inner: 8, groups: 2, depth: 1, filters: 16, style };
    let mut graph = Graph::new(Mode::Inference);
    let x = graph.input("x", images).unwrap();
    let x = csp.named(&mut graph, "csp", x).unwrap();
    let y = elan.named(&mut graph, "elan", x).unwrap();
    graph.output("y", y).unwrap();
    graph
}

#[test]
fn blocks_run_as_the_fused_kernels_and_are_right() {
    let images = Shape::new(2, 16, 16, 16);
    let graph = csp_and_elan(images);
    let x = Tensor::uniform(images, -1.0, 1.0, &mut Random::new(3));
    let output = |device: &Device| {
        let mut session = device.begin(&graph, 7).unwrap();
        session.step(&[("x", &x)]).unwrap();
        session.output("y").unwrap()
    };
    let want = output(&Device::Reference);
    let norm =
        |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    let Some((session, cuda)) = open(80, DType::F32) else { return };
    for (map, tolerance) in [(DType::F32, 1e-5), (DType::F16, 3e-3), (DType::Bf16, 2e-2)] {
        session.clear();
        let got = output(&device(&cuda, map));
        let (got, want) = (got.data(), want.data());
        let off = norm(&mut got.iter().zip(want).map(|(g, w)| g - w)) / norm(&mut want.iter().copied());
        println!("{map}: off by {off:.1e}");
        assert!(off <= tolerance, "{map}: off by {off:.1e}");
        // The two transitions are what is left of convolutions by themselves.
        let kernels: Vec<String> = session.launches().into_iter().map(|l| l.kernel).collect();
        let count = |name: &str| kernels.iter().filter(|k| *k == name).count();
        let counts = ["csp_split", "csp_bottleneck", "elan_stack", "conv_forward"].map(count);
        assert_eq!(counts, [2, 2, 1, 2], "{map}: {kernels:?}");
    }
}
