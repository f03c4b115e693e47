//! Cases of the class loss.

use super::{ClassLoss, ClassLossGradient};
use crate::ops::Case;
use crate::ops::matches::testing::{shape, tables, uniform};
use crate::tensor::{Random, Shape};

/// One class to more than a warp's, with and without smoothing, tables of every kind.
pub fn cases() -> Vec<Case> {
    let mut random = Random::new(76);
    let mut cases = Vec::new();
    for (classes, label_smoothing) in [(1, 0.0), (3, 0.1), (80, 0.05)] {
        for table in tables(&mut random, Shape::new(2, 3, 4, 3), classes) {
            let rows = shape(&table).with_c(classes);
            let logits = uniform(&mut random, rows, 8.0);
            let case = Case::new(ClassLoss { label_smoothing }).map_input(rows, logits.clone());
            cases.push(case.f32_input(shape(&table), table.clone()));
            let case = Case::new(ClassLossGradient { label_smoothing }).map_input(rows, logits);
            cases.push(case.f32_input(shape(&table), table).f32_input(Shape::scalar(), vec![1.5]));
        }
    }
    cases
}
