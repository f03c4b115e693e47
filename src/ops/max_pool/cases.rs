//! Cases for every device.

use super::{MaxPool, MaxPoolGradient};
use crate::ops::{Case, Op};
use crate::tensor::Shape;

/// Windows that tile, overlap, hang over every border, and are searched in two passes; ties, NaNs, −∞.
pub fn cases() -> Vec<Case> {
    let pools = [
        MaxPool::darknet(2, 2),
        MaxPool::darknet(2, 1),
        MaxPool::square(3, 2, 1),
        MaxPool::darknet(3, 1),
        MaxPool::darknet(5, 1),
        MaxPool::darknet(9, 1),
        MaxPool::darknet(13, 1),
        MaxPool { kernel: [1, 4], stride: [2, 3], padding: [0, 0, 1, 2] },
        MaxPool { kernel: [7, 4], stride: [3, 1], padding: [2, 4, 3, 0] },
        MaxPool { kernel: [6, 7], stride: [7, 8], padding: [1, 2, 3, 1] },
    ];
    let maps =
        [Shape::new(1, 1, 1, 3), Shape::new(2, 5, 7, 5), Shape::new(1, 9, 6, 16), Shape::new(2, 10, 11, 8)];
    let mut cases = Vec::new();
    // Each window on two of the maps: every window is a kernel to compile, on every width of map.
    for (seed, x) in (0..).zip(maps) {
        for pool in pools.iter().skip(seed % 2).step_by(2) {
            let seed = seed as u64;
            let Ok(y) = pool.output_shapes(&[x]).map(|shapes| shapes[0]) else { continue };
            let gradient = MaxPoolGradient { pool: pool.clone() };
            cases.push(Case::random(pool.clone(), &[x], seed));
            cases.push(Case::random(gradient.clone(), &[x, y], seed));
            // Few levels: many ties.
            let levels = |x: f32| (2.0 * x).round() - 1.0;
            cases.push(Case::random(pool.clone(), &[x], seed).map(0, levels));
            cases.push(Case::random(gradient, &[x, y], seed).map(0, levels));
        }
    }
    let x = Shape::new(1, 6, 7, 4);
    let special = |i: usize| match i % 11 {
        3 => f32::NAN,
        5 => f32::INFINITY,
        7 | 8 => f32::NEG_INFINITY,
        _ => (i % 5) as f32 - 2.0,
    };
    for pool in
        [MaxPool::darknet(2, 2), MaxPool::darknet(3, 1), MaxPool::darknet(5, 1), MaxPool::darknet(7, 1)]
    {
        let Ok(y) = pool.output_shapes(&[x]).map(|shapes| shapes[0]) else { continue };
        for value in [&special as &dyn Fn(usize) -> f32, &|_| f32::NEG_INFINITY, &|_| f32::NAN] {
            cases.push(Case::random(pool.clone(), &[x], 1).with(0, value));
            cases.push(Case::random(MaxPoolGradient { pool: pool.clone() }, &[x, y], 1).with(0, value));
        }
    }
    cases
}
