//! Cases for every device.

use super::{SplitConv, inference};
use crate::ops::Case;
use crate::ops::conv::{Conv, Geometry};
use crate::runtime::Activation;
use crate::tensor::Shape;

/// `widths` are the branches' channels; `weights`: whether the weights are stored as maps are.
fn case(conv: Conv, x: [usize; 4], widths: &[usize], weights: bool, seed: u64) -> Case {
    let [n, h, w, c] = x;
    let op = SplitConv::new(conv, widths.len());
    let mut shapes = vec![Shape::new(n, h, w, c)];
    shapes.extend(op.affine().map(|_| Shape::new(1, 1, 2, c)));
    let (mut vectors, mut matrices): (Vec<usize>, Vec<usize>) =
        (op.affine().into_iter().collect(), Vec::new());
    for (branch, &width) in widths.iter().enumerate() {
        matrices.push(op.weight(branch));
        shapes.push(Shape::new(width, 1, 1, c));
        if op.conv.bias {
            vectors.push(shapes.len());
            shapes.push(Shape::vector(width));
        }
    }
    let case = Case::random(op, &shapes, seed).f32_inputs(&vectors).tolerance(2e-5);
    match weights {
        true => case.dense_inputs(&matrices),
        false => case.f32_inputs(&matrices),
    }
}

fn training(prologue: Option<Activation>) -> Conv {
    Conv { prologue, statistics: true, ..Conv::plain(Geometry::same(1, 1), false) }
}

/// All of them.
pub fn cases() -> Vec<Case> {
    use Activation::{Leaky, Linear, Mish, Relu, Sigmoid, Silu};
    vec![
        // Inference: every activation; widths that are and are not multiples of what one instruction moves.
        case(inference(Silu), [2, 5, 7, 32], &[16, 16], true, 1),
        case(inference(Leaky), [2, 5, 7, 24], &[24, 40], true, 2),
        case(inference(Mish), [1, 6, 5, 20], &[5, 3], false, 3),
        case(inference(Relu), [1, 3, 3, 7], &[1, 2, 3], false, 4),
        case(inference(Sigmoid), [1, 1, 1, 16], &[8, 4, 12, 9], true, 5),
        case(inference(Linear), [3, 4, 4, 12], &[4, 4], false, 6),
        case(Conv::plain(Geometry::same(1, 1), false), [1, 5, 5, 8], &[8, 8], true, 7),
        // Several tiles of pixels and of columns, K tiles that end in the middle.
        case(inference(Silu), [1, 13, 15, 40], &[72, 80], true, 8),
        case(inference(Silu), [2, 9, 11, 64], &[32, 32], true, 9),
        case(inference(Leaky), [1, 9, 8, 24], &[100, 60, 36], false, 10),
        // Training: a prologue, statistics, the weights in f32 and cast; one pixel, and a large mean beside a
        // small variance.
        case(training(None), [2, 5, 7, 16], &[8, 8], false, 11),
        case(training(Some(Silu)), [1, 9, 9, 24], &[16, 24], true, 12),
        case(training(Some(Leaky)), [1, 1, 1, 9], &[3, 5], false, 13),
        case(training(Some(Mish)), [2, 8, 13, 12], &[70, 66], true, 14),
        case(training(Some(Relu)), [1, 7, 20, 8], &[7, 9, 11, 13], true, 15).map(1, |v| v + 2.0),
        case(Conv { bias: true, ..training(None) }, [2, 6, 7, 8], &[8, 12], false, 16)
            .map(2, |v| 50.0 * v)
            .tolerance(1e-4),
    ]
}
