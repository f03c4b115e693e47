//! The whole loss: against PyTorch on both devices, by finite differences, and its rules.

use std::collections::HashMap;

use super::*;
use crate::autograd::backward;
use crate::autograd::finite_difference::check;
use crate::graph::{Feeds, Graph, Init, Mode, interpret};
use crate::ops::Io;
use crate::ops::matches::column;
use crate::ops::matches::testing::{UNUSED, random_table, row};
use crate::runtime::Cpu;
use crate::tensor::{Random, Shape, View, ViewMut};

/// What `tests/fixtures/detection_loss/make.py` wrote.
#[derive(serde::Deserialize)]
struct Golden {
    spec: GoldenSpec,
    classes: usize,
    levels: Vec<GoldenLevel>,
    terms: [f64; 3],
    total: f64,
}

#[derive(serde::Deserialize)]
struct GoldenSpec {
    box_gain: f64,
    objectness_gain: f64,
    class_gain: f64,
    balance: Vec<f64>,
    label_smoothing: f64,
    objectness_ratio: f64,
}

#[derive(serde::Deserialize)]
struct GoldenLevel {
    stride: f64,
    anchors: Vec<[f32; 2]>,
    shape: Shape,
    logits: Vec<f64>,
    matches: Vec<[f64; column::COUNT]>,
    gradient: Vec<f64>,
}

/// Runs every node of `graph` with its cpu kernel.
fn run_cpu(graph: &Graph, feeds: &Feeds, cpu: &Cpu) -> HashMap<Value, Vec<f64>> {
    let mut data: HashMap<Value, Vec<f32>> =
        feeds.iter().map(|(v, fed)| (*v, fed.iter().map(|&x| x as f32).collect())).collect();
    for node in graph.nodes() {
        let shape = |v: &Value| graph.info(*v).shape;
        let mut buffers: Vec<Vec<f32>> =
            node.outputs.iter().map(|v| vec![f32::NAN; shape(v).elements()]).collect();
        let mut io = Io {
            inputs: node.inputs.iter().map(|v| Some(View::dense(&data[v], shape(v)))).collect(),
            outputs: buffers
                .iter_mut()
                .zip(&node.outputs)
                .map(|(buffer, v)| ViewMut::dense(buffer, shape(v)))
                .collect(),
            workspace: &mut [],
        };
        node.op.cpu(&mut io, cpu).unwrap();
        data.extend(node.outputs.iter().copied().zip(buffers));
    }
    data.into_iter().map(|(v, data)| (v, data.into_iter().map(f64::from).collect())).collect()
}

#[test]
fn loss_and_gradient_are_pytorchs_on_both_devices() {
    let text = include_str!("../../../tests/fixtures/detection_loss/loss.json");
    let golden: Golden = serde_json::from_str(text).unwrap();
    let levels =
        golden.levels.iter().map(|l| Grid { stride: l.stride, anchors: l.anchors.clone() }).collect();
    let spec = DetectionLoss {
        box_gain: golden.spec.box_gain,
        objectness_gain: golden.spec.objectness_gain,
        class_gain: golden.spec.class_gain,
        balance: golden.spec.balance,
        label_smoothing: golden.spec.label_smoothing,
        objectness_ratio: golden.spec.objectness_ratio,
        ..DetectionLoss::new(golden.classes, levels, 24, 32)
    };
    let mut g = Graph::new(Mode::Training);
    let (mut heads, mut feeds) = (Vec::new(), Feeds::new());
    for (i, level) in golden.levels.iter().enumerate() {
        let head = g.input(&format!("head {i}"), level.shape).unwrap();
        let table = Shape::new(1, 1, level.matches.len(), column::COUNT);
        let matches = g.input(&format!("matches {i}"), table).unwrap();
        feeds.insert(head, level.logits.clone());
        feeds.insert(matches, level.matches.concat());
        heads.push((head, matches));
    }
    let loss = trace(&mut g, &heads, &spec).unwrap();
    let maps: Vec<Value> = heads.iter().map(|h| h.0).collect();
    let gradients = backward(&mut g, loss.total, &maps).unwrap();

    let mut expected = vec![(loss.total, vec![golden.total])];
    for (value, term) in [loss.box_loss, loss.objectness, loss.class.unwrap()].into_iter().zip(golden.terms) {
        expected.push((value, vec![term]));
    }
    expected.extend(gradients.into_iter().zip(golden.levels.into_iter().map(|l| l.gradient)));
    let reference = interpret(&g, &feeds).unwrap();
    let cpu = run_cpu(&g, &feeds, &Cpu::new(2).unwrap());
    for (device, data, tolerance) in [("reference", reference, 1e-8), ("cpu", cpu, 2e-6)] {
        for (value, want) in &expected {
            assert_eq!(data[value].len(), want.len());
            for (i, (got, want)) in data[value].iter().zip(want).enumerate() {
                let close = (got - want).abs() <= tolerance * (1.0 + want.abs());
                assert!(close, "{device}: {value:?} {i} is {got}, PyTorch {want}");
            }
        }
    }
}

