//! Cases for every device.

use super::{Upsample, UpsampleGradient};
use crate::ops::Case;
use crate::tensor::Shape;

/// Factors up to 4, odd maps, several images.
pub fn cases() -> Vec<Case> {
    let shapes =
        [Shape::new(1, 1, 1, 3), Shape::new(2, 3, 5, 7), Shape::new(1, 4, 3, 24), Shape::new(2, 5, 7, 32)];
    let mut cases = Vec::new();
    for (seed, shape) in (1..).zip(shapes) {
        for factor in 1..=4 {
            let dy = Shape::new(shape.n, shape.h * factor, shape.w * factor, shape.c);
            cases.push(Case::random(Upsample { factor }, &[shape], seed));
            cases.push(Case::random(UpsampleGradient { factor }, &[dy], seed));
        }
    }
    cases
}
