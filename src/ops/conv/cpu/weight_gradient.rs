//! The weight gradient: Σ over pixels of input ⊗ output gradient, per tap.
//!
//! The chunks of rows are dealt to a number of *sums* that depends on shapes only; each sum adds up
//! its chunks in order, and the sums are added in order at the end: the result does not depend on
//! threads. Convolutions with few weights have many sums, for as many threads; those with many
//! weights have one, and threads share its panels of output channels.

use super::pack::{PackRows, UnpackPanel};
use super::plan::{Chunks, Pitches, SLACK, Shared, TapConv, aligned, round_up, share};
use super::run::source_of;
use super::taps::Panel;
use super::tile::{DepthOuter, MAX_ROWS, Outer, OuterArguments, Tile, by_size};
use super::winograd::gradient;
use super::{Geometry, Prologue, check, check_prologue};
use crate::runtime::Cpu;
use crate::runtime::vector::{self, Lanes, Task};
use crate::tensor::{Shape, View};

/// Numbers that all sums together may take, unless one takes more: 4 MiB.
const SUMS_BUDGET: usize = 1 << 20;
/// The most sums.
const MOST_SUMS: usize = 16;
/// Pixels that make a sum of its own worth while.
const FEW_PIXELS: usize = 512;

/// How the work is cut and where its parts lie in the workspace.
struct Plan {
    conv: TapConv,
    chunks: Chunks,
    /// Partial results.
    sums: usize,
    /// Numbers of a sum's weights.
    weights: usize,
    /// Numbers of a sum, its bias gradient included.
    sum: usize,
    /// Numbers of a thread's scratch: a chunk's source, then a panel of its output gradients.
    scratch: usize,
}

/// The number of sums for so many numbers of weights, pixels, and pieces to deal out.
pub fn sums(weights: usize, pixels: usize, pieces: usize) -> usize {
    let wanted = (SUMS_BUDGET / weights.max(1)).min(pixels / FEW_PIXELS).min(pieces);
    1 << wanted.clamp(1, MOST_SUMS).ilog2()
}

/// What a weight gradient is made of.
pub struct Gradients<'a> {
    /// The convolution's input.
    pub x: View<'a, f32>,
    /// Applied to it.
    pub prologue: Option<Prologue<'a>>,
    /// The gradient of the convolution's output.
    pub dy: View<'a, f32>,
}

impl Plan {
    fn new(conv: TapConv, y: Shape) -> Self {
        let chunks = conv.chunks_for_gradient();
        let layout = conv.layout;
        let weights = round_up(conv.packed());
        let sums = sums(weights, y.pixels(), chunks.count);
        let sum = weights + round_up(layout.packed_channels());
        let pixels = chunks.rows * conv.columns.count;
        let scratch = chunks.scratch + round_up(pixels * layout.vectors * layout.lanes);
        Plan { conv, chunks, sums, weights, sum, scratch }
    }
}

/// Numbers of workspace that [`weight_gradient`] needs for a convolution `x` → `y`.
pub fn weight_gradient_workspace(cpu: &Cpu, geometry: &Geometry, x: Shape, y: Shape) -> usize {
    let conv = TapConv::forward(cpu, geometry, x, y);
    if conv.winograd {
        return gradient::Plan::new(conv).workspace(cpu.threads());
    }
    let plan = Plan::new(conv, y);
    SLACK + plan.sums * plan.sum + cpu.threads() * plan.scratch
}

/// `dw = Σ prologue(x) ⊗ dy` over pixels and taps, the gradient of a convolution's weight
/// `[c_out, kernel_h, kernel_w, c_in / groups]` from its input `[n, h, w, c_in]` and the gradient of
/// its output `[n, h', w', c_out]`; and where `bias` is given, that of the bias, Σ dy.
///
/// # Panics
/// Where shapes or lengths disagree, or `workspace` is shorter than [`weight_gradient_workspace`].
pub fn weight_gradient(
    cpu: &Cpu,
    geometry: &Geometry,
    x: View<f32>,
    prologue: Option<Prologue>,
    dy: View<f32>,
    weight: &mut [f32],
    bias: Option<&mut [f32]>,
    workspace: &mut [f32],
) {
    let (from, to) = (x.shape(), dy.shape());
    check(geometry, from, to);
    check_prologue(prologue, from.c);
    assert_eq!(weight.len(), geometry.weight(from.c, to.c).elements(), "the weight's length");
    assert!(bias.as_ref().is_none_or(|bias| bias.len() == to.c), "a bias per output channel");
    if to.elements() == 0 {
        weight.fill(0.0);
        if let Some(bias) = bias {
            bias.fill(0.0);
        }
        return;
    }
    let conv = TapConv::forward(cpu, geometry, from, to);
    if conv.winograd {
        let gradients = Gradients { x, prologue, dy };
        return gradient::Plan::new(conv).run(cpu, &gradients, weight, bias, workspace);
    }
    let plan = Plan::new(conv, to);
    let (sums, scratch) = aligned(workspace).split_at_mut(plan.sums * plan.sum);
    let layout = plan.conv.layout;
    let direct = plan.conv.direct(x, prologue.is_some());
    let pitches = if direct {
        Pitches { row: plan.conv.columns.in_len * x.pixel_stride(), pixel: x.pixel_stride() }
    } else {
        plan.conv.scratch_pitches()
    };
    let (segments, run) = plan.conv.segments(pitches);
    let wanted = (8 * cpu.threads()).div_ceil(plan.sums * layout.groups);
    let parts = wanted.clamp(1, layout.panels_per_group());
    let work = Work {
        plan: &plan,
        x: source_of(&plan.conv, x),
        prologue,
        dy,
        sums: Shared(sums.as_mut_ptr()),
        direct,
        pitches,
        segments,
        run,
        parts,
        bias: bias.is_some(),
    };
    share(cpu, plan.sums * layout.groups * parts, scratch, plan.scratch, |scratch, next| {
        while let Some(task) = next() {
            vector::dispatch(cpu, WorkTask { work: &work, scratch: &mut *scratch, task });
        }
    });
    add_up(cpu, &plan, geometry, sums, weight, bias);
}

