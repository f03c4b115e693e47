//! Gradients by finite differences; kernels against the reference; conventions by hand.

use proptest::prelude::*;

use super::*;
use crate::autograd::finite_difference::check;
use crate::graph::Init;
use crate::ops::Op;
use crate::ops::testing::{check_cpu, check_cpu_weights, reference};
use crate::tensor::Random;

/// Inputs that a norm can meet: maps around a mean of 2, variances that are not negative.
fn operands(shapes: &[Shape], statistics: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut random = Random::new(seed);
    shapes
        .iter()
        .enumerate()
        .map(|(i, s)| {
            let low = if i == statistics { 0.1 } else { -1.0 };
            (0..s.elements()).map(|_| random.uniform(low, 2.0)).collect()
        })
        .collect()
}

fn activation() -> impl Strategy<Value = Activation> {
    prop::sample::select(Activation::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn normalize_cpu(n in 1..3usize, h in 1..9usize, w in 1..9usize, c in 1..70usize,
                     kept in 1..70usize, residual: bool, act in activation(), seed: u64) {
        let op = Normalize { epsilon: 1e-3, activation: act, batch: true, residual };
        let z = Shape::new(n, h, w, c);
        let mut shapes = vec![z, Shape::new(1, 1, 2, c), Shape::vector(c), Shape::vector(c)];
        if residual {
            shapes.push(z.with_c(kept.min(c)));
        }
        check_cpu(&op, &shapes, &operands(&shapes, 1, seed), 2e-5);
    }

    #[test]
    fn normalize_gradient_cpu(n in 1..3usize, h in 1..30usize, w in 1..30usize, c in 1..70usize,
                              batch: bool, act in activation(), seed: u64) {
        let op = NormalizeGradient { epsilon: 1e-3, activation: act, batch };
        let z = Shape::new(n, h, w, c);
        let shapes = [z, z, Shape::new(1, 1, 2, c), Shape::vector(c), Shape::vector(c)];
        let mut inputs = operands(&shapes, 2, seed);
        // Away from the kinks, where f32 and f64 may fall on different sides.
        if matches!(act, Activation::Relu | Activation::Leaky) {
            inputs[3].fill(0.01);
            inputs[4].iter_mut().for_each(|b| *b = b.signum());
        }
        check_cpu(&op, &shapes, &inputs, 3e-4);
    }

    #[test]
    fn statistics_cpu(n in 1..3usize, h in 1..30usize, w in 1..30usize, c in 1..70usize, seed: u64) {
        let shapes = [Shape::new(n, h, w, c)];
        let mut inputs = operands(&shapes, 9, seed);
        inputs[0].iter_mut().for_each(|v| *v += 100.0);
        check_cpu(&BatchStatistics, &shapes, &inputs, 2e-5);
    }

    #[test]
    fn vectors_cpu(c in 1..70usize, count in 1..5usize, seed: u64) {
        let two = Shape::new(1, 1, 2, c);
        let update = UpdateRunning { momentum: 0.03, count };
        check_cpu(&update, &[two, two], &operands(&[two, two], 0, seed), 1e-6);
        let shapes = [two, Shape::vector(c), Shape::vector(c)];
        check_cpu(&NormAffine { epsilon: 1e-3 }, &shapes, &operands(&shapes, 0, seed), 1e-6);
        let shapes = [Shape::new(c, 3, 1, 2), two, Shape::vector(c), Shape::vector(c)];
        let inputs = operands(&shapes, 1, seed);
        check_cpu_weights(&FoldNorm { epsilon: 1e-3 }, &shapes, &inputs, 1e-6, &shapes[..1]);
    }
}

#[test]
fn gradients() {
    for (seed, act) in Activation::ALL.into_iter().enumerate() {
        for training in [true, false] {
            check(seed as u64, |g| {
                let z = g.parameter("z", Shape::new(2, 2, 3, 3), Init::Uniform { bound: 1.0 })?;
                let gamma = g.parameter("gamma", Shape::vector(3), Init::Uniform { bound: 1.0 })?;
                let beta = g.parameter("beta", Shape::vector(3), Init::Uniform { bound: 1.0 })?;
                let running = g.state("running", Shape::new(1, 1, 2, 3), Init::Rows(vec![0.1, 0.7]))?;
                let vectors = [gamma, beta, running];
                let y = match training {
                    true => trace_training(g, z, vectors, NormSpec::default(), act)?.y,
                    false => trace_inference(g, z, vectors, NormSpec::default(), act)?,
                };
                Ok(vec![y])
            })
            .unwrap();
        }
    }
}

#[test]
fn running_variance_is_unbiased() {
    // Two pixels 0 and 2: mean 1, biased variance 1, unbiased 2.
    let op = UpdateRunning { momentum: 0.5, count: 2 };
    let two = Shape::new(1, 1, 2, 1);
    let running = reference(&op, &[two, two], &[vec![1.0, 1.0], vec![0.0, 1.0]]);
    assert_eq!(running[0], [0.5, 1.5]);
    assert_eq!(op.in_place(), [(1, 0)]);
}

#[test]
fn a_folded_norm_is_the_norm() {
    let shapes = [Shape::new(2, 1, 1, 3), Shape::new(1, 1, 2, 2), Shape::vector(2), Shape::vector(2)];
    let inputs = operands(&shapes, 1, 5);
    let folded = reference(&FoldNorm { epsilon: 1e-5 }, &shapes, &inputs);
    let x = [0.3, -0.4, 0.9];
    let conv = |w: &[f64]| -> f64 { w.iter().zip(x).map(|(w, x)| w * x).sum() };
    for c in 0..2 {
        let w: Vec<f64> = inputs[0][c * 3..c * 3 + 3].iter().map(|&v| f64::from(v)).collect();
        let v = |input: usize, i: usize| f64::from(inputs[input][i]);
        let expected = (conv(&w) - v(1, c)) / (v(1, 2 + c) + 1e-5).sqrt() * v(2, c) + v(3, c);
        let got = conv(&folded[0][c * 3..c * 3 + 3]) + folded[1][c];
        assert!((got - expected).abs() < 1e-12, "{got} {expected}");
    }
}
