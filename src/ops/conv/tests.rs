//! Gradients by finite differences, and hand-worked values.

use proptest::prelude::*;

use super::*;
use crate::autograd::finite_difference;
use crate::graph::Init;
use crate::ops::testing::{check_cpu_weights, reference};

fn check_gradients(seed: u64, geometry: Geometry, x: Shape, c_out: usize) {
    finite_difference::check(seed, |g| {
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
    check_gradients(1, Geometry::same(3, 1), Shape::new(2, 4, 3, 2), 3);
    check_gradients(2, Geometry::same(3, 2), Shape::new(1, 5, 4, 2), 2);
    check_gradients(3, Geometry::same(1, 1), Shape::new(2, 1, 1, 5), 4);
    check_gradients(4, Geometry::same(3, 1).grouped(2), Shape::new(1, 3, 3, 4), 6);
    check_gradients(5, Geometry::same(3, 2).grouped(3), Shape::new(1, 4, 5, 3), 3);
    let odd = Geometry { kernel: [2, 3], stride: [1, 2], padding: [1, 0, 2, 1], dilation: [2, 1], groups: 1 };
    check_gradients(6, odd, Shape::new(1, 5, 4, 2), 2);
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
        residual_in_place: None,
        packed_channels: None,
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
    let mean = plain[0].iter().step_by(4).sum::<f64>() / 9.0;
    assert!((got[1][0] - mean).abs() < 1e-6);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn cpu_is_the_reference(n in 1..3usize, h in 1..8usize, w in 1..8usize, c_in in 1..20usize, c_out in 1..40usize,
                            kernel in 1..4usize, stride in 1..3usize, flags in 0..32u8, kept in 1..40usize,
                            act in prop::sample::select(Activation::ALL.to_vec()), seed: u64) {
        let geometry = Geometry { padding: [kernel / 2; 4], ..Geometry::same(kernel, stride) };
        let (x, weight) = (Shape::new(n, h, w, c_in), geometry.weight(c_in, c_out));
        let Ok((oh, ow)) = geometry.output(h, w) else { return Ok(()) };
        let y = Shape::new(n, oh, ow, c_out);
        let op = Conv {
            geometry,
            bias: flags & 1 > 0,
            prologue: (flags & 2 > 0).then_some(act),
            activation: if flags & 4 > 0 { act } else { Activation::Linear },
            residual: flags & 8 > 0,
            statistics: flags & 16 > 0,
            residual_in_place: None,
        packed_channels: None,
        };
        let mut shapes = vec![x, weight];
        shapes.extend(op.bias.then_some(Shape::vector(c_out)));
        shapes.extend(op.prologue.map(|_| Shape::new(1, 1, 2, c_in)));
        shapes.extend(op.residual.then_some(y.with_c(kept.min(c_out))));
        let dense = [weight, Shape::new(1, 1, 2, c_in), Shape::new(1, 1, 2, c_out)];
        check(&op, &shapes, seed, &dense);
        let shapes = [x, y, Shape::new(1, 1, 2, c_in)];
        let dw = ConvWeightGradient { geometry, weight, prologue: op.prologue };
        check(&dw, &shapes[..2 + usize::from(op.prologue.is_some())], seed, &dense);
        let dx = ConvInputGradient { geometry, input: x, accumulate: op.bias };
        check(&dx, &[y, weight, x][..2 + usize::from(op.bias)], seed, &dense);
    }
}

/// Maps of one column, in several images: a pointwise convolution that packs them once saw the first alone.
#[test]
fn a_column_in_several_images() {
    let geometry = Geometry::same(1, 1);
    let op = Conv { prologue: Some(Activation::Leaky), ..Conv::plain(geometry, false) };
    let (x, weight, prologue) = (Shape::new(3, 5, 1, 7), geometry.weight(7, 6), Shape::new(1, 1, 2, 7));
    check(&op, &[x, weight, prologue], 1, &[weight, prologue]);
    let dw = ConvWeightGradient { geometry, weight, prologue: op.prologue };
    check(&dw, &[x, x.with_c(6), prologue], 2, &[weight, prologue]);
    let strided = Conv { prologue: Some(Activation::Leaky), ..Conv::plain(Geometry::same(3, 1), false) };
    let weight = strided.geometry.weight(7, 6);
    check(&strided, &[x, weight, prologue], 3, &[weight, prologue]);
}

fn check(op: &dyn Op, shapes: &[Shape], seed: u64, dense: &[Shape]) {
    let mut random = crate::tensor::Random::new(seed);
    let inputs: Vec<Vec<f32>> =
        shapes.iter().map(|s| (0..s.elements()).map(|_| random.uniform(-1.0, 1.0)).collect()).collect();
    check_cpu_weights(op, shapes, &inputs, 1e-4, dense);
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
