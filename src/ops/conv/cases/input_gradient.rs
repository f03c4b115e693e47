//! Cases of the input gradient.

use crate::ops::Case;
use crate::ops::conv::{ConvInputGradient, Geometry};
use crate::tensor::Shape;

/// A case of x of shape `x` and a weight of `c_out` channels.
fn case(geometry: Geometry, x: [usize; 4], c_out: usize, accumulate: bool) -> Option<Case> {
    let input = Shape::from(x);
    let (h, w) = geometry.output(input.h, input.w).ok()?;
    let mut shapes = vec![Shape::new(input.n, h, w, c_out), geometry.weight(input.c, c_out)];
    shapes.extend(accumulate.then_some(input));
    let op = ConvInputGradient { geometry, input, accumulate, tile: None };
    let seed = shapes.iter().fold(29, |seed, s| seed * 31 + s.elements() as u64);
    let case = Case::random(op, &shapes, seed);
    // A map of one pixel is a map still; a weight of several taps is none.
    let maps = [true, false, true];
    Some(Case { maps: maps[..shapes.len()].to_vec(), ..case }.tolerance(3e-5))
}

/// Kernels 1 to 7, strides (also ones that leave pixels without a tap), dilation with and without a common
/// factor with the stride, uneven padding, groups, channels that fill no chunk, maps that fill no tile.
pub fn cases() -> Vec<Case> {
    let same = Geometry::same;
    let dilated = Geometry { dilation: [2, 3], padding: [2, 2, 3, 3], ..same(3, 1) };
    // Only every second tap offset meets a phase: some phases have all taps, others none.
    let common = Geometry { dilation: [2, 4], stride: [2, 2], padding: [2, 2, 4, 4], ..same(3, 1) };
    // Of stride 4 and dilation 6, every second tap.
    let part =
        Geometry { dilation: [6, 3], stride: [4, 2], padding: [6, 5, 3, 3], kernel: [4, 3], groups: 1 };
    let uneven = Geometry { kernel: [2, 3], stride: [3, 2], padding: [0, 1, 2, 0], ..same(3, 1) };
    let far = Geometry { padding: [4; 4], ..same(3, 2) };
    // Rows and columns at the end that no window reaches.
    let short = Geometry { kernel: [2, 2], stride: [3, 4], padding: [0; 4], ..same(1, 1) };
    let mut cases = Vec::new();
    for accumulate in [false, true] {
        cases.extend([
            case(same(1, 1), [1, 1, 1, 1], 1, accumulate),
            case(same(1, 1), [1, 1, 1, 8], 8, accumulate),
            case(same(1, 1), [2, 5, 7, 12], 33, accumulate),
            case(same(1, 1), [1, 9, 11, 64], 64, accumulate),
            case(same(3, 1), [1, 1, 1, 3], 5, accumulate),
            case(same(3, 1), [2, 7, 5, 3], 8, accumulate),
            case(same(3, 1), [1, 6, 9, 33], 12, accumulate),
            case(same(3, 2), [2, 9, 7, 16], 12, accumulate),
            case(same(3, 2), [1, 8, 8, 40], 16, accumulate),
            case(same(3, 3), [2, 10, 8, 8], 8, accumulate),
            case(same(1, 2), [1, 7, 8, 8], 16, accumulate),
            case(same(1, 3), [2, 4, 5, 5], 6, accumulate),
            case(same(5, 1), [1, 6, 7, 4], 8, accumulate),
            case(same(5, 2), [2, 7, 9, 6], 10, accumulate),
            case(same(7, 2), [1, 11, 13, 3], 16, accumulate),
            case(dilated, [2, 9, 8, 8], 8, accumulate),
            case(common, [2, 9, 10, 8], 8, accumulate),
            case(part, [1, 19, 11, 6], 8, accumulate),
            case(uneven, [2, 8, 9, 10], 6, accumulate),
            case(far, [1, 5, 4, 8], 8, accumulate),
            case(short, [2, 10, 9, 4], 8, accumulate),
            case(same(3, 1).grouped(2), [2, 5, 6, 16], 24, accumulate),
            case(same(3, 2).grouped(3), [1, 7, 7, 9], 12, accumulate),
            case(same(1, 1).grouped(4), [3, 4, 5, 32], 32, accumulate),
            case(same(3, 1).grouped(6), [1, 6, 5, 6], 12, accumulate),
            // Several tiles each way, and a long k.
            case(same(1, 1), [1, 16, 17, 136], 24, accumulate),
            case(same(3, 1), [2, 9, 8, 72], 40, accumulate),
            case(same(1, 1), [1, 3, 3, 8], 255, accumulate),
        ]);
        for (kernel, stride, x) in [
            (3, 1, [2, 9, 7, 33]),
            (3, 2, [1, 8, 11, 64]),
            (3, 3, [2, 7, 7, 12]),
            (5, 1, [1, 9, 9, 8]),
            (5, 2, [2, 6, 7, 40]),
            (7, 1, [1, 8, 7, 3]),
            (1, 2, [1, 5, 6, 6]),
            (3, 1, [1, 23, 25, 16]),
            (3, 1, [1, 4, 3, 140]),
        ] {
            cases.push(case(same(kernel, stride).grouped(x[3]), x, x[3], accumulate));
        }
        cases.push(case(dilated.grouped(12), [2, 9, 8, 12], 12, accumulate));
        cases.push(case(common.grouped(8), [2, 9, 10, 8], 8, accumulate));
        cases.push(case(part.grouped(4), [1, 19, 11, 4], 4, accumulate));
        cases.push(case(uneven.grouped(8), [2, 8, 9, 8], 8, accumulate));
    }
    // Pixels and channels that fill each of the tiles, on a device of 4 multiprocessors as on a large one.
    for (pixels, c_in) in [(512, 128), (512, 64), (64, 384), (512, 32), (32, 512), (256, 64), (64, 32)] {
        cases.push(case(same(1, 1), [2, 8, pixels / 16, c_in], 8, false));
    }
    // A weight that was cast to the maps' type.
    for x in [[1, 5, 7, 16], [1, 4, 5, 12], [1, 5, 3, 33]] {
        cases.push(case(same(3, 1), x, 24, true).map(|case| case.dense_inputs(&[1])));
    }
    cases.push(case(same(3, 2).grouped(12), [1, 5, 7, 12], 12, true).map(|case| case.dense_inputs(&[1])));
    cases.into_iter().flatten().collect()
}
