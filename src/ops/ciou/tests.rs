//! CIoU against PyTorch (values and both gradients), by finite differences, and on the cpu.

use super::*;
use crate::autograd::finite_difference::check;
use crate::graph::Init;
use crate::ops::matches::column;
use crate::ops::matches::testing::{UNUSED, random_table, row};
use crate::ops::testing::{check_cpu, reference};
use crate::tensor::Random;

/// What `tests/fixtures/detection_loss/ciou.py` wrote.
#[derive(serde::Deserialize)]
struct Golden {
    boxes: Vec<[f32; 4]>,
    targets: Vec<[f32; 4]>,
    ciou: Vec<f64>,
    gradient: Vec<[f64; 4]>,
    full_gradient: Vec<[f64; 4]>,
}

#[test]
fn value_and_gradients_are_pytorchs() {
    let text = include_str!("../../../tests/fixtures/detection_loss/ciou.json");
    let golden: Golden = serde_json::from_str(text).unwrap();
    // An unused row first: rows must not be mistaken for matches in order.
    let rows = [vec![UNUSED], golden.targets.iter().map(|&t| row([0; 5], t)).collect()].concat().concat();
    let boxes = [vec![[3.0; 4]], golden.boxes].concat().concat();
    let table = Shape::new(1, 1, boxes.len() / 4, column::COUNT);
    let near = |what: &str, got: &[f64], want: &[f64]| {
        assert_eq!(got.len(), want.len());
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            assert!((got - want).abs() <= 1e-12 * (1.0 + want.abs()), "{what} {i}: {got}, PyTorch {want}");
        }
    };
    let shapes = [table.with_c(4), table, table.with_c(1)];
    let inputs = [boxes, rows, vec![1.0; table.w]];
    let value = &reference(&Ciou { detach_alpha: true }, &shapes[..2], &inputs[..2])[0];
    near("value", value, &[vec![0.0], golden.ciou].concat());
    for (detach_alpha, expected) in [(true, golden.gradient), (false, golden.full_gradient)] {
        let gradient = &reference(&CiouGradient { detach_alpha }, &shapes, &inputs)[0];
        near("gradient", gradient, &[vec![[0.0; 4]], expected].concat().concat());
    }
}

#[test]
fn worked_by_hand() {
    // Squares of side 2, one a pixel to the right: IoU 2/6, ρ² 1, c² 3² + 2²; equal ratios, so v = 0.
    let rows = row([0; 5], [1.0, 0.0, 2.0, 2.0]).to_vec();
    let table = Shape::new(1, 1, 1, column::COUNT);
    let inputs = [vec![0.0, 0.0, 2.0, 2.0], rows];
    let value = reference(&Ciou { detach_alpha: true }, &[table.with_c(4), table], &inputs)[0][0];
    assert!((value - (1.0 / 3.0 - 1.0 / 13.0)).abs() < 1e-7, "{value}");
}

#[test]
fn full_gradient_is_that_of_finite_differences() {
    // Boxes drawn beside their targets: overlapping, nested and apart.
    let seed = 11;
    let mut random = Random::new(seed);
    let rows = random_table(&mut random, Shape::new(1, 1, 1, 1), 1, 40);
    let boxes: Vec<f32> = rows
        .chunks(column::COUNT)
        .flat_map(|row| {
            let mut near = |i: usize, low: f32, high: f32| row[i] * random.uniform(low, high);
            let (w, h) = (near(8, 0.4, 2.0), near(9, 0.4, 2.0));
            [row[6] + near(8, -0.9, 0.9), row[7] + near(9, -0.9, 0.9), w, h]
        })
        .collect();
    check(seed, |g| {
        let shape = Shape::new(1, 1, 40, column::COUNT);
        let boxes = g.parameter("boxes", shape.with_c(4), Init::Pattern(boxes.clone()))?;
        let matches = g.state("matches", shape, Init::Pattern(rows.clone()))?;
        Ok(vec![trace(g, boxes, matches, false)?])
    })
    .unwrap();
}

#[test]
fn cpu_is_the_reference() {
    for (seed, capacity) in [(1, 1), (2, 50), (3, 600)] {
        let mut random = Random::new(seed);
        let table = Shape::new(1, 1, capacity, column::COUNT);
        let matches = random_table(&mut random, Shape::new(1, 1, 1, 1), 1, capacity);
        let boxes: Vec<f32> = (0..4 * capacity).map(|_| random.uniform(0.5, 30.0)).collect();
        let dy: Vec<f32> = (0..capacity).map(|_| random.uniform(-1.0, 1.0)).collect();
        let shapes = [table.with_c(4), table, table.with_c(1)];
        let inputs = [boxes, matches, dy];
        check_cpu(&Ciou { detach_alpha: true }, &shapes[..2], &inputs[..2], 1e-6);
        for detach_alpha in [false, true] {
            check_cpu(&CiouGradient { detach_alpha }, &shapes, &inputs, 1e-6);
        }
    }
}

#[test]
fn a_box_that_underflowed_has_a_finite_gradient() {
    let rows = row([0; 5], [1.0, 2.0, 3.0, 4.0]).to_vec();
    let table = Shape::new(1, 1, 1, column::COUNT);
    let shapes = [table.with_c(4), table, table.with_c(1)];
    let inputs = [vec![1.0, 2.0, 0.0, 0.0], rows, vec![1.0]];
    let value = reference(&Ciou { detach_alpha: true }, &shapes[..2], &inputs[..2]);
    let gradient = reference(&CiouGradient { detach_alpha: true }, &shapes, &inputs);
    assert!(value[0].iter().chain(&gradient[0]).all(|v| v.is_finite()), "{value:?} {gradient:?}");
}