/// Two levels with 2 and 1 anchors.
fn spec(classes: usize) -> DetectionLoss {
    let levels = vec![
        Grid { stride: 8.0, anchors: vec![[10.0, 13.0], [16.0, 30.0]] },
        Grid { stride: 16.0, anchors: vec![[30.0, 40.0]] },
    ];
    DetectionLoss::new(classes, levels, 32, 48)
}

#[test]
fn gradient_is_that_of_finite_differences() {
    for classes in [1, 3] {
        let spec = DetectionLoss { detach_alpha: false, label_smoothing: 0.1, ..spec(classes) };
        check(9, |g| {
            let mut random = Random::new(9);
            let (mut heads, mut targets) = (Vec::new(), Vec::new());
            for (i, grid) in spec.levels.iter().enumerate() {
                let map = Shape::new(2, 3, 2, grid.anchors.len());
                let head = map.with_c(map.c * (5 + classes));
                let head = g.parameter(&format!("head {i}"), head, Init::Uniform { bound: 1.0 })?;
                let table = Init::Pattern(random_table(&mut random, map, classes, 9));
                let matches = g.state(&format!("matches {i}"), Shape::new(1, 1, 9, column::COUNT), table)?;
                let target = Init::Pattern((0..map.elements()).map(|_| random.unit()).collect());
                targets.push(g.state(&format!("target {i}"), map, target)?);
                heads.push((head, matches));
            }
            Ok(vec![trace_with(g, &heads, &spec, &|_, level, _| Ok(targets[level]))?.total])
        })
        .unwrap();
    }
}

/// The total for a batch of `images` equal images, its gradient with respect to the first of them
/// times `images`, and whether there is a class loss.
fn of_equal_images(images: usize, classes: usize, rows: &[[f32; column::COUNT]]) -> (f64, Vec<f64>, bool) {
    let spec = spec(classes);
    let mut g = Graph::new(Mode::Training);
    let (mut heads, mut feeds) = (Vec::new(), Feeds::new());
    for (i, grid) in spec.levels.iter().enumerate() {
        let map = Shape::new(images, 2, 3, grid.anchors.len() * (5 + classes));
        let head = g.input(&format!("head {i}"), map).unwrap();
        let table = Shape::new(1, 1, images * rows.len(), column::COUNT);
        let matches = g.input(&format!("matches {i}"), table).unwrap();
        let mut random = Random::new(i as u64);
        let image: Vec<f64> =
            (0..map.elements() / images).map(|_| f64::from(random.uniform(-1.0, 1.0))).collect();
        feeds.insert(head, image.repeat(images));
        let mut tables = Vec::new();
        for n in 0..images {
            for row in rows {
                let mut row = row.map(f64::from);
                row[column::IMAGE] = if row[column::VALID] == 0.0 { 0.0 } else { n as f64 };
                tables.extend(row);
            }
        }
        feeds.insert(matches, tables);
        heads.push((head, matches));
    }
    let loss = trace(&mut g, &heads, &spec).unwrap();
    let gradient = backward(&mut g, loss.total, &[heads[0].0]).unwrap()[0];
    let data = interpret(&g, &feeds).unwrap();
    let gradient = &data[&gradient];
    let first = gradient[..gradient.len() / images].iter().map(|g| g * images as f64).collect();
    (data[&loss.total][0], first, loss.class.is_some())
}

