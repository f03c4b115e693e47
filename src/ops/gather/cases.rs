//! Cases of gather and scatter.

use super::{Gather, Scatter};
use crate::ops::Case;
use crate::ops::matches::testing::{shape, tables, uniform};
use crate::tensor::{Random, Shape};

/// Maps of one pixel and of several images, columns of 1 to more than a warp's, channels that no pack
/// divides, tables of every kind.
pub fn cases() -> Vec<Case> {
    let mut random = Random::new(71);
    let mut cases = Vec::new();
    for (map, anchors) in [
        (Shape::new(2, 3, 4, 3 * 7), 3),
        (Shape::new(1, 1, 1, 4), 4),
        (Shape::new(3, 5, 2, 2 * 85), 2),
        (Shape::new(1, 2, 2, 200), 1),
    ] {
        for table in tables(&mut random, map.with_c(anchors), 1) {
            let rows = shape(&table).with_c(map.c / anchors);
            let gather = Case::new(Gather { anchors }).map_input(map, uniform(&mut random, map, 1.0));
            cases.push(gather.f32_input(shape(&table), table.clone()));
            let scatter = Case::new(Scatter { map }).map_input(rows, uniform(&mut random, rows, 1.0));
            cases.push(scatter.f32_input(shape(&table), table));
        }
    }
    cases
}
