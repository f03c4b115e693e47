//! Cases for every device.

use super::{MeanSquare, MeanSquareGradient};
use crate::ops::Case;
use crate::tensor::Shape;

/// One element, odd maps, and one of several blocks.
pub fn cases() -> Vec<Case> {
    let shapes =
        [Shape::scalar(), Shape::new(2, 3, 5, 7), Shape::new(1, 9, 11, 24), Shape::new(3, 50, 31, 8)];
    let mut cases = Vec::new();
    for (seed, shape) in (1..).zip(shapes) {
        cases.push(Case::random(MeanSquare, &[shape], seed));
        cases.push(Case::random(MeanSquareGradient, &[shape, Shape::scalar()], seed));
    }
    cases
}
