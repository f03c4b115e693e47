//! Inference of whole networks on the emulated device beside the reference in f64, in every element type; and from a
//! picture to boxes beside the cpu.

use std::collections::BTreeMap;

use gradpath::data::{self, OpenOptions, Split};
use gradpath::detect::{Decode, Detection, Head, Labels, Nms};
use gradpath::device::Device;
use gradpath::graph::{Graph, Mode};
use gradpath::tensor::{DType, Random, Shape, Tensor};
use gradpath::train::{DetectorWeights, detect_image};
use gradpath::zoo::{self, Network};

use crate::device::{device, open};

const CLASSES: usize = 3;

/// `network` for `images`, its heads as outputs.
fn traced(network: &Network, images: Shape) -> Graph {
    let mut graph = Graph::new(Mode::Inference);
    let images = graph.input("images", images).unwrap();
    let heads = network.trace(&mut graph, images, CLASSES).unwrap();
    for (index, map) in heads.maps.iter().enumerate() {
        graph.output(&format!("head{index}"), *map).unwrap();
    }
    graph
}

/// Fresh weights, and beside them statistics, scales and shifts as a training might leave them: where they are 1 and 0,
/// a norm that was folded wrongly would not show. Scales are `gain` on average.
fn state(graph: &Graph, gain: f32) -> BTreeMap<String, Tensor> {
    let mut random = Random::new(23);
    let mut state = graph.initial_state(7);
    for tensor in state.values_mut().filter(|t| t.shape().n * t.shape().h == 1) {
        let is_scale = tensor.shape().w == 1;
        for value in tensor.data_mut() {
            let factor = if is_scale { gain } else { 1.0 };
            *value = *value * factor * random.uniform(0.7, 1.4) + random.uniform(-0.1, 0.1);
        }
    }
    state
}

/// The state whose gain lets heads vary by about 1, as those of a trained network do: where a signal fades from layer to
/// layer, what rounding does to the shifts is all that comes out.
fn lively_state(graph: &Graph, images: &Tensor) -> BTreeMap<String, Tensor> {
    let cpu = Device::cpu(2).unwrap();
    let off_one = |gain: f32| {
        let heads = heads(&cpu, graph, &state(graph, gain), images);
        let spread: f64 = heads.iter().map(spread).sum::<f64>() / heads.len() as f64;
        spread.ln().abs()
    };
    let best =
        (0..12).map(|i| 0.8 + 0.05 * i as f32).min_by(|a, b| off_one(*a).total_cmp(&off_one(*b))).unwrap();
    println!("gain {best}: spread e^±{:.1}", off_one(best));
    state(graph, best)
}

/// Of each channel the mean over pixels.
fn means(head: &Tensor) -> Vec<f64> {
    let mut means = vec![0.0; head.shape().c];
    for pixel in head.data().chunks(head.shape().c) {
        pixel
            .iter()
            .zip(&mut means)
            .for_each(|(&v, mean)| *mean += f64::from(v) / head.shape().pixels() as f64);
    }
    means
}

/// The root mean square of what is left without each channel's mean, which is mostly the last bias.
fn spread(head: &Tensor) -> f64 {
    let means = means(head);
    let square = |(i, &v): (usize, &f32)| (f64::from(v) - means[i % means.len()]).powi(2);
    (head.data().iter().enumerate().map(square).sum::<f64>() / head.data().len() as f64).sqrt()
}

fn heads(device: &Device, graph: &Graph, state: &BTreeMap<String, Tensor>, images: &Tensor) -> Vec<Tensor> {
    let mut session = device.session(device.compile(graph).unwrap()).unwrap();
    session.load(state).unwrap();
    // Twice: captured, and replayed.
    let mut run = || {
        session.step(&[("images", images)]).unwrap();
        graph.outputs().iter().map(|(name, _)| session.output(name).unwrap()).collect::<Vec<_>>()
    };
    let first = run();
    assert_eq!(run(), first);
    first
}

/// The root mean square of the difference over the spread.
fn distance(got: &Tensor, wanted: &Tensor) -> f64 {
    let square = |(&g, &w): (&f32, &f32)| (f64::from(g) - f64::from(w)).powi(2);
    let error: f64 = got.data().iter().zip(wanted.data()).map(square).sum();
    let share = (error / wanted.data().len() as f64).sqrt() / spread(wanted);
    if share.is_nan() { f64::INFINITY } else { share }
}

