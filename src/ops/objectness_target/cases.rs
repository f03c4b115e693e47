//! Cases of the objectness target.

use super::ObjectnessTarget;
use crate::ops::Case;
use crate::ops::matches::testing::{shape, tables, uniform};
use crate::tensor::{Random, Shape};

/// Values on both sides of 0; tables of every kind; all, some and none of the value.
pub fn cases() -> Vec<Case> {
    let mut random = Random::new(72);
    let mut cases = Vec::new();
    for map in [Shape::new(2, 3, 4, 3), Shape::new(1, 1, 1, 1), Shape::new(1, 35, 30, 2)] {
        for (index, table) in tables(&mut random, map, 1).into_iter().enumerate() {
            let values = shape(&table).with_c(1);
            let case = Case::new(ObjectnessTarget { map, ratio: [1.0, 0.3, 0.0][index % 3] });
            let case = case.f32_input(values, uniform(&mut random, values, 1.0));
            cases.push(case.f32_input(shape(&table), table));
        }
    }
    cases
}
