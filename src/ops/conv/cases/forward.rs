//! Cases of the forward convolution: every prologue and epilogue, kernel, stride, dilation and grouping, over few
//! shapes, whose channels are and are not multiples of what one instruction moves.

use crate::ops::conv::cuda::{ConvCandidate, Way, candidates as candidates_on, tile};
use crate::ops::conv::{Conv, Geometry};
use crate::ops::{Case, Op};
use crate::runtime::Activation;
use crate::runtime::cuda::Target;
use crate::tensor::{DType, Shape};

/// What may differ from the reference: the cpu's Winograd transforms cost an f32 product some of its digits.
const TOLERANCE: f64 = 2e-5;

/// A convolution with what is fused into it, and its shapes.
struct Setup {
    conv: Conv,
    x: Shape,
    c_out: usize,
    /// Channels of the residual.
    residual: usize,
}

impl Setup {
    fn new(geometry: Geometry, x: [usize; 4], c_out: usize) -> Self {
        let [n, h, w, c] = x;
        Setup { conv: Conv::plain(geometry, false), x: Shape::new(n, h, w, c), c_out, residual: 0 }
    }

    fn bias(mut self) -> Self {
        self.conv.bias = true;
        self
    }

    fn prologue(mut self, activation: Activation) -> Self {
        self.conv.prologue = Some(activation);
        self
    }

    fn activation(mut self, activation: Activation) -> Self {
        self.conv.activation = activation;
        self
    }

    /// A residual on the first `channels`; on all of them it may lie in the output.
    fn residual(mut self, channels: usize) -> Self {
        self.conv.residual = true;
        self.residual = channels;
        self
    }

    fn statistics(mut self) -> Self {
        self.conv.statistics = true;
        self
    }

    fn shapes(&self) -> Vec<Shape> {
        let Setup { conv, x, c_out, residual } = self;
        let weight = conv.geometry.weight(x.c, *c_out);
        let (h, w) = conv.geometry.output(x.h, x.w).unwrap_or_default();
        let mut shapes = vec![*x, weight];
        shapes.extend(conv.bias.then_some(Shape::vector(*c_out)));
        shapes.extend(conv.prologue.map(|_| Shape::new(1, 1, 2, x.c)));
        shapes.extend(conv.residual.then_some(Shape::new(x.n, h, w, *residual)));
        shapes
    }

    /// The inputs that are neither maps nor the weight.
    fn vectors(&self) -> Vec<usize> {
        let operands = self.conv.operands();
        operands.bias.into_iter().chain(operands.prologue).collect()
    }

    /// With the weight in f32, as it is trained.
    fn master(self, seed: u64) -> Case {
        let vectors = self.vectors();
        Case::random(self.conv.clone(), &self.shapes(), seed)
            .f32_inputs(&[1])
            .f32_inputs(&vectors)
            .tolerance(TOLERANCE)
    }

    /// With the weight in the maps' element type, as inference and mixed precision read it.
    fn cast(self, seed: u64) -> Case {
        let vectors = self.vectors();
        let case = Case::random(self.conv.clone(), &self.shapes(), seed).f32_inputs(&vectors);
        case.dense_inputs(&[1]).tolerance(TOLERANCE)
    }
}

fn square(kernel: usize) -> Geometry {
    Geometry::same(kernel, 1)
}

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    [fusions(), geometries(), channels(), groups(), depthwise(), several_tiles(), candidates(), warpgroups()]
        .concat()
}

fn fusions() -> Vec<Case> {
    use Activation::{Leaky, Linear, Mish, Relu, Sigmoid, Silu};
    let three = || Setup::new(square(3), [2, 5, 7, 8], 8);
    let one = || Setup::new(square(1), [2, 5, 7, 8], 20);
    vec![
        three().cast(1),
        three().bias().activation(Leaky).cast(2),
        three().bias().activation(Mish).residual(8).cast(3),
        three().bias().activation(Silu).residual(5).cast(4),
        three().statistics().master(5),
        three().prologue(Silu).statistics().master(6),
        three().prologue(Linear).bias().activation(Sigmoid).residual(4).statistics().cast(7),
        one().bias().activation(Relu).cast(8),
        one().prologue(Leaky).statistics().cast(9),
        one().prologue(Mish).bias().activation(Silu).residual(20).statistics().master(10),
        // A large mean beside a small variance: what a sum of squares would cancel.
        three().bias().statistics().master(11).map(2, |v| 50.0 * v).tolerance(5.0 * TOLERANCE),
        // A shift far from zero: padding must stay zero behind the prologue.
        three().prologue(Relu).cast(12).map(2, |v| v + 2.0),
    ]
}

