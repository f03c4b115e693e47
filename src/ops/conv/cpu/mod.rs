//! Convolution on the host: implicit GEMM without im2col.
//!
//! A chunk of rows is read where it lies, or, where it needs padding or a prologue, from a scratch
//! of the second-level cache's size that holds it dense, padded, with the prologue applied (`pack`).
//! The micro-kernels (`tile`) broadcast numbers of the source over panels of weights, walking taps
//! and channels as one run of memory: in NHWC, taps side by side are adjacent. Tiles pass through the
//! epilogue in their registers, or through `finish`, into the (channel-sliced) result.
//!
//! The input gradient is the same computation on output gradients, one per parity of the stride
//! (`taps`). The weight gradient swaps the roles: pixels are summed over, weights are the tile
//! (`weight_gradient`). 3×3 kernels at stride 1 go through Winograd's algorithm in all three
//! directions where it wins (`winograd`).
//!
//! Nothing here allocates in proportion to the maps: scratch, packed weights and partial sums live
//! in the `workspace` that the caller planned with the matching `*_workspace`. Results do not depend
//! on the number of threads, bit for bit.

// A kernel's operands are its arguments: x, weight, y, and what goes around them.
#![allow(clippy::too_many_arguments)]

mod finish;
mod input_gradient;
mod pack;
mod plan;
mod run;
mod taps;
mod tile;
mod weight_gradient;
mod winograd;

pub use input_gradient::{input_gradient, input_gradient_workspace};
pub use weight_gradient::{weight_gradient, weight_gradient_workspace};

use self::pack::{Direction, pack_panel};
use self::plan::{SLACK, Shared, TapConv, aligned, round_up};
use self::run::{Job, combine_moments};
use self::winograd::WeightTransform;
use super::Geometry;
use crate::runtime::vector;
use crate::runtime::{Activation, Cpu};
use crate::tensor::{Shape, View, ViewMut};

/// What a conv's input goes through as it is read: `activation(scale·x + shift)` per channel, the
/// batch norm and activation of the unit that made it. Padding stays zero.
#[derive(Clone, Copy, Debug)]
pub struct Prologue<'a> {
    /// One factor per input channel.
    pub scale: &'a [f32],
    /// One summand per input channel.
    pub shift: &'a [f32],
    /// Applied last.
    pub activation: Activation,
}

impl<'a> Prologue<'a> {
    fn channels(self, first: usize, count: usize) -> Prologue<'a> {
        let range = first..first + count;
        Prologue { scale: &self.scale[range.clone()], shift: &self.shift[range], ..self }
    }
}

/// Where a residual comes from.
#[derive(Clone, Copy, Debug)]
pub enum ResidualSource<'a> {
    /// A map of the output's height and width, with at least as many channels as are added.
    View(View<'a, f32>),
    /// What the output's own memory holds before the call. On all channels without activation, this
    /// is `y += conv(x)`.
    InPlace,
}

/// A (masked) residual of the epilogue.
#[derive(Clone, Copy, Debug)]
pub struct Residual<'a> {
    /// Where it comes from.
    pub source: ResidualSource<'a>,
    /// The first so many output channels get it: all for a plain residual, a part for PRN's masked
    /// and asymmetric residuals.
    pub channels: usize,
    /// `activation(z + residual)` where true, `activation(z) + residual` where false.
    pub before_activation: bool,
}

/// What a conv's output goes through before it is written: z = conv + bias, statistics of z, then
/// activation and residual.
#[derive(Debug, Default)]
pub struct Epilogue<'a> {
    /// One summand per output channel.
    pub bias: Option<&'a [f32]>,
    /// The activation.
    pub activation: Activation,
    /// The residual.
    pub residual: Option<Residual<'a>>,
    /// Receives `[2, c_out]`: the mean and the biased variance of z over n, h and w.
    pub stats: Option<&'a mut [f32]>,
}

/// How many numbers [`pack`] writes for the weight of a convolution `x` → `y`. Like the numbers
/// themselves, this depends on the SIMD level of `cpu` and on the algorithm that suits the maps.
pub fn packed_len(cpu: &Cpu, geometry: &Geometry, x: Shape, y: Shape) -> usize {
    TapConv::forward(cpu, geometry, x, y).packed()
}

/// Packs `weight`, `[c_out, kernel_h, kernel_w, c_in / groups]`, for [`forward_packed`] from `x` to
/// `y`. Let `packed` start on a cache line (64 bytes): it is read faster there.
///
/// # Panics
/// Where the lengths are not those of the weight and of [`packed_len`].
pub fn pack(cpu: &Cpu, geometry: &Geometry, x: Shape, y: Shape, weight: &[f32], packed: &mut [f32]) {
    let conv = TapConv::forward(cpu, geometry, x, y);
    assert_eq!(weight.len(), geometry.weight(x.c, y.c).elements(), "the weight's length");
    assert_eq!(packed.len(), conv.packed(), "the packed weight's length");
    pack_all(cpu, &[(&conv, Direction::Forward)], geometry, weight, packed);
}

