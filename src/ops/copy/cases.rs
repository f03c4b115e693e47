//! Cases for every device.

use super::Copy;
use crate::ops::Case;
use crate::tensor::Shape;

/// Maps of every width of pack, one of several blocks, and a vector.
pub fn cases() -> Vec<Case> {
    let shapes = [
        Shape::vector(3),
        Shape::new(1, 1, 1, 1),
        Shape::new(2, 3, 5, 7),
        Shape::new(1, 5, 3, 12),
        Shape::new(3, 11, 13, 32),
    ];
    (1..).zip(shapes).map(|(seed, shape)| Case::random(Copy, &[shape], seed)).collect()
}
