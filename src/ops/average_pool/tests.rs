//! A hand-worked average, the cpu against the reference, the gradient against finite differences.

use proptest::prelude::*;

use super::{GlobalAveragePool, GlobalAveragePoolGradient, trace};
use crate::autograd::finite_difference::check;
use crate::graph::Init;
use crate::ops::Op;
use crate::ops::testing::{check_cpu, check_cpu_random, reference};
use crate::tensor::Shape;

#[test]
fn by_hand() {
    let shapes = [Shape::new(2, 1, 2, 2)];
    let x = vec![1.0, -2.0, 3.0, 4.0, 0.5, 0.0, 0.5, 10.0];
    check_cpu(&GlobalAveragePool, &shapes, std::slice::from_ref(&x), 1e-7);
    assert_eq!(reference(&GlobalAveragePool, &shapes, &[x])[0], [2.0, 1.0, 0.5, 5.0]);
}

#[test]
fn a_large_map_loses_no_digits() {
    // 0.1 in f32, 250,000 times: a sum in f32 would be off in the third digit.
    check_cpu(&GlobalAveragePool, &[Shape::new(1, 500, 500, 1)], &[vec![0.1; 250_000]], 1e-7);
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
fn a_map_without_pixels_is_refused() {
    let error = GlobalAveragePool.output_shapes(&[Shape::new(1, 0, 4, 3)]).unwrap_err();
    assert!(error.to_string().contains("no pixels"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn cpu_is_the_reference(n in 1..4usize, h in 1..9usize, w in 1..9usize, c in 1..80usize, seed: u64) {
        check_cpu_random(&GlobalAveragePool, &[Shape::new(n, h, w, c)], seed, 1e-6);
        check_cpu_random(&GlobalAveragePoolGradient { h, w }, &[Shape::new(n, 1, 1, c)], seed, 1e-6);
    }
}
