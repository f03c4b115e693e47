//! Cases that hold the loops to their references.

use super::{MatrixMultiplyAdds, MultiplyAdds, ROWS_IN, ROWS_OUT};
use crate::ops::Case;
use crate::tensor::Shape;

/// Even and odd turns; more and fewer elements than a block has; pixels that fill no tile.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let shapes = [Shape::new(1, 1, 1, 1), Shape::new(2, 3, 5, 7), Shape::new(1, 9, 8, 40)];
    for (seed, &shape) in (0..).zip(&shapes) {
        for turns in [0, 1, 2, 9] {
            cases.push(Case::random(MultiplyAdds { turns }, &[shape], seed));
        }
    }
    let weight = Shape::new(ROWS_OUT, 1, 1, ROWS_IN);
    for (seed, pixels) in (7..).zip([2, 16, 17, 150]) {
        for turns in [0, 1, 3] {
            let x = Shape::new(1, 1, pixels, ROWS_IN);
            let case = Case::random(MatrixMultiplyAdds { turns }, &[x, weight], seed);
            cases.push(case.f32_inputs(&[1]));
        }
    }
    cases
}