fn geometries() -> Vec<Case> {
    let odd = Geometry { kernel: [2, 3], stride: [1, 2], padding: [1, 0, 2, 1], dilation: [2, 1], groups: 1 };
    let dilated = Geometry { padding: [2; 4], dilation: [2; 2], ..square(3) };
    // Only the last row and column of the padded map are padding: no input pixel is its output's own.
    let below = Geometry { padding: [0, 1, 0, 1], ..square(1) };
    vec![
        Setup::new(Geometry::same(3, 2), [2, 9, 6, 8], 20).cast(20),
        Setup::new(square(5), [1, 6, 7, 8], 8).statistics().cast(21),
        Setup::new(Geometry::same(7, 2), [1, 9, 11, 3], 8).bias().master(22),
        Setup::new(dilated, [1, 9, 7, 8], 8).prologue(Activation::Silu).cast(23),
        Setup::new(odd, [2, 5, 8, 12], 20).cast(24),
        Setup::new(Geometry::same(1, 2), [2, 5, 7, 8], 8).cast(25),
        Setup::new(below, [2, 4, 3, 8], 8).bias().cast(26),
        // A window that lies in the padding altogether.
        Setup::new(Geometry { padding: [3; 4], ..square(2) }, [1, 2, 1, 8], 8).statistics().cast(27),
    ]
}

fn channels() -> Vec<Case> {
    vec![
        // A picture is fed in f32, whatever the maps are.
        Setup::new(Geometry::same(3, 2), [1, 12, 10, 3], 20).statistics().master(30).f32_inputs(&[0]),
        Setup::new(square(3), [1, 6, 5, 3], 64).bias().cast(31),
        Setup::new(square(3), [1, 5, 5, 33], 1).cast(32),
        Setup::new(square(1), [2, 6, 5, 33], 72).prologue(Activation::Silu).statistics().cast(33),
        Setup::new(square(1), [1, 5, 5, 12], 8).residual(3).cast(34),
        Setup::new(square(3), [1, 1, 1, 8], 1).cast(35),
        // A fully connected layer.
        Setup::new(square(1), [5, 1, 1, 40], 10).bias().activation(Activation::Sigmoid).master(36),
    ]
}

fn groups() -> Vec<Case> {
    vec![
        Setup::new(square(3).grouped(2), [2, 5, 4, 16], 24).statistics().cast(40),
        Setup::new(square(3).grouped(4), [1, 6, 5, 32], 20)
            .prologue(Activation::Silu)
            .bias()
            .activation(Activation::Relu)
            .residual(11)
            .master(41),
        Setup::new(square(1).grouped(2), [1, 5, 5, 12], 72).bias().residual(72).cast(42),
    ]
}

fn depthwise() -> Vec<Case> {
    let grouped = |kernel, stride, groups| Geometry::same(kernel, stride).grouped(groups);
    let dilated = Geometry { padding: [2; 4], dilation: [2; 2], ..grouped(3, 1, 8) };
    vec![
        Setup::new(grouped(3, 1, 8), [2, 6, 7, 8], 8)
            .bias()
            .activation(Activation::Silu)
            .residual(8)
            .cast(50),
        Setup::new(grouped(3, 2, 33), [1, 9, 8, 33], 33).statistics().cast(51),
        Setup::new(grouped(5, 1, 12), [2, 5, 6, 12], 24)
            .prologue(Activation::Leaky)
            .bias()
            .activation(Activation::Mish)
            .residual(7)
            .statistics()
            .master(52),
        Setup::new(dilated, [1, 8, 9, 8], 8).prologue(Activation::Relu).cast(53),
        // Several blocks of channels and of strips.
        Setup::new(grouped(3, 1, 136), [1, 9, 21, 136], 136).prologue(Activation::Silu).statistics().cast(54),
        // More taps than shared memory holds for many channels.
        Setup::new(grouped(31, 1, 16), [1, 3, 2, 16], 16).bias().cast(55),
    ]
}

