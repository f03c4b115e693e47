//! Hand-worked maps, the cpu against the reference, the gradient against finite differences.

use proptest::prelude::*;

use super::{Upsample, UpsampleGradient, trace};
use crate::autograd::finite_difference::check;
use crate::graph::Init;
use crate::ops::Op;
use crate::ops::testing::{check_cpu_random, reference};
use crate::tensor::Shape;

#[test]
fn by_hand() {
    let y = reference(&Upsample { factor: 2 }, &[Shape::new(1, 1, 2, 1)], &[vec![1.0, 2.0]]);
    assert_eq!(y[0], [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]);
    let dy = vec![1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0];
    let dx = reference(&UpsampleGradient { factor: 2 }, &[Shape::new(1, 2, 4, 1)], &[dy]);
    assert_eq!(dx[0], [33.0, 77.0]);
}

#[test]
fn the_gradient_is_that_of_finite_differences() {
    for factor in 1..4 {
        check(factor as u64, |g| {
            let x = g.parameter("x", Shape::new(2, 3, 2, 3), Init::Uniform { bound: 1.0 })?;
            Ok(vec![trace(g, x, factor)?])
        })
        .unwrap();
    }
}

#[test]
fn impossible_factors_are_refused() {
    let shape = Shape::new(1, 4, 4, 1);
    assert!(Upsample { factor: 0 }.output_shapes(&[shape]).is_err());
    assert!(Upsample { factor: usize::MAX }.output_shapes(&[shape]).is_err());
    assert!(UpsampleGradient { factor: 3 }.output_shapes(&[shape]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn cpu_is_the_reference(n in 1..3usize, h in 1..6usize, w in 1..6usize, c in 1..40usize,
                            factor in 1..4usize, seed: u64) {
        check_cpu_random(&Upsample { factor }, &[Shape::new(n, h, w, c)], seed, 0.0);
        let dy = Shape::new(n, h * factor, w * factor, c);
        check_cpu_random(&UpsampleGradient { factor }, &[dy], seed, 1e-6);
    }
}
