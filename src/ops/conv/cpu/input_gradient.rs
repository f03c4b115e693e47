//! The input gradient: a tap convolution of output gradients for each parity of the stride.

use super::pack::Direction;
use super::plan::{SLACK, Shared, TapConv, aligned, round_up};
use super::run::{self, Job};
use super::{Geometry, Residual, ResidualSource, check, pack_all};
use crate::runtime::{Activation, Cpu};
use crate::tensor::{Shape, View, ViewMut};

/// Numbers of workspace that [`input_gradient`] needs for a convolution `x` → `y`.
pub fn input_gradient_workspace(cpu: &Cpu, geometry: &Geometry, x: Shape, y: Shape) -> usize {
    let convs = TapConv::backward(cpu, geometry, x, y);
    let packed: usize = convs.iter().map(TapConv::packed).sum();
    SLACK + round_up(packed) + cpu.threads() * scratch(&convs)
}

fn scratch(convs: &[TapConv]) -> usize {
    convs.iter().map(|conv| run::needs(conv, false).1).max().unwrap_or(0)
}

/// `dx = convᵀ(dy, weight)`, or `dx += …` where `accumulate`: the gradient of a convolution's input
/// `[n, h, w, c_in]` from that of its output `[n, h', w', c_out]`.
///
/// # Panics
/// Where shapes or lengths disagree, or `workspace` is shorter than [`input_gradient_workspace`].
pub fn input_gradient(
    cpu: &Cpu,
    geometry: &Geometry,
    dy: View<f32>,
    weight: &[f32],
    accumulate: bool,
    mut dx: ViewMut<f32>,
    workspace: &mut [f32],
) {
    let (x, y) = (dx.shape(), dy.shape());
    check(geometry, x, y);
    assert_eq!(weight.len(), geometry.weight(x.c, y.c).elements(), "the weight's length");
    if x.elements() == 0 {
        return;
    }
    let mut convs = TapConv::backward(cpu, geometry, x, y);
    if accumulate {
        // Pixels that no window covers keep what they have.
        convs.retain(|conv| conv.taps() > 0);
    }
    let directions: Vec<_> = convs.iter().map(|conv| (conv, Direction::Backward)).collect();
    let length = convs.iter().map(TapConv::packed).sum();
    let (packed, workspace) = aligned(workspace).split_at_mut(round_up(length));
    pack_all(cpu, &directions, geometry, weight, &mut packed[..length]);
    let in_place = Residual { source: ResidualSource::InPlace, channels: x.c, before_activation: false };
    let (pixel, y_stride) = (Shared(dx.as_mut_ptr()), dx.pixel_stride());
    let scratch = scratch(&convs);
    let mut rest: &[f32] = packed;
    let jobs: Vec<Job> = convs
        .into_iter()
        .map(|conv| {
            let (own, others) = rest.split_at(conv.packed());
            rest = others;
            Job {
                conv,
                x: dy,
                packed: own,
                y: pixel,
                y_stride,
                prologue: None,
                bias: None,
                activation: Activation::Linear,
                residual: accumulate.then_some(in_place),
                partials: None,
            }
        })
        .collect();
    run::run(cpu, &jobs, workspace, scratch);
}
