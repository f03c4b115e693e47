//! Cases of the sum over pixels.

use super::ChannelSum;
use crate::ops::Case;
use crate::tensor::Shape;

/// One pixel, channels that fill no pack and no block, and pixels for one block and for many.
pub fn cases() -> Vec<Case> {
    let shapes = [
        [1, 1, 1, 1],
        [1, 3, 5, 3],
        [2, 7, 9, 8],
        [1, 17, 13, 33],
        [3, 31, 29, 12],
        [2, 8, 8, 300],
        [1, 90, 91, 64],
    ];
    let case = |(seed, shape): (usize, [usize; 4])| {
        let case = Case::random(ChannelSum, &[Shape::from(shape)], seed as u64).tolerance(3e-5);
        Case { maps: vec![true], ..case }
    };
    shapes.into_iter().enumerate().map(case).collect()
}
