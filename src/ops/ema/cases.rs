//! Cases of the moving average.

use super::Ema;
use crate::ops::Case;
use crate::tensor::Shape;

/// A young and an old average, and both ends; one element to several blocks, with and without what no
/// pack takes.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (seed, shape) in [
        Shape::vector(1),
        Shape::vector(7),
        Shape::new(5, 3, 3, 7),
        Shape::vector(1024),
        Shape::new(16, 3, 3, 9),
    ]
    .into_iter()
    .enumerate()
    {
        for decay in [0.0, 0.3, 0.9999, 1.0] {
            let case = Case::random(Ema, &[shape, shape, Shape::scalar()], 810 + seed as u64);
            cases.push(case.with(2, |_| decay).f32_inputs(&[0, 1, 2]).tolerance(1e-6));
        }
    }
    cases
}
