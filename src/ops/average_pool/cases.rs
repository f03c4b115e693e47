//! Cases for every device.

use super::{GlobalAveragePool, GlobalAveragePoolGradient};
use crate::ops::Case;
use crate::tensor::Shape;

/// One pixel, odd maps, several images, several groups of channels.
pub fn cases() -> Vec<Case> {
    let shapes = [
        Shape::new(1, 1, 1, 5),
        Shape::new(3, 3, 5, 7),
        Shape::new(2, 7, 7, 64),
        Shape::new(1, 3, 2, 600),
        Shape::new(1, 90, 80, 2),
    ];
    let mut cases = Vec::new();
    for (seed, shape) in (1..).zip(shapes) {
        let Shape { n, h, w, c } = shape;
        cases.push(Case::random(GlobalAveragePool, &[shape], seed));
        cases.push(Case::random(GlobalAveragePoolGradient { h, w }, &[Shape::new(n, 1, 1, c)], seed));
    }
    cases
}
