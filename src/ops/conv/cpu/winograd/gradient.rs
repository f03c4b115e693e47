//! The weight gradient by Winograd's algorithm: the transpose of the forward convolution.
//!
//! With Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A the gradient of g is Gᵀ[Σ (Bᵀ d B) ⊙ (A dY Aᵀ)]G, the sum
//! running over tiles: at each of the 36 positions a matrix product c_in × tiles · tiles × c_out,
//! which is the micro-kernel [`Outer`]'s. Blocks of tiles are dealt to sums as in
//! [`super::super::weight_gradient`].

use super::super::pack::UnpackPanel;
use super::super::plan::{SLACK, Shared, TapConv, aligned, round_up, share};
use super::super::taps::Panel;
use super::super::tile::{MAX_WIDTH, Outer, OuterArguments, Tile, by_size};
use super::super::weight_gradient::{Gradients, sums};
use super::transform::{GradientTransform, WeightGradientTransform};
use super::{Block, Blocks, POSITIONS};
use crate::runtime::Cpu;
use crate::runtime::vector::{self, Lanes, Task};

/// How the work is cut and where its parts lie in the workspace.
pub struct Plan {
    conv: TapConv,
    blocks: Blocks,
    /// Partial results.
    sums: usize,
    /// Numbers of a sum's weights.
    weights: usize,
    /// Numbers of a sum, its bias gradient included.
    sum: usize,
}

impl Plan {
    /// The plan for the forward convolution `conv`.
    pub fn new(conv: TapConv) -> Self {
        let blocks = Blocks::for_gradient(&conv);
        let weights = round_up(conv.packed());
        let pixels = (0..blocks.count).map(|block| blocks.pixels(block)).sum();
        let sums = sums(weights, pixels, blocks.count);
        let sum = weights + round_up(conv.layout.packed_channels());
        Plan { conv, blocks, sums, weights, sum }
    }

    /// Numbers of workspace.
    pub fn workspace(&self, threads: usize) -> usize {
        SLACK + self.sums * self.sum + threads * self.blocks.scratch()
    }

    /// Writes the gradients of `weight` and `bias`.
    pub fn run(
        &self,
        cpu: &Cpu,
        gradients: &Gradients,
        weight: &mut [f32],
        bias: Option<&mut [f32]>,
        workspace: &mut [f32],
    ) {
        let (sums, scratch) = aligned(workspace).split_at_mut(self.sums * self.sum);
        let panels = self.conv.layout.panels();
        // Each part transforms all inputs: as few as keep the threads busy.
        let parts = (2 * cpu.threads()).div_ceil(self.sums).clamp(1, panels);
        let shared = Shared(sums.as_mut_ptr());
        share(cpu, self.sums * parts, scratch, self.blocks.scratch(), |scratch, next| {
            while let Some(task) = next() {
                let scratch = &mut *scratch;
                vector::dispatch(cpu, Worker { plan: self, gradients, sums: shared, parts, scratch, task });
            }
        });
        self.add_up(cpu, sums, weight, bias);
    }

    /// Adds the sums, transforms them back and brings them into the weight's order.
    fn add_up(&self, cpu: &Cpu, sums: &mut [f32], weight: &mut [f32], bias: Option<&mut [f32]>) {
        let layout = &self.conv.layout;
        if let Some(bias) = bias {
            for index in 0..layout.panels() {
                let panel = layout.panel(index);
                for (j, value) in bias[panel.channel..][..panel.channels].iter_mut().enumerate() {
                    let at = self.weights + panel.before + j;
                    *value = sums.iter().skip(at).step_by(self.sum).sum();
                }
            }
        }
        let (first, others) = sums.split_at_mut(self.sum);
        let others: Vec<&[f32]> = others.chunks_exact(self.sum).collect();
        let mut pieces = Vec::with_capacity(layout.panels());
        let (mut rest, mut rest_of_weight) = (first, weight);
        for index in 0..layout.panels() {
            let panel = layout.panel(index);
            let rows = self.conv.packed_rows();
            let (own, after) = rest.split_at_mut(rows * panel.vectors * layout.lanes);
            let (own_weight, after_weight) = rest_of_weight.split_at_mut(panel.channels * self.conv.k());
            pieces.push((panel, own, own_weight));
            (rest, rest_of_weight) = (after, after_weight);
        }
        cpu.for_each(pieces, |(panel, own, weight)| {
            let range = panel.before * self.conv.packed_rows()..;
            let others: Vec<&[f32]> = others.iter().map(|o| &o[range.clone()][..own.len()]).collect();
            vector::dispatch(cpu, WeightGradientTransform { panel: own, others: &others });
            vector::dispatch(cpu, UnpackPanel { panel, k: self.conv.k(), partials: &[own], weight });
        });
    }
}

