//! Cases of the mean over matches.

use super::{MatchedMean, MatchedMeanGradient};
use crate::ops::Case;
use crate::ops::matches::testing::{shape, tables, uniform};
use crate::tensor::{Random, Shape};

/// Tables of every kind.
pub fn cases() -> Vec<Case> {
    let mut random = Random::new(75);
    let mut cases = Vec::new();
    for table in tables(&mut random, Shape::new(2, 3, 4, 3), 2) {
        let values = shape(&table).with_c(1);
        let case = Case::new(MatchedMean { scale: -1.0, offset: 1.0 });
        let case = case.f32_input(values, uniform(&mut random, values, 1.0));
        cases.push(case.f32_input(shape(&table), table.clone()));
        let case = Case::new(MatchedMeanGradient { scale: -1.0 }).f32_input(shape(&table), table);
        cases.push(case.f32_input(Shape::scalar(), vec![1.5]));
    }
    cases
}
