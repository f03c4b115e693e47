//! Cases for every device.

use super::{Activation, BatchStatistics, FoldNorm, NormAffine, Normalize, NormalizeGradient, UpdateRunning};
use crate::ops::Case;
use crate::tensor::Shape;

/// Maps that a norm meets: one pixel, odd ones, several blocks, several groups of channels.
const MAPS: [Shape; 5] = [
    Shape::new(1, 1, 1, 5),
    Shape::new(2, 3, 5, 7),
    Shape::new(1, 9, 11, 24),
    Shape::new(2, 24, 23, 16),
    Shape::new(1, 4, 3, 520),
];

/// `[1, 1, 2, c]`: a mean within ±1, a variance above 0.1.
fn statistics(case: Case, input: usize, channels: usize) -> Case {
    let values: Vec<f32> = case.inputs.get(input).cloned().unwrap_or_default();
    case.f32_inputs(&[input]).with(input, |i| {
        let value = values.get(i).copied().unwrap_or_default();
        if i < channels { value } else { 0.6 + 0.5 * value }
    })
}

fn normalize_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (seed, z) in (1..).zip(MAPS) {
        for (kind, activation) in Activation::ALL.into_iter().enumerate() {
            // No residual, a masked one that ends within a pack, and a whole one.
            let kept = [0, z.c / 2 + 1, z.c][kind % 3];
            let op = Normalize { epsilon: 1e-3, activation, batch: kind % 2 == 0, residual: kept > 0 };
            let mut shapes = vec![z, Shape::new(1, 1, 2, z.c), Shape::vector(z.c), Shape::vector(z.c)];
            shapes.extend((kept > 0).then(|| z.with_c(kept)));
            cases.push(statistics(Case::random(op, &shapes, seed), 1, z.c).tolerance(2e-5));
        }
    }
    cases
}

fn gradient_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // Every activation with both kinds of statistics, each on two maps or three.
    for (seed, z) in (1..).zip(MAPS) {
        for (kind, activation) in Activation::ALL.into_iter().enumerate() {
            let op = NormalizeGradient {
                epsilon: 1e-3,
                activation,
                batch: (kind + seed as usize).is_multiple_of(2),
            };
            let shapes = [z, z, Shape::new(1, 1, 2, z.c), Shape::vector(z.c), Shape::vector(z.c)];
            let mut case = statistics(Case::random(op, &shapes, seed), 2, z.c);
            if matches!(activation, Activation::Relu | Activation::Leaky) {
                // Away from the kinks, where f32 and f64 may fall on different sides.
                case = case.map(3, |gamma| 0.1 * gamma).map(4, f32::signum);
            }
            cases.push(case.tolerance(1e-4));
        }
    }
    cases
}

/// Batch norm, forward and backward, every activation, residual and kind of statistics.
pub fn cases() -> Vec<Case> {
    let mut cases = normalize_cases();
    cases.extend(gradient_cases());
    for (seed, z) in (1..).zip(MAPS) {
        cases.push(Case::random(BatchStatistics, &[z], seed));
        // A mean far from zero, beside which the variance is small.
        cases.push(Case::random(BatchStatistics, &[z], seed).map(0, |z| 30.0 + z).tolerance(2e-5));
    }
    // A first pixel that is not like the others.
    let outlier = |i: usize| if i < 6 { 50.0 } else { (i % 7) as f32 - 3.0 };
    cases
        .push(Case::random(BatchStatistics, &[Shape::new(2, 13, 17, 6)], 1).with(0, outlier).tolerance(1e-4));
    // Many blocks to merge, the last one shorter.
    cases.push(Case::random(BatchStatistics, &[Shape::new(1, 201, 211, 1)], 2));
    for (seed, channels) in (1..).zip([1, 5, 64, 300]) {
        let two = Shape::new(1, 1, 2, channels);
        let vector = Shape::vector(channels);
        let update = Case::random(UpdateRunning { momentum: 0.03, count: 7 }, &[two, two], seed);
        cases.push(statistics(statistics(update, 0, channels), 1, channels));
        cases.push(statistics(
            Case::random(NormAffine { epsilon: 1e-3 }, &[two, vector, vector], seed),
            0,
            channels,
        ));
        let weight = Shape::new(channels, 3, 3, 5);
        let fold = Case::random(FoldNorm { epsilon: 1e-5 }, &[weight, two, vector, vector], seed);
        cases.push(statistics(fold.f32_inputs(&[0]), 1, channels));
    }
    cases
}
