//! Winograd's minimal filtering F(4×4, 3×3) (Winograd 1980; Lavin and Gray 2016): 3×3 convolutions at
//! stride 1 with a quarter of the multiplications.
//!
//! A tile of 4×4 results reads 6×6 inputs d. With Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A the products at each
//! of the 36 positions become a matrix product over channels, tiles × c_in · c_in × c_out, which is
//! the micro-kernel [`Dot`]'s ([`transform`] has A, B and G).
//!
//! Rounding differs from the direct sums in the last two or three bits, and an infinity or a NaN in
//! the input spreads to its whole tile.
//!
//! A block of tiles is one piece of work: its inputs are packed (padding, prologue), transformed,
//! multiplied panel by panel, transformed back and finished, all within a second-level cache.

pub mod gradient;
mod transform;

pub use transform::WeightTransform;
use transform::{InputTransform, OutputStore, OutputTransform};

use super::Prologue;
use super::finish::{Finish, Moments};
use super::pack::PackRows;
use super::plan::{TapConv, share};
use super::run::Job;
use super::taps::{Axis, Panel};
use super::tile::{Dot, DotArguments, MAX_ROWS, MAX_WIDTH, Tile, by_size};
use crate::runtime::Cpu;
use crate::runtime::vector::{self, Lanes, Task};
use crate::tensor::View;

/// Results of a tile, in each direction.
const OUT: usize = 4;
/// Inputs of a tile, in each direction.
const IN: usize = 6;
/// Positions: matrix products.
pub const POSITIONS: usize = IN * IN;

/// Numbers that a block's transformed inputs may take in a second-level cache: 640 KiB.
const INPUT_BUDGET: usize = 160 << 10;
/// The most tiles in a block.
const MOST_TILES: usize = 4 * MAX_ROWS;
/// Tiles that make reading four times the weights worth while.
const FEW_TILES: usize = 40;
/// Channels from which on the transforms are cheap beside the products.
const FEW_CHANNELS: usize = 16;

/// Whether Winograd's algorithm computes `conv`, and faster.
pub fn suits(conv: &TapConv) -> bool {
    let three = |axis: &Axis| {
        let dense = axis.taps.windows(2).all(|pair| pair[1].offset == pair[0].offset + 1);
        axis.taps.len() == 3 && dense && axis.in_step == 1 && axis.out_step == 1
    };
    let layout = &conv.layout;
    if !three(&conv.rows) || !three(&conv.columns) || layout.depthwise || layout.groups != 1 {
        return false;
    }
    let (h, w) = (conv.rows.count, conv.columns.count);
    let tiles = h.div_ceil(OUT) * w.div_ceil(OUT);
    // What tiles at the border compute for nothing may not eat up half of what is saved.
    let wasteful = tiles * OUT * OUT > 2 * h * w;
    conv.n * tiles >= FEW_TILES && !wasteful && layout.c_in.min(layout.c_out) >= FEW_CHANNELS
}

/// How a convolution's tiles are cut into blocks; by shapes alone.
#[derive(Clone, Copy, Debug)]
pub struct Blocks {
    /// Results, down and to the right.
    results: [usize; 2],
    /// Tiles of a block, down and to the right.
    tiles: [usize; 2],
    /// Blocks of an image, down and to the right.
    per_image: [usize; 2],
    /// All blocks.
    pub count: usize,
    /// Source channels.
    c_in: usize,
    /// Channels of a full panel.
    width: usize,
}

impl Blocks {
    /// The blocks of `conv` for results.
    pub fn of(conv: &TapConv) -> Self {
        Self::within(conv, INPUT_BUDGET, MOST_TILES)
    }

    /// The blocks of `conv` for its weight gradient: larger, as every block passes over all sums.
    pub fn for_gradient(conv: &TapConv) -> Self {
        Self::within(conv, 2 * INPUT_BUDGET, 2 * MOST_TILES)
    }

    fn within(conv: &TapConv, budget: usize, most: usize) -> Self {
        let results = [conv.rows.count, conv.columns.count];
        let [down, right] = results.map(|count| count.div_ceil(OUT));
        let c_in = conv.layout.c_in;
        let most = (budget / (POSITIONS * c_in)).clamp(MAX_ROWS, most);
        // Rows of tiles where they fit, parts of a row otherwise.
        let columns = right.div_ceil(right.div_ceil(most));
        let rows = (most / right).clamp(1, down);
        let rows = down.div_ceil(down.div_ceil(rows));
        let per_image = [down.div_ceil(rows), right.div_ceil(columns)];
        Blocks {
            results,
            tiles: [rows, columns],
            per_image,
            count: conv.n * per_image[0] * per_image[1],
            c_in,
            width: conv.layout.lanes * conv.layout.vectors,
        }
    }

