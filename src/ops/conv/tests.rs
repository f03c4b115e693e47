//! Gradients by finite differences, and hand-worked values.

use super::*;
use crate::autograd::finite_difference::check;
use crate::graph::Init;
use crate::ops::testing::reference;

fn check_geometry(seed: u64, geometry: Geometry, x: Shape, c_out: usize) {
    check(seed, |g| {
        let weight = geometry.weight(x.c, c_out);
        let x = g.parameter("x", x, Init::Uniform { bound: 1.0 })?;
        let w = g.parameter("w", weight, Init::Uniform { bound: 1.0 })?;
        let b = g.parameter("b", Shape::vector(c_out), Init::Uniform { bound: 1.0 })?;
        Ok(vec![trace(g, x, w, Some(b), geometry)?])
    })
    .unwrap();
}

#[test]
fn gradients() {
    check_geometry(1, Geometry::same(3, 1), Shape::new(2, 4, 3, 2), 3);
    check_geometry(2, Geometry::same(3, 2), Shape::new(1, 5, 4, 2), 2);
    check_geometry(3, Geometry::same(1, 1), Shape::new(2, 1, 1, 5), 4);
    check_geometry(4, Geometry::same(3, 1).grouped(2), Shape::new(1, 3, 3, 4), 6);
    check_geometry(5, Geometry::same(3, 2).grouped(3), Shape::new(1, 4, 5, 3), 3);
    let odd = Geometry { kernel: [2, 3], stride: [1, 2], padding: [1, 0, 2, 1], dilation: [2, 1], groups: 1 };
    check_geometry(6, odd, Shape::new(1, 5, 4, 2), 2);
}

#[test]
fn a_sum_of_neighbours() {
    // A 3×3 kernel of ones over ones counts the pixels inside.
    let op = Conv::plain(Geometry::same(3, 1), false);
    let shapes = [Shape::new(1, 3, 3, 1), Shape::new(1, 3, 3, 1)];
    let y = reference(&op, &shapes, &[vec![1.0; 9], vec![1.0; 9]]);
    assert_eq!(y[0], [4.0, 6.0, 4.0, 6.0, 9.0, 6.0, 4.0, 6.0, 4.0]);
}

#[test]
fn what_is_fused_is_what_it_replaces() {
    let geometry = Geometry::same(3, 1);
    let op = Conv {
        geometry,
        bias: true,
        prologue: Some(Activation::Silu),
        activation: Activation::Leaky,
        residual: true,
        statistics: true,
    };
    let shapes = [
        Shape::new(1, 3, 3, 2),
        geometry.weight(2, 4),
        Shape::vector(4),
        Shape::new(1, 1, 2, 2),
        Shape::new(1, 3, 3, 3),
    ];
    let mut random = crate::tensor::Random::new(1);
    let inputs: Vec<Vec<f32>> =
        shapes.iter().map(|s| (0..s.elements()).map(|_| random.uniform(-1.0, 1.0)).collect()).collect();
    let got = reference(&op, &shapes, &inputs);
    let x: Vec<f32> = inputs[0]
        .iter()
        .enumerate()
        .map(|(i, v)| Activation::Silu.apply(f64::from(v * inputs[3][i % 2] + inputs[3][2 + i % 2])) as f32)
        .collect();
    let plain =
        reference(&Conv::plain(geometry, true), &shapes[..3], &[x, inputs[1].clone(), inputs[2].clone()]);
    for (i, (got, sum)) in got[0].iter().zip(&plain[0]).enumerate() {
        let residual = if i % 4 < 3 { f64::from(inputs[4][i / 4 * 3 + i % 4]) } else { 0.0 };
        assert!((got - (Activation::Leaky.apply(*sum) + residual)).abs() < 1e-6);
    }
    let mean = got[0].iter().step_by(4).sum::<f64>() / 9.0;
    assert!((got[1][0] - mean).abs() < 1e-12);
}

#[test]
fn what_does_not_fit_is_refused() {
    let op = Conv::plain(Geometry::same(3, 1), false);
    let error = op.output_shapes(&[Shape::new(1, 8, 8, 3), Shape::new(4, 3, 3, 2)]).unwrap_err().to_string();
    assert!(error.contains("the weight must be [4, 3, 3, 3]"), "{error}");
    let grouped = Conv::plain(Geometry::same(3, 1).grouped(2), false);
    let error =
        grouped.output_shapes(&[Shape::new(1, 8, 8, 3), Shape::new(4, 3, 3, 1)]).unwrap_err().to_string();
    assert!(error.contains("do not divide into 2 groups"), "{error}");
}
