//! Cases of the softmax cross entropy.

use super::{SoftmaxCrossEntropy, SoftmaxCrossEntropyGradient};
use crate::ops::Case;
use crate::tensor::{Random, Shape};

/// One class to more than a warp has lanes for, one row to several blocks, logits far from 0.
pub fn cases() -> Vec<Case> {
    let mut random = Random::new(78);
    let mut cases = Vec::new();
    for (rows, classes, offset) in
        [(1, 1, 0.0), (1, 10, 0.0), (8, 37, -1000.0), (33, 10, 90.0), (20, 1000, 0.0)]
    {
        let shape = Shape::new(rows, 1, 1, classes);
        let logits: Vec<f32> = (0..shape.elements()).map(|_| offset + random.uniform(-6.0, 6.0)).collect();
        let labels: Vec<f32> = (0..rows).map(|_| random.below(classes) as f32).collect();
        let case = Case::new(SoftmaxCrossEntropy).map_input(shape, logits.clone());
        cases.push(case.f32_input(shape.with_c(1), labels.clone()));
        let case = Case::new(SoftmaxCrossEntropyGradient).map_input(shape, logits);
        cases.push(case.f32_input(shape.with_c(1), labels).f32_input(Shape::scalar(), vec![2.5]));
    }
    cases
}