/// Adds the sums and brings them into the weight's order.
fn add_up(
    cpu: &Cpu,
    plan: &Plan,
    geometry: &Geometry,
    sums: &[f32],
    weight: &mut [f32],
    bias: Option<&mut [f32]>,
) {
    let layout = &plan.conv.layout;
    let partials: Vec<&[f32]> = sums.chunks_exact(plan.sum).collect();
    let mut pieces = Vec::with_capacity(layout.panels());
    let mut rest = weight;
    for index in 0..layout.panels() {
        let panel = layout.panel(index);
        let (own, others) = rest.split_at_mut(panel.channels * plan.conv.k());
        pieces.push((panel, own));
        rest = others;
    }
    debug_assert_eq!(plan.conv.taps(), geometry.kernel[0] * geometry.kernel[1]);
    cpu.for_each(pieces, |(panel, weight)| {
        let k = plan.conv.k();
        let own: Vec<&[f32]> = partials.iter().map(|partial| &partial[panel.before * k..]).collect();
        vector::dispatch(cpu, UnpackPanel { panel, k, partials: &own, weight });
    });
    let Some(bias) = bias else { return };
    for index in 0..layout.panels() {
        let panel = layout.panel(index);
        for (j, value) in bias[panel.channel..][..panel.channels].iter_mut().enumerate() {
            *value = partials.iter().map(|partial| partial[plan.weights + panel.before + j]).sum();
        }
    }
}

/// What is the same for all tasks.
struct Work<'a> {
    plan: &'a Plan,
    x: View<'a, f32>,
    prologue: Option<Prologue<'a>>,
    dy: View<'a, f32>,
    sums: Shared,
    direct: bool,
    pitches: Pitches,
    segments: Vec<usize>,
    run: usize,
    /// Tasks to a sum of one group.
    parts: usize,
    bias: bool,
}

/// One task: the chunks of one sum, for a part of one group's panels.
struct WorkTask<'a> {
    work: &'a Work<'a>,
    scratch: &'a mut [f32],
    task: usize,
}

impl Task for WorkTask<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let WorkTask { work, scratch, task } = self;
        let (plan, conv) = (work.plan, &work.plan.conv);
        let layout = &conv.layout;
        let (part, group) = (task % work.parts, task / work.parts % layout.groups);
        let sum = task / work.parts / layout.groups;
        let per_group = layout.panels_per_group();
        let panels = part * per_group / work.parts..(part + 1) * per_group / work.parts;
        let (source, gradients) = scratch.split_at_mut(plan.chunks.scratch);
        let chunks = sum * plan.chunks.count / plan.sums..(sum + 1) * plan.chunks.count / plan.sums;
        for chunk in chunks.clone() {
            let first = chunk == chunks.start;
            let base = work.source(l, chunk, group, source);
            for index in panels.clone() {
                let panel = layout.panel(group * per_group + index);
                // SAFETY: this task alone has this part of this sum.
                let sums = unsafe { work.sums.0.add(sum * plan.sum) };
                work.pack_gradients(l, chunk, &panel, gradients, sums, first);
                work.panel(l, chunk, &panel, base, gradients, sums, first);
            }
        }
    }
}