#[test]
fn batches_of_any_size_weigh_the_same() {
    let rows =
        [row([0, 1, 2, 0, 1], [18.0, 12.0, 11.0, 9.0]), UNUSED, row([0, 0, 0, 0, 0], [3.0, 5.0, 8.0, 20.0])];
    let (one, one_gradient, _) = of_equal_images(1, 2, &rows);
    let (three, three_gradient, _) = of_equal_images(3, 2, &rows);
    assert!((one - three).abs() < 1e-12 * one, "{one} {three}");
    for (a, b) in one_gradient.iter().zip(three_gradient) {
        assert!((a - b).abs() < 1e-12, "{a} {b}");
    }
}

#[test]
fn without_matches_only_objectness_is_learnt() {
    let (total, gradient, has_class) = of_equal_images(1, 3, &[UNUSED; 2]);
    assert!(has_class && total.is_finite());
    for (channel, g) in gradient.iter().enumerate() {
        assert_eq!(*g > 0.0, channel % 8 == OBJECTNESS, "channel {channel}: {g}");
    }
}

#[test]
fn one_class_has_no_class_loss() {
    let rows = [row([0, 1, 2, 0, 0], [18.0, 12.0, 11.0, 9.0])];
    let (total, gradient, has_class) = of_equal_images(1, 1, &rows);
    assert!(!has_class && total.is_finite());
    assert!(gradient.iter().skip(5).step_by(6).all(|&g| g == 0.0));
}

#[test]
fn default_weights_are_those_documented() {
    let grid = Grid { stride: 8.0, anchors: vec![[8.0, 8.0]] };
    let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
    let three = DetectionLoss::new(3, vec![grid.clone(); 3], 160, 160);
    assert!(close(three.box_gain, 3.2) && close(three.objectness_gain, 4.0) && close(three.class_gain, 1.2));
    assert_eq!(three.balance, [4.0, 1.0, 0.4]);
    assert_eq!(DetectionLoss::new(3, vec![grid.clone()], 160, 160).balance, [1.0]);
    assert_eq!(DetectionLoss::new(3, vec![grid; 6], 160, 160).balance, [4.0, 1.0, 0.25, 0.06, 0.02, 0.02]);
}

#[test]
fn heads_that_do_not_fit_are_refused() {
    let mut g = Graph::new(Mode::Training);
    let table = Shape::new(1, 1, 4, column::COUNT);
    let matches = g.input("matches", table).unwrap();
    let fine = g.input("fine", Shape::new(1, 4, 6, 2 * 8)).unwrap();
    let coarse = g.input("coarse", Shape::new(1, 2, 3, 8)).unwrap();
    let mut error = |heads: &[(Value, Value)], spec: &DetectionLoss| {
        trace(&mut g, heads, spec).map(|_| ()).map_err(|e| e.to_string())
    };
    let heads = [(fine, matches), (coarse, matches)];
    assert_eq!(error(&heads, &spec(3)), Ok(()));
    let message = error(&heads[..1], &spec(3)).unwrap_err();
    assert!(message.contains("2 levels was given 1 heads and 2 balances"), "{message}");
    let message = error(&[heads[1], heads[0]], &spec(3)).unwrap_err();
    assert!(message.contains("level 0 must have 2·8 channels"), "{message}");
    assert!(error(&[], &DetectionLoss::new(3, vec![], 32, 32)).is_err());
}