/// Packs `weight` for each of `convs`, one after the other in `packed`.
fn pack_all(
    cpu: &Cpu,
    convs: &[(&TapConv, Direction)],
    geometry: &Geometry,
    weight: &[f32],
    packed: &mut [f32],
) {
    let mut pieces = Vec::new();
    let mut rest = packed;
    for &(conv, direction) in convs {
        for index in 0..conv.layout.panels() {
            let panel = conv.layout.panel(index);
            let length = conv.packed_rows() * panel.vectors * conv.layout.lanes;
            let (own, others) = rest.split_at_mut(length);
            pieces.push((conv, direction, panel, own));
            rest = others;
        }
    }
    // Pieces of about 64 K numbers: handing one over costs as much as packing some thousands.
    let pack_pieces = |pieces: Vec<(&TapConv, Direction, taps::Panel, &mut [f32])>| {
        for (conv, direction, panel, own) in pieces {
            let axes = [&conv.rows, &conv.columns];
            // Transformed weights grow from their end.
            let start = own.len() - conv.k() * panel.vectors * conv.layout.lanes;
            pack_panel(&conv.layout, &panel, direction, geometry.kernel, axes, weight, &mut own[start..]);
            if conv.winograd {
                vector::dispatch(cpu, WeightTransform { panel: own });
            }
        }
    };
    let mut batches = vec![Vec::new()];
    let mut size = 0;
    for piece in pieces {
        if size >= 64 << 10 {
            batches.push(Vec::new());
            size = 0;
        }
        size += piece.3.len();
        if let Some(batch) = batches.last_mut() {
            batch.push(piece);
        }
    }
    cpu.for_each(batches, pack_pieces);
}

/// Numbers of workspace that [`forward_packed`] needs for `x` → `y`, statistics included.
pub fn forward_packed_workspace(cpu: &Cpu, geometry: &Geometry, x: Shape, y: Shape) -> usize {
    let conv = TapConv::forward(cpu, geometry, x, y);
    // With a prologue or without: whichever takes more of each.
    let needs = [false, true].map(|prologue| run::needs(&conv, prologue));
    let partials = needs.each_ref().map(|(chunks, _)| round_up(chunks.len() * 2 * y.c));
    let scratch = needs.map(|(_, scratch)| scratch);
    SLACK + partials[0].max(partials[1]) + cpu.threads() * scratch[0].max(scratch[1])
}

/// Numbers of workspace that [`forward`] needs for `x` → `y`, statistics included.
pub fn forward_workspace(cpu: &Cpu, geometry: &Geometry, x: Shape, y: Shape) -> usize {
    forward_packed_workspace(cpu, geometry, x, y) + round_up(packed_len(cpu, geometry, x, y))
}

/// `y = epilogue(conv(prologue(x), weight))`: `x` `[n, h, w, c_in]`, `weight` `[c_out, kernel_h,
/// kernel_w, c_in / groups]`, `y` `[n, h', w', c_out]` of [`Geometry::output`].
///
/// # Panics
/// Where shapes or lengths disagree, or `workspace` is shorter than [`forward_workspace`].
pub fn forward(
    cpu: &Cpu,
    geometry: &Geometry,
    x: View<f32>,
    weight: &[f32],
    prologue: Option<Prologue>,
    epilogue: Epilogue,
    y: ViewMut<f32>,
    workspace: &mut [f32],
) {
    let (from, to) = (x.shape(), y.shape());
    check(geometry, from, to);
    let length = packed_len(cpu, geometry, from, to);
    let (packed, workspace) = aligned(workspace).split_at_mut(round_up(length));
    pack(cpu, geometry, from, to, weight, &mut packed[..length]);
    forward_packed(cpu, geometry, x, &packed[..length], prologue, epilogue, y, workspace);
}

/// [`forward`] with weights from [`pack`].
///
/// # Panics
/// Where shapes or lengths disagree, or `workspace` is shorter than [`forward_packed_workspace`].
pub fn forward_packed(
    cpu: &Cpu,
    geometry: &Geometry,
    x: View<f32>,
    packed: &[f32],
    prologue: Option<Prologue>,
    epilogue: Epilogue,
    mut y: ViewMut<f32>,
    workspace: &mut [f32],
) {
    let (from, to) = (x.shape(), y.shape());
    check(geometry, from, to);
    check_prologue(prologue, from.c);
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == to.c), "a bias per output channel");
    if let Some(residual) = &epilogue.residual {
        assert!(residual.channels <= to.c, "a residual on channels that exist");
        if let ResidualSource::View(view) = residual.source {
            assert_eq!(view.shape().with_c(0), to.with_c(0), "the residual's map is the output's");
            assert!(residual.channels <= view.shape().c, "the residual has the channels that are added");
        }
    }
    if to.elements() == 0 {
        return;
    }
    let conv = TapConv::forward(cpu, geometry, from, to);
    assert_eq!(packed.len(), conv.packed(), "the packed weight's length");
    let (chunks, scratch) = run::needs(&conv, prologue.is_some());
    let (partials, workspace) = aligned(workspace).split_at_mut(round_up(chunks.len() * 2 * to.c));
    let job = Job {
        conv,
        x,
        packed,
        y_stride: y.pixel_stride(),
        y: Shared(y.as_mut_ptr()),
        prologue,
        bias: epilogue.bias,
        activation: epilogue.activation,
        residual: epilogue.residual,
        partials: epilogue.stats.is_some().then_some(Shared(partials.as_mut_ptr())),
    };
    run::run(cpu, &[job], workspace, scratch);
    if let Some(stats) = epilogue.stats {
        assert_eq!(stats.len(), 2 * to.c, "two statistics per output channel");
        combine_moments(&chunks, partials, stats);
    }
}

/// Panics unless the shapes are those of the convolution.
fn check(geometry: &Geometry, x: Shape, y: Shape) {
    let groups = geometry.groups;
    assert!(groups > 0 && x.c.is_multiple_of(groups) && y.c.is_multiple_of(groups), "channels in groups");
    let output = geometry.output(x.h, x.w).ok();
    assert!(output == Some((y.h, y.w)) && x.n == y.n, "a convolution from {x} to {y} with {geometry:?}");
}

/// Panics unless the prologue has `c` channels.
fn check_prologue(prologue: Option<Prologue>, c: usize) {
    assert!(
        prologue.is_none_or(|p| p.scale.len() == c && p.shift.len() == c),
        "a scale and a shift per input channel"
    );
}

#[cfg(test)]
mod tests;
