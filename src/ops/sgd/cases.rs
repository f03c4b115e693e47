//! Cases of SGD.

use super::Sgd;
use crate::ops::Case;
use crate::tensor::Shape;

/// One element to several blocks, with and without what no pack takes; with and without decay and
/// looking ahead.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (seed, shape) in [
        Shape::vector(1),
        Shape::vector(3),
        Shape::new(5, 3, 3, 7),
        Shape::vector(1024),
        Shape::new(16, 3, 3, 9),
    ]
    .into_iter()
    .enumerate()
    {
        for (weight_decay, nesterov) in [(0.0, false), (5e-4, true), (0.1, false)] {
            let shapes = [shape, shape, shape, Shape::scalar(), Shape::scalar()];
            let case = Case::random(Sgd { weight_decay, nesterov }, &shapes, 790 + seed as u64);
            let case = case.with(3, |_| 0.01).with(4, |_| 0.937).f32_inputs(&[0, 1, 2, 3, 4]);
            cases.push(case.tolerance(1e-6));
        }
    }
    cases
}
