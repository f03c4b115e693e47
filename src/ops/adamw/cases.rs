//! Cases of AdamW.

use super::AdamW;
use crate::ops::Case;
use crate::tensor::Shape;

/// The first step, where 1 − β₂ᵗ is smallest, and late ones; gradients of all sizes; one element to
/// several blocks, with and without what no pack takes.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (seed, shape) in [
        Shape::vector(1),
        Shape::vector(6),
        Shape::new(5, 3, 3, 7),
        Shape::vector(1024),
        Shape::new(16, 3, 3, 9),
    ]
    .into_iter()
    .enumerate()
    {
        for (step, weight_decay) in [(1.0, 0.01), (2.0, 0.0), (1000.0, 0.05), (1e6, 0.01)] {
            let shapes = [shape, shape, shape, shape, Shape::vector(2)];
            let case = Case::random(AdamW { weight_decay, ..AdamW::default() }, &shapes, 800 + seed as u64);
            // The second moment is never negative, and as small as squares of small gradients are.
            let case = case.map(1, |g| g * g * g).map(3, |v| v * v * 1e-3);
            let case = case.with(4, |index| [1e-3, step][index]).f32_inputs(&[0, 1, 2, 3, 4]);
            cases.push(case);
        }
    }
    cases
}
