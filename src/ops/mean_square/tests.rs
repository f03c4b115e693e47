//! Hand-worked means, the cpu against the reference, the gradient against finite differences.

use proptest::prelude::*;

use super::{MeanSquare, MeanSquareGradient, trace};
use crate::autograd::finite_difference::check;
use crate::graph::Init;
use crate::ops::Op;
use crate::ops::testing::{check_cpu, check_cpu_random, reference};
use crate::tensor::Shape;

#[test]
fn by_hand() {
    let shape = Shape::new(1, 1, 2, 2);
    let x = vec![1.0, -2.0, 3.0, 0.0];
    assert_eq!(reference(&MeanSquare, &[shape], std::slice::from_ref(&x))[0], [3.5]);
    let gradient = reference(&MeanSquareGradient, &[shape, Shape::scalar()], &[x, vec![4.0]]);
    assert_eq!(gradient[0], [2.0, -4.0, 6.0, 0.0]);
}

#[test]
fn a_large_map_loses_no_digits() {
    check_cpu(&MeanSquare, &[Shape::new(1, 500, 500, 1)], &[vec![0.1; 250_000]], 1e-8);
}

#[test]
fn the_gradient_is_that_of_finite_differences() {
    check(1, |g| {
        let x = g.parameter("x", Shape::new(2, 3, 4, 3), Init::Uniform { bound: 1.0 })?;
        Ok(vec![trace(g, x)?])
    })
    .unwrap();
}

#[test]
fn the_mean_of_nothing_is_refused() {
    assert!(MeanSquare.output_shapes(&[Shape::new(0, 3, 3, 1)]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn cpu_is_the_reference(n in 1..3usize, h in 1..9usize, w in 1..9usize, c in 1..300usize, seed: u64) {
        let shape = Shape::new(n, h, w, c);
        check_cpu_random(&MeanSquare, &[shape], seed, 1e-6);
        check_cpu_random(&MeanSquareGradient, &[shape, Shape::scalar()], seed, 1e-6);
    }
}