    /// The image, the first result, and the number of results of block `index`.
    fn at(&self, index: usize) -> (usize, [usize; 2], [usize; 2]) {
        let [down, right] = self.per_image;
        let place = [index / right % down, index % right];
        let first = [0, 1].map(|i| place[i] * self.tiles[i] * OUT);
        let count = [0, 1].map(|i| (self.tiles[i] * OUT).min(self.results[i] - first[i]));
        (index / right / down, first, count)
    }

    /// Results of block `index`.
    pub fn pixels(&self, index: usize) -> usize {
        let (_, _, [h, w]) = self.at(index);
        h * w
    }

    /// Numbers of the packed inputs, the transformed inputs and a panel of products.
    pub fn scratch_parts(&self) -> [usize; 3] {
        let [rows, columns] = self.tiles;
        let packed = (rows * OUT + 2) * (columns * OUT + 2) * self.c_in;
        let tiles = POSITIONS * rows * columns;
        [packed, tiles * self.c_in, tiles * self.width].map(super::plan::round_up)
    }

    /// Numbers of scratch that each thread needs.
    pub fn scratch(&self) -> usize {
        self.scratch_parts().into_iter().sum()
    }
}

/// Runs `job`, each thread with `blocks.scratch()` numbers of `workspace`.
pub fn run(cpu: &Cpu, job: &Job, workspace: &mut [f32]) {
    let blocks = Blocks::of(&job.conv);
    let panels = job.conv.layout.panels();
    let parts = (8 * cpu.threads()).div_ceil(blocks.count).clamp(1, panels);
    share(cpu, blocks.count * parts, workspace, blocks.scratch(), |scratch, next| {
        vector::dispatch(cpu, Worker { job, blocks: &blocks, parts, scratch, next });
    });
}

/// One thread's work.
struct Worker<'a> {
    job: &'a Job<'a>,
    blocks: &'a Blocks,
    /// Tasks to a block.
    parts: usize,
    scratch: &'a mut [f32],
    next: &'a dyn Fn() -> Option<usize>,
}

impl Task for Worker<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let panels = self.job.conv.layout.panels();
        let [packed, inputs, _] = self.blocks.scratch_parts();
        let (packed, rest) = self.scratch.split_at_mut(packed);
        let (inputs, products) = rest.split_at_mut(inputs);
        // The block whose inputs are there.
        let mut held = None;
        while let Some(task) = (self.next)() {
            let (block, part) = (task / self.parts, task % self.parts);
            let work = Block::new(self.blocks, block);
            if held != Some(block) {
                work.transform(l, &self.job.conv, self.job.x, self.job.prologue, packed, inputs);
                held = Some(block);
            }
            for index in part * panels / self.parts..(part + 1) * panels / self.parts {
                work.panel(l, self.job, self.job.conv.layout.panel(index), inputs, products);
            }
        }
    }
}

/// One block of tiles.
pub struct Block {
    index: usize,
    /// The image.
    pub image: usize,
    /// First result, down and to the right.
    pub first: [usize; 2],
    /// Results, down and to the right.
    pub results: [usize; 2],
    /// Tiles, down and to the right.
    pub tiles: [usize; 2],
}

impl Block {
    /// Block `index` of `blocks`.
    pub fn new(blocks: &Blocks, index: usize) -> Self {
        let (image, first, results) = blocks.at(index);
        Block { index, image, first, results, tiles: results.map(|count| count.div_ceil(OUT)) }
    }

    /// Packs the block's inputs and transforms them: `inputs` becomes `[36, tiles, c_in]`.
    #[inline(always)]
    pub fn transform<L: Lanes>(
        &self,
        l: L,
        conv: &TapConv,
        x: View<f32>,
        prologue: Option<Prologue>,
        packed: &mut [f32],
        inputs: &mut [f32],
    ) {
        let c = conv.layout.c_in;
        let [rows, columns] = self.tiles.map(|tiles| tiles * OUT + 2);
        let count = self.tiles[0] * self.tiles[1];
        assert!(rows * columns * c <= packed.len() && POSITIONS * count * c <= inputs.len());
        l.call(PackRows {
            x,
            prologue,
            image: self.image,
            row: self.first[0] as isize + conv.rows.first(),
            rows,
            column: self.first[1] as isize + conv.columns.first(),
            columns,
            to: packed.as_mut_ptr(),
            pitch: c,
        });
        let (from, to) = (packed.as_ptr(), inputs.as_mut_ptr());
        l.call(InputTransform { from, columns, c, tiles: self.tiles, to });
    }

