//! The cross-entropy: by hand, at extreme logits, by finite differences, on the cpu.

use super::*;
use crate::autograd::finite_difference::check;
use crate::graph::{Graph, Init, Mode};
use crate::ops::testing::{check_cpu, reference};
use crate::tensor::Random;

/// Objectness of anchors with 3 classes.
const OBJECTNESS: Channels = Channels { first: 4, step: 8 };

#[test]
fn worked_by_hand() {
    // σ(0) = ½, σ(ln 3) = ¾: −ln ½ for any target of 0 or 1, −ln ¾ for 1, −ln ¼ for 0.
    let ln3 = 3.0_f32.ln();
    let (map, target) = (Shape::new(1, 1, 1, 8), Shape::new(1, 1, 1, 4));
    let logits = vec![99.0, 0.0, 99.0, ln3, 99.0, ln3, 99.0, -ln3];
    let channels = Channels { first: 1, step: 2 };
    let inputs = [logits, vec![1.0, 1.0, 0.0, 0.5], vec![4.0]];
    let loss = reference(&BinaryCrossEntropy { channels }, &[map, target], &inputs[..2])[0][0];
    let expected =
        -(0.5_f64.ln() + 0.75_f64.ln() + 0.25_f64.ln() + 0.5 * (0.25_f64.ln() + 0.75_f64.ln())) / 4.0;
    assert!((loss - expected).abs() < 1e-7, "{loss} {expected}");
    let op = BinaryCrossEntropyGradient { channels };
    let gradient = &reference(&op, &[map, target, Shape::scalar()], &inputs)[0];
    for (got, want) in gradient.iter().zip([0.0, -0.5, 0.0, -0.25, 0.0, 0.75, 0.0, -0.25]) {
        assert!((got - want).abs() < 1e-7, "{gradient:?}");
    }
}

#[test]
fn extreme_logits_are_exact() {
    assert_eq!(term(1e4, 0.0), 1e4);
    assert_eq!(term(1e4, 1.0), 0.0);
    assert_eq!(term(-1e4, 1.0), 1e4);
    // ln(1 + e⁻²⁰) in f32: the sum of 1 and e⁻²⁰ would be 1.
    assert!((term(-20.0, 0.0) - 2.061_153_6e-9).abs() < 1e-15);
    assert_eq!((sigmoid(-1e4), sigmoid(1e4)), (0.0, 1.0));
}

#[test]
fn gradient_is_that_of_finite_differences() {
    let (map, target) = (Shape::new(2, 2, 3, 16), Shape::new(2, 2, 3, 2));
    let mut random = Random::new(4);
    let targets: Vec<f32> = (0..target.elements()).map(|_| random.unit()).collect();
    check(4, |g| {
        let x = g.parameter("x", map, Init::Uniform { bound: 3.0 })?;
        let target = g.state("target", target, Init::Pattern(targets.clone()))?;
        Ok(vec![trace(g, x, target, OBJECTNESS)?])
    })
    .unwrap();
}

#[test]
fn cpu_is_the_reference() {
    for (seed, map, anchors, channels) in [
        (1, Shape::new(2, 3, 4, 24), 3, OBJECTNESS),
        (2, Shape::new(1, 40, 30, 16), 2, OBJECTNESS),
        (3, Shape::new(2, 1, 1, 5), 5, Channels::ALL),
    ] {
        let mut random = Random::new(seed);
        let target = map.with_c(anchors);
        let logits: Vec<f32> = (0..map.elements()).map(|_| random.uniform(-8.0, 8.0)).collect();
        let targets: Vec<f32> = (0..target.elements()).map(|_| random.unit()).collect();
        let inputs = [logits, targets, vec![0.7]];
        check_cpu(&BinaryCrossEntropy { channels }, &[map, target], &inputs[..2], 1e-6);
        let op = BinaryCrossEntropyGradient { channels };
        check_cpu(&op, &[map, target, Shape::scalar()], &inputs, 1e-6);
    }
}

#[test]
fn a_target_without_a_logit_is_refused() {
    let mut g = Graph::new(Mode::Training);
    let map = g.input("map", Shape::new(1, 2, 2, 16)).unwrap();
    let target = g.input("target", Shape::new(1, 2, 2, 2)).unwrap();
    let wide = g.input("wide", Shape::new(1, 2, 2, 3)).unwrap();
    assert!(trace(&mut g, map, target, OBJECTNESS).is_ok());
    let error = trace(&mut g, map, wide, OBJECTNESS).unwrap_err().to_string();
    assert!(error.contains("no logit in channel 20"), "{error}");
    assert!(trace(&mut g, map, target, Channels { first: 0, step: 0 }).is_err());
}
