//! Cases for every device.

use super::Slice;
use crate::ops::Case;
use crate::tensor::Shape;

/// Slices that begin and end where packs do, and where they do not.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (seed, shape) in (1..).zip([Shape::new(1, 1, 1, 9), Shape::new(2, 5, 3, 16), Shape::new(1, 7, 9, 48)])
    {
        for (start, end) in [(0, 8), (8, shape.c), (1, 6), (3, 4), (shape.c / 2, shape.c)] {
            cases.push(Case::random(Slice { start, end }, &[shape], seed));
        }
    }
    cases
}