    /// The products and results of one panel.
    #[inline(always)]
    fn panel<L: Lanes>(&self, l: L, job: &Job, panel: Panel, inputs: &[f32], products: &mut [f32]) {
        let c = job.conv.layout.c_in;
        let width = panel.vectors * L::LANES;
        let count = self.tiles[0] * self.tiles[1];
        assert!(POSITIONS * count * width <= products.len());
        let weight = &job.packed[panel.before * POSITIONS * c..][..POSITIONS * c * width];
        let pixels: [usize; MAX_ROWS] = std::array::from_fn(|i| i * c);
        let dots = count.div_ceil(Tile::<L>::ROWS);
        for position in 0..POSITIONS {
            for t in 0..dots {
                let (first, end) = (t * count / dots, (t + 1) * count / dots);
                let at = position * count + first;
                let arguments = DotArguments {
                    x: inputs[at * c..].as_ptr(),
                    pixels: &pixels,
                    segments: &[0],
                    run: c,
                    weight: weight[position * c * width..].as_ptr(),
                    coming: None,
                    channels: panel.channels,
                    store: None,
                    tile: products[at * width..].as_mut_ptr(),
                };
                by_size!(l, end - first, panel.vectors, Dot, &arguments);
            }
        }
        self.finish(l, job, panel, count, products);
    }

    /// Transforms a panel's products back, tile by tile, and finishes the results.
    #[inline(always)]
    fn finish<L: Lanes>(&self, l: L, job: &Job, panel: Panel, count: usize, products: &[f32]) {
        let conv = &job.conv;
        let width = panel.vectors * L::LANES;
        let bias = job.panel_bias(&panel);
        let mut moments = job.partials.map(|_| Moments::new());
        let residual = job.panel_residual(&panel);
        let mut results = Results([0.0; OUT * OUT * MAX_WIDTH]);
        let simple = job.simple().filter(|(_, accumulate)| !accumulate);
        let y = job.y.0.wrapping_add(panel.channel);
        for t in 0..count {
            let tile = [t / self.tiles[1] * OUT, t % self.tiles[1] * OUT];
            let [rows, columns] = [0, 1].map(|i| OUT.min(self.results[i] - tile[i]));
            let from = products[t * width..].as_ptr();
            let (position, vectors) = (count * width, panel.vectors);
            let row = self.image * conv.out_h + self.first[0] + tile[0];
            let start = (row * conv.out_w + self.first[1] + tile[1]) * job.y_stride;
            if let Some((slope, _)) = simple
                && rows == OUT
                && columns == OUT
            {
                l.call(OutputStore {
                    from,
                    position,
                    vectors,
                    channels: panel.channels,
                    y: y.wrapping_add(start),
                    pitches: [conv.out_w * job.y_stride, job.y_stride],
                    bias: &bias,
                    slope,
                    moments: moments.as_mut(),
                    first: t == 0,
                });
                continue;
            }
            l.call(OutputTransform { from, position, vectors, columns, to: &mut results.0 });
            // A tile has more results than a finish takes: two rows at a time.
            for half in (0..rows).step_by(2) {
                let mut pixels = [0; MAX_ROWS];
                let some = (rows - half).min(2) * columns;
                for (p, pixel) in pixels.iter_mut().enumerate().take(some) {
                    let down = (half + p / columns) * conv.out_w;
                    *pixel = start + (down + p % columns) * job.y_stride;
                }
                l.call(Finish {
                    tile: results.0[half * columns * width..].as_ptr(),
                    count: some,
                    vectors: panel.vectors,
                    channels: panel.channels,
                    y,
                    pixels: &pixels,
                    bias: &bias,
                    activation: job.activation,
                    residual,
                    moments: moments.as_mut(),
                    first: t == 0 && half == 0,
                });
            }
        }
        if let (Some(partials), Some(moments)) = (job.partials, moments) {
            let pixels = self.results[0] * self.results[1];
            job.store_moments(partials, &moments, self.index, &panel, pixels);
        }
    }
}

/// A tile's results on a cache line.
#[repr(align(64))]
struct Results([f32; OUT * OUT * MAX_WIDTH]);
