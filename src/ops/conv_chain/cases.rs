//! Cases for every device.

use super::ConvChain;
use crate::ops::Case;
use crate::ops::conv::{Conv, Geometry};
use crate::runtime::Activation;
use crate::tensor::Shape;

/// A convolution with a bias and `activation`.
fn unit(kernel: usize, activation: Activation) -> Conv {
    Conv { activation, ..Conv::plain(Geometry::same(kernel, 1), true) }
}

/// `channels`: of the middle map, of the output, and of the residual (0: none). `cast`: whether the weights are
/// stored as maps are.
fn case(op: ConvChain, x: [usize; 4], channels: [usize; 3], cast: bool, seed: u64) -> Case {
    let [n, h, w, c] = x;
    let [middle, out, residual] = channels;
    let mut op = op;
    op.second.residual = residual > 0;
    let mut shapes = vec![Shape::new(n, h, w, c), op.first.geometry.weight(c, middle)];
    shapes.extend(op.first.bias.then_some(Shape::vector(middle)));
    shapes.push(op.second.geometry.weight(middle, out));
    shapes.extend(op.second.bias.then_some(Shape::vector(out)));
    shapes.extend(op.second.residual.then_some(Shape::new(n, h, w, residual)));
    let mut vectors = Vec::new();
    vectors.extend(op.first.bias.then_some(2));
    vectors.extend(op.second.bias.then_some(op.second_weight() + 1));
    let weights = [1, op.second_weight()];
    let case = Case::random(op, &shapes, seed).f32_inputs(&vectors).tolerance(3e-5);
    let case = if cast { case.dense_inputs(&weights) } else { case.f32_inputs(&weights) };
    // Weights as they are drawn at the start of a training: sums over many products stay near 1.
    weights.iter().fold(case, |case, &weight| {
        let fan_in = shapes[weight].elements() / shapes[weight].n;
        case.map(weight, |v| v * (3.0 / fan_in as f32).sqrt())
    })
}

fn bottleneck(first: Activation, second: Activation) -> ConvChain {
    ConvChain::new(unit(1, first), unit(3, second), false)
}

fn stack(activation: Activation) -> ConvChain {
    ConvChain::new(unit(3, activation), unit(3, activation), true)
}

/// All of them.
pub fn cases() -> Vec<Case> {
    use Activation::{Leaky, Linear, Mish, Relu, Sigmoid, Silu};
    let plain = |kernel| Conv::plain(Geometry::same(kernel, 1), false);
    vec![
        // Bottlenecks: with and without a residual, whole, masked and wider than a fragment; every activation.
        case(bottleneck(Silu, Silu), [1, 9, 18, 16], [16, 16, 16], true, 1),
        case(bottleneck(Leaky, Leaky), [2, 5, 7, 16], [8, 16, 0], true, 2),
        // act(bias) is not zero here: the middle map's padding must be all the same.
        case(bottleneck(Sigmoid, Mish), [1, 8, 8, 12], [12, 12, 5], false, 3).map(2, |v| v + 2.0),
        case(bottleneck(Mish, Relu), [1, 3, 4, 7], [5, 3, 2], false, 4),
        case(bottleneck(Relu, Sigmoid), [1, 1, 1, 8], [4, 8, 8], true, 5),
        case(bottleneck(Linear, Linear), [1, 10, 17, 24], [24, 40, 24], true, 6),
        case(bottleneck(Silu, Silu), [1, 12, 9, 32], [32, 32, 32], true, 7),
        case(bottleneck(Silu, Silu), [1, 5, 6, 48], [48, 48, 20], false, 8),
        // Wide maps: several passes over the first product, sums over several K tiles.
        case(bottleneck(Silu, Silu), [1, 4, 5, 64], [72, 64, 64], true, 9),
        case(bottleneck(Leaky, Silu), [1, 3, 9, 20], [100, 36, 0], true, 10),
        // Stacks: the middle map kept.
        case(stack(Silu), [1, 9, 17, 16], [16, 16, 0], true, 20),
        case(stack(Leaky), [2, 5, 7, 8], [8, 12, 0], true, 21),
        case(stack(Mish), [1, 4, 3, 5], [7, 3, 0], false, 22),
        case(stack(Silu), [1, 6, 11, 24], [24, 24, 0], true, 23),
        case(stack(Relu), [1, 1, 1, 3], [4, 2, 0], false, 24),
        case(stack(Silu), [1, 4, 9, 32], [32, 32, 0], true, 25),
        // Other pairs: a stack whose middle map nobody else reads, a head, no bias, a larger kernel.
        case(ConvChain { keep_middle: false, ..stack(Silu) }, [1, 8, 9, 8], [8, 8, 8], true, 30),
        case(ConvChain::new(unit(3, Silu), unit(1, Linear), false), [1, 7, 9, 12], [24, 18, 0], true, 31),
        case(ConvChain::new(plain(1), plain(3), false), [1, 5, 9, 8], [8, 8, 0], true, 32),
        case(ConvChain::new(plain(3), plain(1), true), [1, 5, 9, 8], [8, 8, 0], false, 33),
        case(ConvChain::new(unit(1, Leaky), unit(5, Leaky), false), [1, 6, 7, 8], [8, 4, 4], true, 34),
    ]
}