impl Work<'_> {
    /// The source of a chunk's first pixel: in the map, or in the scratch that this fills.
    #[inline(always)]
    fn source<L: Lanes>(&self, l: L, chunk: usize, group: usize, scratch: &mut [f32]) -> *const f32 {
        let conv = &self.plan.conv;
        let (image, row, rows) = self.plan.chunks.at(chunk);
        let (channel, c) = conv.layout.source(group);
        let first_row = (row * conv.rows.in_step) as isize + conv.rows.first();
        if self.direct {
            let y = image * conv.rows.in_len + first_row as usize;
            let pixel = y * conv.columns.in_len + conv.columns.first() as usize;
            return self.x.as_ptr().wrapping_add(pixel * self.pitches.pixel + channel);
        }
        let (rows_spanned, columns) = (conv.rows.span(rows), conv.columns.span(conv.columns.count));
        assert!(
            rows_spanned * columns * self.pitches.pixel <= scratch.len(),
            "the scratch is as long as planned"
        );
        l.call(PackRows {
            x: self.x.channels(channel..channel + c),
            prologue: self.prologue.map(|p| p.channels(channel, c)),
            image,
            row: first_row,
            rows: rows_spanned,
            column: conv.columns.first(),
            columns,
            to: scratch.as_mut_ptr(),
            pitch: self.pitches.pixel,
        });
        scratch.as_ptr()
    }

    /// Makes the panel's output gradients dense, and adds them to the bias gradient.
    #[inline(always)]
    fn pack_gradients<L: Lanes>(
        &self,
        l: L,
        chunk: usize,
        panel: &Panel,
        to: &mut [f32],
        sums: *mut f32,
        first_chunk: bool,
    ) {
        let conv = &self.plan.conv;
        let (image, row, rows) = self.plan.chunks.at(chunk);
        let (pixels, width) = (rows * conv.columns.count, panel.vectors * L::LANES);
        assert!(pixels * width <= to.len(), "the scratch is as long as planned");
        let first = (image * conv.out_h + row) * conv.out_w;
        let stride = self.dy.pixel_stride();
        let from = self.dy.as_ptr().wrapping_add(first * stride + panel.channel);
        for j in 0..panel.vectors {
            let lanes = L::LANES.min(panel.channels - j * L::LANES);
            let mut sum = l.splat(0.0);
            // SAFETY: the pixels of a chunk follow each other in dy and have the panel's channels;
            // `to` was checked; the bias gradient of this panel belongs to this task.
            unsafe {
                for p in 0..pixels {
                    let at = from.add(p * stride + j * L::LANES);
                    let v = if lanes == L::LANES { l.load(at) } else { l.load_first(at, lanes) };
                    l.store(to.as_mut_ptr().add(p * width + j * L::LANES), v);
                    sum = l.add(sum, v);
                }
                if self.bias {
                    let bias = sums.add(self.plan.weights + panel.before + j * L::LANES);
                    l.store(bias, if first_chunk { sum } else { l.add(l.load(bias), sum) });
                }
            }
        }
    }

    /// Adds a chunk's products to one panel: tile by tile.
    #[inline(always)]
    fn panel<L: Lanes>(
        &self,
        l: L,
        chunk: usize,
        panel: &Panel,
        base: *const f32,
        gradients: &[f32],
        sums: *mut f32,
        first: bool,
    ) {
        let conv = &self.plan.conv;
        let (_, _, rows) = self.plan.chunks.at(chunk);
        let width = panel.vectors * L::LANES;
        let mut arguments = OuterArguments {
            x: base,
            rows,
            columns: conv.columns.count,
            row_pitch: conv.rows.in_step * self.pitches.row,
            column_pitch: conv.columns.in_step * self.pitches.pixel,
            segments: &self.segments,
            channels: panel.channels,
            dy: gradients.as_ptr(),
            sums,
            first,
        };
        if arguments.columns == 1 {
            (arguments.rows, arguments.columns) = (1, rows);
            arguments.column_pitch = arguments.row_pitch;
        }
        let panel_sums = panel.before * conv.k();
        if conv.layout.depthwise {
            let taps = self.segments.len();
            let tiles = taps.div_ceil(Tile::<L>::ROWS);
            for t in 0..tiles {
                let (first, end) = (t * taps / tiles, (t + 1) * taps / tiles);
                arguments.x = base.wrapping_add(panel.channel);
                arguments.segments = &self.segments[first..end];
                // SAFETY: the tile lies in this panel's part of the sum.
                arguments.sums = unsafe { sums.add(panel_sums + first * width) };
                by_size!(@row l, end - first, DepthOuter, &arguments, 1, 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
            }
            return;
        }
        for (s, &segment) in self.segments.iter().enumerate() {
            let tiles = self.run.div_ceil(Tile::<L>::ROWS);
            for t in 0..tiles {
                let (first, end) = (t * self.run / tiles, (t + 1) * self.run / tiles);
                debug_assert!(end - first <= MAX_ROWS);
                arguments.x = base.wrapping_add(segment + first);
                // SAFETY: the tile lies in this panel's part of the sum.
                arguments.sums = unsafe { sums.add(panel_sums + (s * self.run + first) * width) };
                by_size!(l, end - first, panel.vectors, Outer, &arguments);
            }
        }
    }
}
