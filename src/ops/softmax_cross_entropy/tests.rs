//! Hand-worked losses, the cpu against the reference, the gradient against finite differences.

use proptest::prelude::*;

use super::{SoftmaxCrossEntropy, SoftmaxCrossEntropyGradient, trace};
use crate::Result;
use crate::autograd::finite_difference::check;
use crate::graph::Init;
use crate::ops::testing::{check_cpu, reference};
use crate::ops::{Io, Op};
use crate::runtime::Cpu;
use crate::tensor::{Random, Shape, View, ViewMut};

fn shapes(n: usize, c: usize) -> [Shape; 2] {
    [Shape::new(n, 1, 1, c), Shape::new(n, 1, 1, 1)]
}

#[test]
fn by_hand() {
    // Row 0: softmax (1/4, 3/4), class 1. Row 1: uniform over two, class 0.
    let inputs = [vec![0.0, 3f32.ln(), 7.0, 7.0], vec![1.0, 0.0]];
    let shapes = shapes(2, 2);
    check_cpu(&SoftmaxCrossEntropy, &shapes, &inputs, 1e-6);
    let loss = reference(&SoftmaxCrossEntropy, &shapes, &inputs)[0][0];
    approx::assert_relative_eq!(loss, ((4.0f64 / 3.0).ln() + 2f64.ln()) / 2.0, epsilon = 1e-7);

    let [logits, labels] = inputs;
    let (inputs, shapes) = ([logits, labels, vec![4.0]], [shapes[0], shapes[1], Shape::scalar()]);
    check_cpu(&SoftmaxCrossEntropyGradient, &shapes, &inputs, 1e-6);
    let gradient = &reference(&SoftmaxCrossEntropyGradient, &shapes, &inputs)[0];
    for (got, want) in gradient.iter().zip([0.5, -0.5, -1.0, 1.0]) {
        approx::assert_relative_eq!(*got, want, epsilon = 1e-7);
    }
}

#[test]
fn large_logits_do_not_overflow() {
    let inputs = [vec![1e30, -1e30, 0.0, 3e38, -3e38, 3e38], vec![0.0, 2.0]];
    check_cpu(&SoftmaxCrossEntropy, &shapes(2, 3), &inputs, 1e-6);
    let loss = reference(&SoftmaxCrossEntropy, &shapes(2, 3), &inputs)[0][0];
    approx::assert_relative_eq!(loss, 2f64.ln() / 2.0, epsilon = 1e-9);
}

#[test]
fn the_gradient_is_that_of_finite_differences() {
    check(1, |g| {
        let logits = g.parameter("logits", Shape::new(4, 1, 1, 5), Init::Uniform { bound: 3.0 })?;
        let labels = g.state("labels", Shape::new(4, 1, 1, 1), Init::Pattern(vec![0.0, 4.0, 2.0, 2.0]))?;
        Ok(vec![trace(g, logits, labels)?])
    })
    .unwrap();
}

#[test]
fn a_label_that_is_no_class_is_named() {
    let run = |labels: [f32; 2]| -> Result<()> {
        let (shapes, logits, mut loss) = (shapes(2, 3), [0.0; 6], [0.0]);
        let mut io = Io {
            inputs: vec![Some(View::dense(&logits, shapes[0])), Some(View::dense(&labels, shapes[1]))],
            outputs: vec![ViewMut::dense(&mut loss, Shape::scalar())],
            workspace: &mut [],
        };
        SoftmaxCrossEntropy.cpu(&mut io, &Cpu::new(1)?)
    };
    run([0.0, 2.0]).unwrap();
    for bad in [3.0, -1.0, 0.5, f32::NAN, f32::INFINITY] {
        let error = run([0.0, bad]).unwrap_err().to_string();
        assert!(error.contains(&format!("row 1 has the label {bad}")), "{error}");
        assert!(error.contains("from 0 to 2"), "{error}");
    }
}

#[test]
fn other_shapes_are_refused() {
    let shape = |h, labels| SoftmaxCrossEntropy.output_shapes(&[Shape::new(2, h, 1, 3), labels]);
    assert!(shape(1, Shape::new(2, 1, 1, 1)).is_ok());
    assert!(shape(2, Shape::new(2, 2, 1, 1)).is_err());
    assert!(shape(1, Shape::new(2, 1, 1, 3)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn cpu_is_the_reference(n in 1..40usize, c in 1..300usize, seed: u64) {
        let mut random = Random::new(seed);
        let logits: Vec<f32> = (0..n * c).map(|_| random.uniform(-9.0, 9.0)).collect();
        let labels: Vec<f32> = (0..n).map(|_| random.below(c) as f32).collect();
        let inputs = [logits, labels, vec![random.uniform(-3.0, 3.0)]];
        let [logits, labels] = shapes(n, c);
        check_cpu(&SoftmaxCrossEntropy, &[logits, labels], &inputs[..2], 1e-6);
        check_cpu(&SoftmaxCrossEntropyGradient, &[logits, labels, Shape::scalar()], &inputs, 1e-6);
    }
}