/// One task: the blocks of one sum, for a part of the panels.
struct Worker<'a> {
    plan: &'a Plan,
    gradients: &'a Gradients<'a>,
    sums: Shared,
    /// Tasks to a sum.
    parts: usize,
    scratch: &'a mut [f32],
    task: usize,
}

impl Task for Worker<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let Worker { plan, gradients, .. } = self;
        let conv = &plan.conv;
        let (part, sum) = (self.task % self.parts, self.task / self.parts);
        let panels = conv.layout.panels();
        let panels = part * panels / self.parts..(part + 1) * panels / self.parts;
        let [packed, inputs, _] = plan.blocks.scratch_parts();
        let (packed, rest) = self.scratch.split_at_mut(packed);
        let (inputs, transformed) = rest.split_at_mut(inputs);
        // SAFETY: this task alone has this part of this sum.
        let sums = unsafe { self.sums.0.add(sum * plan.sum) };
        let blocks = sum * plan.blocks.count / plan.sums..(sum + 1) * plan.blocks.count / plan.sums;
        for index in blocks.clone() {
            let block = Block::new(&plan.blocks, index);
            block.transform(l, conv, gradients.x, gradients.prologue, packed, inputs);
            for panel in panels.clone() {
                let panel = conv.layout.panel(panel);
                plan.panel(l, gradients, &block, &panel, inputs, transformed, sums, index == blocks.start);
            }
        }
    }
}

impl Plan {
    /// Adds a block's products to one panel.
    #[inline(always)]
    fn panel<L: Lanes>(
        &self,
        l: L,
        gradients: &Gradients,
        block: &Block,
        panel: &Panel,
        inputs: &[f32],
        transformed: &mut [f32],
        sums: *mut f32,
        first: bool,
    ) {
        let (conv, c) = (&self.conv, self.conv.layout.c_in);
        let width = panel.vectors * L::LANES;
        let count = block.tiles[0] * block.tiles[1];
        assert!(POSITIONS * count * width <= transformed.len() && POSITIONS * count * c <= inputs.len());
        let stride = gradients.dy.pixel_stride();
        let pixel = (block.image * conv.out_h + block.first[0]) * conv.out_w + block.first[1];
        let mut totals = [0.0; MAX_WIDTH];
        l.call(GradientTransform {
            from: gradients.dy.as_ptr().wrapping_add(pixel * stride + panel.channel),
            pitches: [conv.out_w * stride, stride],
            block,
            channels: panel.channels,
            vectors: panel.vectors,
            to: transformed.as_mut_ptr(),
            sums: &mut totals,
        });
        for (j, total) in totals.iter().enumerate().take(width) {
            // SAFETY: the bias gradient of this panel belongs to this task.
            unsafe {
                let to = sums.add(self.weights + panel.before + j);
                *to = if first { *total } else { *to + *total };
            }
        }
        let tiles = c.div_ceil(Tile::<L>::ROWS);
        for position in 0..POSITIONS {
            for t in 0..tiles {
                let (start, end) = (t * c / tiles, (t + 1) * c / tiles);
                let arguments = OuterArguments {
                    x: inputs[position * count * c + start..].as_ptr(),
                    rows: 1,
                    columns: count,
                    row_pitch: 0,
                    column_pitch: c,
                    segments: &[],
                    channels: panel.channels,
                    dy: transformed[position * count * width..].as_ptr(),
                    // SAFETY: the tile lies in this panel's part of the sum.
                    sums: unsafe { sums.add(panel.before * POSITIONS * c + (position * c + start) * width) },
                    first,
                };
                by_size!(l, end - start, panel.vectors, Outer, &arguments);
            }
        }
    }
}
