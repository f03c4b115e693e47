//! The add against the reference over random shapes; its gradients are checked in `autograd`.

use proptest::prelude::*;

use super::Add;
use crate::ops::testing::check_cpu_random;
use crate::tensor::Shape;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn cpu_is_the_reference(n in 1..3usize, h in 1..7usize, w in 1..7usize, a in 1..40usize,
                            b in 1..40usize, offset in 0..40usize, seed: u64) {
        let b = b.min(a);
        let op = Add { offset: offset.min(a - b) };
        check_cpu_random(&op, &[Shape::new(n, h, w, a), Shape::new(n, h, w, b)], seed, 1e-6);
    }
}
