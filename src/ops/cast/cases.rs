use super::Cast;
use crate::ops::Case;
use crate::tensor::Shape;

/// Weights and maps, in f32 and as maps are stored.
pub fn cases() -> Vec<Case> {
    let weight = |shape: Shape, seed| Case::random(Cast, &[shape], seed).f32_inputs(&[0]);
    vec![
        weight(Shape::new(20, 3, 3, 8), 1),
        weight(Shape::new(7, 3, 3, 3), 2),
        weight(Shape::vector(1), 3),
        // More than one block.
        weight(Shape::new(4, 9, 9, 20), 4),
        Case::random(Cast, &[Shape::new(2, 3, 5, 12)], 5),
        // Ties, and numbers that only f32 has.
        weight(Shape::vector(6), 6)
            .with(0, |i| [1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, 1.0 + 1.0 / 2048.0, -0.0, 1e-30, -3e-6][i]),
    ]
}
