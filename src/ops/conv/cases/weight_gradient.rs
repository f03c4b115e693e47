//! Cases of the weight gradient.

use crate::ops::Case;
use crate::ops::conv::{ConvWeightGradient, Geometry};
use crate::runtime::Activation;
use crate::tensor::Shape;

/// A case of x of shape `x` and a weight of `c_out` channels.
fn case(geometry: Geometry, x: [usize; 4], c_out: usize, prologue: Option<Activation>) -> Option<Case> {
    let x = Shape::from(x);
    let (h, w) = geometry.output(x.h, x.w).ok()?;
    let op = ConvWeightGradient { geometry, weight: geometry.weight(x.c, c_out), prologue, tile: None };
    let mut shapes = vec![x, Shape::new(x.n, h, w, c_out)];
    shapes.extend(prologue.map(|_| Shape::new(1, 1, 2, x.c)));
    let seed = shapes.iter().fold(17, |seed, s| seed * 31 + s.elements() as u64);
    let case = Case::random(op, &shapes, seed);
    // A map of one pixel is a map still; scale and shift are none.
    let maps = [true, true, false];
    Some(Case { maps: maps[..shapes.len()].to_vec(), ..case }.tolerance(3e-5))
}

/// Kernels 1 to 7, strides, dilation, uneven padding, groups, channels that fill no chunk, maps that fill no
/// tile, sums over pixels that are split, every prologue.
pub fn cases() -> Vec<Case> {
    let same = Geometry::same;
    let dilated = Geometry { dilation: [2, 3], padding: [2, 2, 3, 3], ..same(3, 1) };
    let uneven = Geometry { kernel: [2, 3], stride: [3, 2], padding: [0, 1, 2, 0], ..same(3, 1) };
    let far = Geometry { padding: [4; 4], ..same(3, 2) };
    let silu = Some(Activation::Silu);
    let mut cases = vec![
        case(same(1, 1), [1, 1, 1, 1], 1, None),
        case(same(1, 1), [1, 1, 1, 8], 8, None),
        case(same(1, 1), [2, 5, 7, 12], 33, None),
        case(same(1, 1), [1, 9, 11, 64], 64, silu),
        case(same(3, 1), [1, 1, 1, 3], 5, None),
        case(same(3, 1), [2, 7, 5, 3], 8, None),
        case(same(3, 1), [1, 6, 9, 8], 12, silu),
        case(same(3, 1), [1, 5, 5, 33], 7, Some(Activation::Mish)),
        case(same(3, 2), [2, 9, 7, 12], 16, None),
        case(same(3, 2), [1, 8, 8, 16], 40, Some(Activation::Leaky)),
        case(same(3, 3), [2, 10, 8, 8], 8, None),
        case(same(5, 1), [1, 6, 7, 4], 8, None),
        case(same(5, 2), [2, 7, 9, 6], 10, Some(Activation::Relu)),
        case(same(7, 2), [1, 11, 13, 3], 16, None),
        case(dilated, [2, 9, 8, 8], 8, silu),
        case(uneven, [2, 8, 9, 10], 6, None),
        case(far, [1, 5, 4, 8], 8, Some(Activation::Sigmoid)),
        case(same(3, 1).grouped(2), [2, 5, 6, 16], 24, None),
        case(same(3, 2).grouped(3), [1, 7, 7, 9], 12, silu),
        case(same(1, 1).grouped(4), [3, 4, 5, 32], 32, None),
        // One input channel a group, several output channels.
        case(same(3, 1).grouped(6), [1, 6, 5, 6], 12, None),
        // More pixels than one part of the sum, and several tiles each way.
        case(same(3, 1), [2, 41, 37, 3], 8, None),
        case(same(1, 1), [3, 29, 31, 8], 8, silu),
        case(same(1, 1), [1, 16, 17, 136], 72, None),
        case(same(3, 1), [1, 12, 11, 40], 136, None),
        // More than 8192 pixels of a one-pixel weight.
        case(same(1, 1), [1, 97, 101, 2], 2, None),
    ];
    // Few pixels of as many channels as fill each of the tiles.
    for [c_out, c_in] in
        [[128, 128], [128, 64], [64, 128], [128, 32], [32, 128], [64, 64], [64, 32], [32, 32]]
    {
        cases.push(case(same(1, 1), [1, 3, 3, c_in], c_out, None));
    }
    for activation in Activation::ALL {
        cases.push(case(same(3, 1), [1, 6, 5, 8], 8, Some(activation)));
        cases.push(case(same(3, 1).grouped(8), [1, 6, 5, 8], 8, Some(activation)));
    }
    for (kernel, stride, x) in [
        (3, 1, [2, 9, 7, 33]),
        (3, 2, [1, 8, 11, 64]),
        (3, 3, [2, 7, 7, 12]),
        (5, 1, [1, 9, 9, 8]),
        (5, 2, [2, 6, 7, 40]),
        (7, 1, [1, 8, 7, 3]),
        (9, 2, [1, 12, 9, 4]),
        // Split over blocks.
        (3, 1, [2, 31, 29, 5]),
        (1, 1, [1, 33, 35, 6]),
        // More channels than one block has.
        (3, 1, [1, 4, 3, 140]),
    ] {
        cases.push(case(
            same(kernel, stride).grouped(x[3]),
            x,
            x[3],
            (stride == 1).then_some(Activation::Silu),
        ));
    }
    cases.push(case(dilated.grouped(12), [2, 9, 8, 12], 12, silu));
    cases.push(case(uneven.grouped(8), [2, 8, 9, 8], 8, silu));
    cases.into_iter().flatten().collect()
}