/// What a head may be off by, as a share of its spread: two to four times what was measured. Some 40 layers in a row
/// round their maps, and from 16 bits their weights, by up to half a unit in the last place (2⁻²⁴, 2⁻¹² or 2⁻⁹ of a
/// value), of which a part adds up.
fn tolerance(map: DType) -> f64 {
    match map {
        DType::F32 => 8e-6,
        DType::F16 => 1e-2,
        DType::Bf16 => 8e-2,
    }
}

fn check(name: &str, images: Shape) {
    let Some((session, cuda)) = open(80, DType::F32) else { return };
    let network = zoo::find(name).unwrap();
    let graph = traced(&network, images);
    let images = Tensor::uniform(images, 0.0, 1.0, &mut Random::new(3));
    let state = lively_state(&graph, &images);
    let wanted = heads(&Device::Reference, &graph, &state, &images);
    let mut failures = Vec::new();
    for map in [DType::F32, DType::F16, DType::Bf16] {
        let got = heads(&device(&cuda, map), &graph, &state, &images);
        let worst = got.iter().zip(&wanted).map(|(g, w)| distance(g, w)).fold(0.0, f64::max);
        println!("{name} in {map}: off by {worst:.1e}");
        if worst > tolerance(map) {
            failures.push(format!("{map} by {worst:.1e}"));
        }
    }
    assert!(failures.is_empty(), "{name} is off in {failures:?}");
    assert_eq!(session.last_error(), "");
}

#[test]
fn csp_nano() {
    check("csp-nano", Shape::new(1, 96, 96, 3));
}

#[test]
fn elan_nano() {
    check("elan-nano", Shape::new(1, 96, 96, 3));
}

/// Two images, wider than high.
#[test]
fn prn_nano() {
    check("prn-nano", Shape::new(2, 64, 96, 3));
}

#[test]
fn yolov7_tiny() {
    check("yolov7-tiny", Shape::new(1, 64, 64, 3));
}

/// The box of `wanted` among `found`, not far off.
fn is_like(found: &Detection, wanted: &Detection) -> bool {
    let (f, w) = (found.bounds, wanted.bounds);
    let off = [f.x0 - w.x0, f.y0 - w.y0, f.x1 - w.x1, f.y1 - w.y1];
    found.class == wanted.class
        && (found.score - wanted.score).abs() < 1e-4
        && off.iter().all(|d| d.abs() < 0.02)
}

#[test]
fn a_picture_has_the_same_boxes_as_on_the_cpu() {
    let Some((session, cuda)) = open(80, DType::F32) else { return };
    let network = zoo::find("csp-nano").unwrap();
    let mut anchors = Vec::new();
    for &stride in network.strides {
        anchors.extend((0..network.anchors_per_head).map(|i| [(stride * (i + 2)) as f32; 2]));
    }
    let input = Shape::new(1, 96, 96, 3);
    let noise = Tensor::uniform(input, 0.0, 1.0, &mut Random::new(3));
    let weights = DetectorWeights {
        network,
        classes: (0..CLASSES).map(|class| format!("class {class}")).collect(),
        levels: Head::new(CLASSES, network.strides, &anchors).unwrap().levels,
        size: [96, 96],
        tensors: lively_state(&traced(&network, input), &noise),
    };
    // By way of a file, as `gradpath detect` has it.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weights.safetensors");
    weights.save(&file).unwrap();
    let weights = DetectorWeights::load(&file).unwrap();
    let options = OpenOptions { scenes: Some(1), scene_size: 128, seed: 5, ..Default::default() };
    let dataset = data::open("wardrobe", Split::Train, &options).unwrap();
    let image = dataset.sample(0).unwrap().image;
    let find = |device: &Device| {
        let mut detector = weights.detector(1, device).unwrap();
        let decode = Decode { threshold: 0.001, labels: Labels::Every };
        detect_image(&mut detector, &image, &decode, &Nms::default()).unwrap()
    };
    let wanted = find(&Device::cpu(1).unwrap());
    println!("{} boxes, the best {:?}", wanted.len(), wanted.first());
    let found = find(&device(&cuda, DType::F32));
    assert!(wanted.len() >= 20, "{} boxes on the cpu", wanted.len());
    assert_eq!(found.len(), wanted.len());
    let mut left = found;
    for wanted in &wanted {
        let same = left.iter().position(|found| is_like(found, wanted));
        left.remove(same.unwrap_or_else(|| panic!("{wanted:?} is not among {left:?}")));
    }
    assert_eq!(session.last_error(), "");
}
