//! Cases for every device.

use super::Concat;
use crate::ops::Case;
use crate::tensor::Shape;

/// One part to four, of widths that share packs and that do not.
pub fn cases() -> Vec<Case> {
    let maps = [Shape::new(1, 1, 1, 0), Shape::new(2, 3, 5, 0), Shape::new(1, 9, 7, 0)];
    let widths: [&[usize]; 5] = [&[5], &[8, 8], &[3, 1, 4], &[16, 8, 8, 32], &[1, 7, 24]];
    let mut cases = Vec::new();
    for (seed, map) in (1..).zip(maps) {
        for widths in widths {
            let shapes: Vec<Shape> = widths.iter().map(|&c| map.with_c(c)).collect();
            cases.push(Case::random(Concat, &shapes, seed));
        }
    }
    cases
}
