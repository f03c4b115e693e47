//! Cases of CIoU.

use super::{Ciou, CiouGradient};
use crate::ops::Case;
use crate::ops::matches::column;
use crate::ops::matches::testing::{shape, tables, uniform};
use crate::tensor::{Random, Shape};

/// Boxes that overlap their targets, lie inside, around or apart from them, are equal to them, share an
/// edge, or are nothing; tables of every kind.
pub fn cases() -> Vec<Case> {
    let mut random = Random::new(74);
    let mut cases = Vec::new();
    for table in tables(&mut random, Shape::new(1, 1, 1, 1), 1) {
        let mut boxes = Vec::new();
        for (index, row) in table.chunks(column::COUNT).enumerate() {
            let [x, y, w, h] =
                [column::CENTER_X, column::CENTER_Y, column::WIDTH, column::HEIGHT].map(|c| row[c]);
            let mut near = |side: f32, low: f32, high: f32| side * random.uniform(low, high);
            boxes.extend(match index % 8 {
                0..=3 => {
                    [x + near(w, -0.9, 0.9), y + near(h, -0.9, 0.9), near(w, 0.4, 2.0), near(h, 0.4, 2.0)]
                }
                4 => [x, y, w, h],
                // Half as wide, at the target's left edge; exact in f32 only for some.
                5 => [x - w / 4.0, y, w / 2.0, h],
                6 => [x + 3.0 * w, y - 2.0 * h, near(w, 0.5, 2.0), near(h, 0.5, 2.0)],
                _ => [x, y, 0.0, 0.0],
            });
        }
        let rows = shape(&table).with_c(4);
        let case = Case::new(Ciou { detach_alpha: true }).f32_input(rows, boxes.clone());
        cases.push(case.f32_input(shape(&table), table.clone()));
        for detach_alpha in [true, false] {
            let dy = uniform(&mut random, rows.with_c(1), 1.0);
            let case = Case::new(CiouGradient { detach_alpha }).f32_input(rows, boxes.clone());
            cases.push(case.f32_input(shape(&table), table.clone()).f32_input(rows.with_c(1), dy));
        }
    }
    cases
}
