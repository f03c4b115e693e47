//! Cases of the binary cross-entropy.

use super::{BinaryCrossEntropy, BinaryCrossEntropyGradient, Channels};
use crate::ops::Case;
use crate::tensor::{Random, Shape};

/// Every channel, a head's objectness, a part of the channels; one pixel to more than a block adds;
/// logits to where the loss is linear, targets of 0, 1 and between.
pub fn cases() -> Vec<Case> {
    let mut random = Random::new(77);
    let mut cases = Vec::new();
    for (map, targets, channels) in [
        (Shape::new(1, 1, 1, 1), 1, Channels::ALL),
        (Shape::new(2, 3, 5, 8), 8, Channels::ALL),
        (Shape::new(2, 5, 3, 12), 4, Channels { first: 4, step: 1 }),
        (Shape::new(2, 4, 5, 3 * 8), 3, Channels { first: 4, step: 8 }),
        (Shape::new(1, 7, 3, 3 * 85), 3, Channels { first: 4, step: 85 }),
        (Shape::new(1, 37, 41, 3 * 5), 3, Channels { first: 4, step: 5 }),
    ] {
        let target = map.with_c(targets);
        let logits: Vec<f32> = (0..map.elements()).map(|_| random.uniform(-20.0, 20.0)).collect();
        let values: Vec<f32> =
            (0..target.elements()).map(|_| [0.0, 0.0, 1.0, random.unit()][random.below(4)]).collect();
        let case = Case::new(BinaryCrossEntropy { channels }).map_input(map, logits.clone());
        cases.push(case.f32_input(target, values.clone()));
        let case = Case::new(BinaryCrossEntropyGradient { channels }).map_input(map, logits.clone());
        cases.push(case.f32_input(target, values.clone()).f32_input(Shape::scalar(), vec![-0.75]));
        if channels == Channels::ALL {
            // A target that is a map itself.
            let case = Case::new(BinaryCrossEntropyGradient { channels }).map_input(map, logits);
            cases.push(case.map_input(target, values).f32_input(Shape::scalar(), vec![3.0]));
        }
    }
    cases
}