fn several_tiles() -> Vec<Case> {
    let larger = |c_in, c_out| Setup::new(square(3), [2, 13, 11, c_in], c_out);
    vec![
        larger(64, 72).bias().activation(Activation::Leaky).residual(40).cast(60).tolerance(3.0 * TOLERANCE),
        larger(40, 136).prologue(Activation::Silu).statistics().cast(61).tolerance(3.0 * TOLERANCE),
        Setup::new(square(1), [1, 40, 40, 24], 200).statistics().cast(62),
    ]
}

/// Every tile, with everything fused: more than one tile of pixels, of channels and along K for most of them.
fn candidates() -> Vec<Case> {
    let count = tile::candidates(DType::F32).len().max(tile::candidates(DType::F16).len());
    (0..count)
        .map(|candidate| {
            let setup = Setup::new(square(3), [1, 11, 13, 24], 88)
                .prologue(Activation::Relu)
                .bias()
                .residual(40)
                .statistics();
            let (vectors, shapes) = (setup.vectors(), setup.shapes());
            let op = ConvCandidate { conv: setup.conv, candidate };
            let case = Case::random(op, &shapes, 70 + candidate as u64).f32_inputs(&vectors);
            case.dense_inputs(&[1]).tolerance(2.0 * TOLERANCE)
        })
        .collect()
}

/// What Hopper's warpgroups take, where there are any; elsewhere, and in f32, the candidates begin anew: every one of
/// their tiles, boxes that fill it and that do not, rings of fewer and of more steps than stages.
fn warpgroups() -> Vec<Case> {
    use Activation::{Leaky, Mish, Relu, Silu};
    let hopper = Target { arch: 90, multiprocessors: 132, shared_bytes: 227 << 10, map: DType::F16 };
    let odd = Geometry { kernel: [2, 3], stride: [1, 2], padding: [1, 0, 2, 1], dilation: [2, 1], groups: 1 };
    let outside = Geometry { padding: [3; 4], ..square(2) };
    let wide = || Setup::new(square(3), [2, 7, 9, 24], 136).bias().activation(Silu).residual(40);
    // Two boxes, of which the second is no rectangle of whole rows.
    let measured = || Setup::new(square(3), [1, 11, 13, 24], 88).bias().residual(40).statistics();
    let tiles = (0..8).map(|tile| (tile, wide())).chain((0..6).map(|tile| (tile, measured())));
    let others = [
        Setup::new(square(1), [2, 9, 11, 16], 20).residual(3),
        Setup::new(square(3), [1, 5, 6, 72], 33).bias().activation(Mish).residual(33),
        // Several images in a box.
        Setup::new(square(3), [9, 3, 2, 16], 40).bias().activation(Relu),
        Setup::new(Geometry::same(3, 2), [2, 9, 12, 16], 48),
        Setup::new(Geometry::same(1, 2), [2, 5, 7, 8], 24),
        Setup::new(Geometry::same(3, 3), [1, 19, 25, 8], 32).bias(),
        Setup::new(odd, [2, 5, 8, 24], 24).bias(),
        Setup::new(square(5), [1, 6, 7, 8], 8),
        Setup::new(outside, [1, 2, 1, 8], 8),
        Setup::new(square(3), [1, 1, 2, 8], 1),
        Setup::new(square(1), [3, 9, 11, 72], 33).statistics(),
        // Images, rows and columns at the edge of a box.
        Setup::new(Geometry::same(3, 2), [5, 9, 21, 16], 40).statistics().residual(40),
        // Longer rows than a box has.
        Setup::new(square(3), [1, 2, 150, 8], 32),
        // Four steps of K within a tap, of which the last is of 8 channels.
        Setup::new(square(1), [1, 10, 13, 200], 72).bias().activation(Leaky).residual(72),
    ];
    tiles
        .chain((0..).zip(others))
        .enumerate()
        .map(|(index, (tile, setup))| {
            let (vectors, shapes) = (setup.vectors(), setup.shapes());
            let y = setup.conv.output_shapes(&shapes).map_or(setup.x, |outputs| outputs[0]);
            let ways = candidates_on(&setup.conv, setup.x, y, &hopper);
            let warpgroups: Vec<usize> =
                (0..ways.len()).filter(|&way| matches!(ways[way], Way::Wgmma(_))).collect();
            let candidate = warpgroups[tile % warpgroups.len()];
            let op = ConvCandidate { conv: setup.conv, candidate };
            let case = Case::random(op, &shapes, 90 + index as u64).f32_inputs(&vectors);
            case.dense_inputs(&[1]).tolerance(3.0 * TOLERANCE)
        })
        .collect()
}
