//! Cases for every device.

use super::Add;
use crate::ops::Case;
use crate::tensor::Shape;

/// Whole, masked and asymmetric residuals; ranges that begin and end within a pack.
pub fn cases() -> Vec<Case> {
    let maps =
        [Shape::new(1, 1, 1, 6), Shape::new(2, 3, 5, 7), Shape::new(1, 5, 7, 32), Shape::new(2, 9, 5, 48)];
    let mut cases = Vec::new();
    for (seed, a) in (1..).zip(maps) {
        for (offset, channels) in
            [(0, a.c), (0, a.c / 2), (0, 3), (1, 4), (a.c / 2, a.c / 2), (a.c - 2, 2), (3, 1)]
        {
            cases.push(Case::random(Add { offset }, &[a, a.with_c(channels)], seed));
        }
    }
    cases
}
