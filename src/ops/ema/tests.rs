//! Hand-worked averages, the cpu against the reference.

use proptest::prelude::*;

use super::Ema;
use crate::ops::Op;
use crate::ops::testing::{check_cpu_random, reference};
use crate::tensor::Shape;

#[test]
fn by_hand() {
    let shapes = [Shape::vector(2), Shape::vector(2), Shape::scalar()];
    let step = |decay| reference(&Ema, &shapes, &[vec![4.0, -8.0], vec![8.0, 0.0], vec![decay]]).remove(0);
    assert_eq!(step(0.75), [5.0, -6.0]);
    assert_eq!(step(0.0), [8.0, 0.0]);
    assert_eq!(step(1.0), [4.0, -8.0]);
}

#[test]
fn other_shapes_are_refused() {
    let (a, b) = (Shape::vector(2), Shape::vector(3));
    assert!(Ema.output_shapes(&[a, b, Shape::scalar()]).is_err());
    assert!(Ema.output_shapes(&[a, a, a]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn cpu_is_the_reference(n in 1..40usize, k in 1..4usize, c in 1..80usize, seed: u64) {
        let weight = Shape::new(n, k, k, c);
        check_cpu_random(&Ema, &[weight, weight, Shape::scalar()], seed, 1e-6);
    }
}
