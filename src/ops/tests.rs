//! The ops that move or make numbers without changing them, on the cpu against the reference.

use proptest::prelude::*;

use super::testing::check_cpu_random;
use super::weighted_sum::WeightedSum;
use super::{concat::Concat, copy::Copy, fill::Fill, slice::Slice, stop_gradient::StopGradient};
use crate::tensor::Shape;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn copies_slices_and_concats(n in 1..3usize, h in 1..7usize, w in 1..7usize, a in 1..40usize,
                                 b in 1..40usize, cut in 0..39usize, seed: u64) {
        let map = |c: usize| Shape::new(n, h, w, c);
        check_cpu_random(&Copy, &[map(a)], seed, 0.0);
        check_cpu_random(&StopGradient, &[map(a)], seed, 0.0);
        check_cpu_random(&Slice { start: cut.min(a - 1), end: a }, &[map(a)], seed, 0.0);
        check_cpu_random(&Concat, &[map(a), map(b), map(a)], seed, 0.0);
    }

    #[test]
    fn constants_and_sums_of_scalars(h in 1..9usize, c in 1..40usize, value in -2.0..2.0f64, seed: u64) {
        check_cpu_random(&Fill { shape: Shape::new(1, h, 2, c), value }, &[], seed, 1e-7);
        let weights = vec![value, 1.0, -0.5];
        check_cpu_random(&WeightedSum { weights }, &[Shape::scalar(); 3], seed, 1e-6);
    }
}
