//! Cases of the box decode.

use super::{DecodeBox, DecodeBoxGradient, Grid};
use crate::ops::Case;
use crate::ops::matches::testing::{shape, tables, uniform};
use crate::tensor::{Random, Shape};

/// Logits to where σ saturates, one anchor and three, tables of every kind.
pub fn cases() -> Vec<Case> {
    let mut random = Random::new(73);
    let mut cases = Vec::new();
    for (stride, anchors) in
        [(8.0, vec![[10.0, 13.0], [16.0, 30.0], [33.25, 23.7]]), (32.0, vec![[1e-3, 1500.0]])]
    {
        let grid = Grid { stride, anchors };
        for table in tables(&mut random, Shape::new(2, 9, 9, grid.anchors.len()), 1) {
            let boxes = shape(&table).with_c(4);
            let logits = uniform(&mut random, boxes, 12.0);
            let case = Case::new(DecodeBox { grid: grid.clone() });
            let case = case.map_input(boxes, logits.clone()).f32_input(shape(&table), table.clone());
            cases.push(case);
            let case = Case::new(DecodeBoxGradient { grid: grid.clone() }).map_input(boxes, logits);
            let case =
                case.f32_input(shape(&table), table).f32_input(boxes, uniform(&mut random, boxes, 1.0));
            cases.push(case);
        }
    }
    cases
}
