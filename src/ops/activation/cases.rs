//! Cases for every device.

use super::{Activate, ActivateGradient, Activation};
use crate::ops::Case;
use crate::tensor::Shape;

/// Every activation and its gradient, on one pixel, odd maps and wide ones, far into both tails.
pub fn cases() -> Vec<Case> {
    let shapes =
        [Shape::new(1, 1, 1, 5), Shape::new(2, 3, 5, 7), Shape::new(1, 4, 6, 24), Shape::new(1, 9, 11, 64)];
    let mut cases = Vec::new();
    for (seed, activation) in (1..).zip(Activation::ALL) {
        for shape in shapes {
            cases.push(Case::random(Activate(activation), &[shape], seed).map(0, |x| 4.0 * x));
            let gradient = Case::random(ActivateGradient(activation), &[shape, shape], seed);
            cases.push(gradient.map(1, |x| 4.0 * x));
        }
        // e^x overflows at the ends.
        let tails = [-200.0, -90.0, -20.5, -19.5, 0.0, 19.5, 20.5, 90.0];
        let wide =
            Case::random(Activate(activation), &[Shape::new(1, 2, 2, 8)], seed).with(0, |i| tails[i % 8]);
        cases.push(wide);
        let shape = Shape::new(1, 2, 2, 8);
        let gradient = Case::random(ActivateGradient(activation), &[shape, shape], seed);
        cases.push(gradient.with(1, |i| tails[i % 8]));
    }
    cases
}
