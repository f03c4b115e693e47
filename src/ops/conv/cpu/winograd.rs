//! Winograd's minimal filtering F(4×4, 3×3) (Winograd 1980; Lavin and Gray 2016): 3×3 convolutions at
//! stride 1 with a quarter of the multiplications.
//!
//! A tile of 4×4 results reads 6×6 inputs d. With Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A the products at each
//! of the 36 positions become a matrix product over channels, tiles × c_in · c_in × c_out, which is
//! the micro-kernel [`Dot`]'s. The transforms are those of the points 0, ±5/8, ±3/2, ∞: the common
//! 0, ±1, ±2, ∞ lose about twice as many digits.
//!
//! A block of tiles is one piece of work: its inputs are packed (padding, prologue), transformed,
//! multiplied panel by panel, transformed back and finished, all within a second-level cache.

// Vectors of a tile are indexed by the constants that size it: what the compiler unrolls.
#![allow(clippy::needless_range_loop)]

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

// The points ±A and ±B beside 0 and ∞.
const A: f32 = 0.625;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;

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

/// Bᵀ of six vectors.
#[inline(always)]
fn input_transform<L: Lanes>(l: L, d: [L::V; IN]) -> [L::V; IN] {
    let (sum, product) = (l.splat(-(A2 + B2)), l.splat(A2 * B2));
    let (a, b, a2, b2) = (l.splat(A), l.splat(B), l.splat(-A2), l.splat(-B2));
    let minus = |v| l.sub(l.splat(0.0), v);
    // Even and odd parts of the rows of ±A and of ±B.
    let (even_a, odd_a) = (l.fma(b2, d[2], d[4]), l.fma(b2, d[1], d[3]));
    let (even_b, odd_b) = (l.fma(a2, d[2], d[4]), l.fma(a2, d[1], d[3]));
    [
        l.fma(product, d[0], l.fma(sum, d[2], d[4])),
        l.fma(a, odd_a, even_a),
        l.fma(minus(a), odd_a, even_a),
        l.fma(b, odd_b, even_b),
        l.fma(minus(b), odd_b, even_b),
        l.fma(product, d[1], l.fma(sum, d[3], d[5])),
    ]
}

/// G of three vectors.
#[inline(always)]
fn weight_transform<L: Lanes>(l: L, g: [L::V; 3]) -> [L::V; IN] {
    // Each point's row is (1, p, p²) over the product of its distances to the other points.
    let point = |p: f32, scale: f32| {
        let even = l.mul(l.splat(scale), l.fma(l.splat(p * p), g[2], g[0]));
        (even, l.mul(l.splat(scale * p), g[1]))
    };
    let (even_a, odd_a) = point(A, 1.0 / (2.0 * A2 * (A2 - B2)));
    let (even_b, odd_b) = point(B, 1.0 / (2.0 * B2 * (B2 - A2)));
    [
        l.mul(l.splat(1.0 / (A2 * B2)), g[0]),
        l.add(even_a, odd_a),
        l.sub(even_a, odd_a),
        l.add(even_b, odd_b),
        l.sub(even_b, odd_b),
        g[2],
    ]
}

/// Aᵀ of six vectors.
#[inline(always)]
fn output_transform<L: Lanes>(l: L, m: [L::V; IN]) -> [L::V; OUT] {
    let (even_a, odd_a) = (l.add(m[1], m[2]), l.sub(m[1], m[2]));
    let (even_b, odd_b) = (l.add(m[3], m[4]), l.sub(m[3], m[4]));
    [
        l.add(m[0], l.add(even_a, even_b)),
        l.fma(l.splat(A), odd_a, l.mul(l.splat(B), odd_b)),
        l.fma(l.splat(A2), even_a, l.mul(l.splat(B2), even_b)),
        l.fma(l.splat(A2 * A), odd_a, l.fma(l.splat(B2 * B), odd_b, m[5])),
    ]
}

/// A of four vectors, the transpose of [`output_transform`].
#[inline(always)]
fn gradient_transform<L: Lanes>(l: L, y: [L::V; OUT]) -> [L::V; IN] {
    let point = |p: f32| {
        let square = l.splat(p * p);
        (l.fma(square, y[2], y[0]), l.mul(l.splat(p), l.fma(square, y[3], y[1])))
    };
    let ((even_a, odd_a), (even_b, odd_b)) = (point(A), point(B));
    [y[0], l.add(even_a, odd_a), l.sub(even_a, odd_a), l.add(even_b, odd_b), l.sub(even_b, odd_b), y[3]]
}

/// Gᵀ of six vectors, the transpose of [`weight_transform`].
#[inline(always)]
fn weight_gradient_transform<L: Lanes>(l: L, u: [L::V; IN]) -> [L::V; 3] {
    let point = |p: f32, scale: f32, plus: L::V, minus: L::V| {
        let even = l.mul(l.splat(scale), l.add(plus, minus));
        let odd = l.mul(l.splat(scale * p), l.sub(plus, minus));
        (even, odd, l.mul(l.splat(p * p), even))
    };
    let (even_a, odd_a, square_a) = point(A, 1.0 / (2.0 * A2 * (A2 - B2)), u[1], u[2]);
    let (even_b, odd_b, square_b) = point(B, 1.0 / (2.0 * B2 * (B2 - A2)), u[3], u[4]);
    [
        l.fma(l.splat(1.0 / (A2 * B2)), u[0], l.add(even_a, even_b)),
        l.add(odd_a, odd_b),
        l.add(l.add(square_a, square_b), u[5]),
    ]
}

/// Transforms packed inputs, `[4·rows + 2, columns, c]`, to `[36, tiles, c]`.
struct InputTransform {
    from: *const f32,
    columns: usize,
    c: usize,
    tiles: [usize; 2],
    to: *mut f32,
}

impl Task for InputTransform {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let count = self.tiles[0] * self.tiles[1];
        for t in 0..count {
            let pixel = (t / self.tiles[1] * self.columns + t % self.tiles[1]) * OUT;
            let mut i = 0;
            while i < self.c {
                let lanes = L::LANES.min(self.c - i);
                let mut d = [[l.splat(0.0); IN]; IN];
                // SAFETY: whoever made this has the inputs and room for the outputs of all tiles.
                unsafe {
                    let from = self.from.add(pixel * self.c + i);
                    for column in 0..IN {
                        let mut v = [l.splat(0.0); IN];
                        for row in 0..IN {
                            let at = from.add((row * self.columns + column) * self.c);
                            v[row] = if lanes == L::LANES { l.load(at) } else { l.load_first(at, lanes) };
                        }
                        let v = input_transform(l, v);
                        for row in 0..IN {
                            d[row][column] = v[row];
                        }
                    }
                    let to = self.to.add(t * self.c + i);
                    for row in 0..IN {
                        let v = input_transform(l, d[row]);
                        for column in 0..IN {
                            let at = to.add((row * IN + column) * count * self.c);
                            if lanes == L::LANES {
                                l.store(at, v[column]);
                            } else {
                                l.store_first(at, lanes, v[column]);
                            }
                        }
                    }
                }
                i += lanes;
            }
        }
    }
}

/// Transforms one tile's products back to `[4, columns, vectors · LANES]`.
struct OutputTransform<'a> {
    from: *const f32,
    /// Numbers from one position to the next.
    position: usize,
    vectors: usize,
    /// Columns of results that exist.
    columns: usize,
    to: &'a mut [f32; OUT * OUT * MAX_WIDTH],
}

impl Task for OutputTransform<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        for n in 0..self.vectors {
            // SAFETY: whoever made this has products at every position; a row of results has at most
            // 4 columns of at most MAX_WIDTH numbers.
            unsafe {
                let results = results(l, self.from.add(n * L::LANES), self.position);
                for row in 0..OUT {
                    for column in 0..self.columns {
                        let at = (row * self.columns + column) * self.vectors + n;
                        l.store(self.to.as_mut_ptr().add(at * L::LANES), results[row][column]);
                    }
                }
            }
        }
    }
}

/// One vector of a tile's results.
///
/// # Safety
/// A vector is readable at all 36 positions, `position` numbers apart from `from`.
#[inline(always)]
unsafe fn results<L: Lanes>(l: L, from: *const f32, position: usize) -> [[L::V; OUT]; OUT] {
    let mut m = [[l.splat(0.0); IN]; OUT];
    for column in 0..IN {
        let mut v = [l.splat(0.0); IN];
        for row in 0..IN {
            // SAFETY: the caller's promise.
            v[row] = unsafe { l.load(from.add((row * IN + column) * position)) };
        }
        let v = output_transform(l, v);
        for row in 0..OUT {
            m[row][column] = v[row];
        }
    }
    let mut y = [[l.splat(0.0); OUT]; OUT];
    for row in 0..OUT {
        y[row] = output_transform(l, m[row]);
    }
    y
}

/// Transforms one whole tile's products back and finishes it in registers: bias, statistics, and
/// max(v, slope · v).
struct OutputStore<'a> {
    from: *const f32,
    /// Numbers from one position to the next.
    position: usize,
    vectors: usize,
    /// Channels that exist.
    channels: usize,
    /// The panel's first channel of the tile's first pixel.
    y: *mut f32,
    /// Numbers from one pixel to the next: down and to the right.
    pitches: [usize; 2],
    bias: &'a [f32; MAX_WIDTH],
    slope: f32,
    moments: Option<&'a mut Moments>,
    /// Whether the statistics start with this tile.
    first: bool,
}

impl Task for OutputStore<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let slope = l.splat(self.slope);
        let mut moments = self.moments;
        for n in 0..self.vectors {
            let at = n * L::LANES;
            let lanes = L::LANES.min(self.channels - at);
            // SAFETY: whoever made this has products at every position and `channels` of the panel's
            // channels at every pixel; a panel has at most MAX_WIDTH channels.
            unsafe {
                let bias = l.load(self.bias.as_ptr().add(at));
                let mut z = results(l, self.from.add(at), self.position);
                for v in z.as_flattened_mut() {
                    *v = l.add(*v, bias);
                }
                if let Some(moments) = &mut moments {
                    let [pivot, sum, square] = [&mut moments.pivot, &mut moments.sum, &mut moments.square]
                        .map(|numbers| numbers.as_mut_ptr().add(at));
                    if self.first {
                        l.store(pivot, z[0][0]);
                    }
                    let (pivot, mut s, mut q) = (l.load(pivot), l.load(sum), l.load(square));
                    for v in z.as_flattened() {
                        let d = l.sub(*v, pivot);
                        s = l.add(s, d);
                        q = l.fma(d, d, q);
                    }
                    l.store(sum, s);
                    l.store(square, q);
                }
                for row in 0..OUT {
                    for column in 0..OUT {
                        let to = self.y.add(row * self.pitches[0] + column * self.pitches[1] + at);
                        let v = l.max(l.mul(slope, z[row][column]), z[row][column]);
                        if lanes == L::LANES {
                            l.store(to, v);
                        } else {
                            l.store_first(to, lanes, v);
                        }
                    }
                }
            }
        }
    }
}

/// Transforms one panel of weights in place: `[9, c_in, width]` at the end of the panel becomes
/// `[36, c_in, width]`.
pub struct WeightTransform<'a> {
    /// The panel: room for all 36 positions.
    pub panel: &'a mut [f32],
}

impl Task for WeightTransform<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let each = self.panel.len() / POSITIONS;
        let numbers = self.panel.as_mut_ptr();
        for i in (0..each).step_by(L::LANES) {
            // A vector's nine weights lie where its last nine positions go: they are read first.
            // SAFETY: i + LANES ≤ each (panels are whole vectors), and position < 36.
            unsafe {
                let tap = |k: usize| l.load(numbers.add((POSITIONS - 9 + k) * each + i));
                let mut g = [[l.splat(0.0); 3]; IN];
                for column in 0..3 {
                    let v = weight_transform(l, [tap(column), tap(3 + column), tap(6 + column)]);
                    for row in 0..IN {
                        g[row][column] = v[row];
                    }
                }
                for row in 0..IN {
                    let v = weight_transform(l, g[row]);
                    for column in 0..IN {
                        l.store(numbers.add((row * IN + column) * each + i), v[column]);
                    }
                }
            }
        }
    }
}

/// Transforms the output gradients of a block and panel to `[36, tiles, vectors · LANES]`.
pub struct GradientTransform<'a> {
    /// The panel's first channel of the block's first pixel.
    pub from: *const f32,
    /// Numbers from one pixel to the next: down and to the right.
    pub pitches: [usize; 2],
    /// The block.
    pub block: &'a Block,
    /// Channels that exist.
    pub channels: usize,
    /// Vectors.
    pub vectors: usize,
    /// Receives the transformed gradients.
    pub to: *mut f32,
    /// Receives the sum of the gradients of every channel, `[vectors · LANES]`.
    pub sums: &'a mut [f32; MAX_WIDTH],
}

impl Task for GradientTransform<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let Block { results, tiles, .. } = *self.block;
        let count = tiles[0] * tiles[1];
        let width = self.vectors * L::LANES;
        for n in 0..self.vectors {
            let lanes = L::LANES.min(self.channels - n * L::LANES);
            let mut sum = l.splat(0.0);
            for t in 0..count {
                let tile = [t / tiles[1] * OUT, t % tiles[1] * OUT];
                let [rows, columns] = [0, 1].map(|i| OUT.min(results[i] - tile[i]));
                let pixel = tile[0] * self.pitches[0] + tile[1] * self.pitches[1];
                let mut m = [[l.splat(0.0); OUT]; IN];
                // SAFETY: whoever made this has gradients at every pixel of the block, and room for
                // the transformed ones of all tiles.
                unsafe {
                    let from = self.from.add(pixel + n * L::LANES);
                    for column in 0..OUT {
                        let mut v = [l.splat(0.0); OUT];
                        for row in 0..OUT {
                            if row < rows && column < columns {
                                let at = from.add(row * self.pitches[0] + column * self.pitches[1]);
                                v[row] = if lanes == L::LANES { l.load(at) } else { l.load_first(at, lanes) };
                            }
                            sum = l.add(sum, v[row]);
                        }
                        let v = gradient_transform(l, v);
                        for row in 0..IN {
                            m[row][column] = v[row];
                        }
                    }
                    let to = self.to.add(t * width + n * L::LANES);
                    for row in 0..IN {
                        let v = gradient_transform(l, m[row]);
                        for column in 0..IN {
                            l.store(to.add((row * IN + column) * count * width), v[column]);
                        }
                    }
                }
            }
            // SAFETY: a panel has at most MAX_WIDTH channels.
            unsafe { l.store(self.sums.as_mut_ptr().add(n * L::LANES), sum) };
        }
    }
}

/// Adds the other sums of one panel's transformed weight gradients, `[36, c_in, width]`, to the first
/// and transforms them back, in place: `[9, c_in, width]` at its start.
pub struct WeightGradientTransform<'a> {
    /// The first sum.
    pub panel: &'a mut [f32],
    /// The others.
    pub others: &'a [&'a [f32]],
}

impl Task for WeightGradientTransform<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let each = self.panel.len() / POSITIONS;
        for other in self.others {
            vector::zip(l, self.panel, other, |a, b| l.add(a, b));
        }
        let numbers = self.panel.as_mut_ptr();
        for i in (0..each).step_by(L::LANES) {
            // All positions of a vector are read before its taps are written.
            // SAFETY: i + LANES ≤ each (panels are whole vectors), and position < 36.
            unsafe {
                let mut g = [[l.splat(0.0); IN]; 3];
                for column in 0..IN {
                    let mut v = [l.splat(0.0); IN];
                    for row in 0..IN {
                        v[row] = l.load(numbers.add((row * IN + column) * each + i));
                    }
                    let v = weight_gradient_transform(l, v);
                    for row in 0..3 {
                        g[row][column] = v[row];
                    }
                }
                for row in 0..3 {
                    let v = weight_gradient_transform(l, g[row]);
                    for column in 0..3 {
                        l.store(numbers.add((row * 3 + column) * each + i), v[column]);
                    }
                }
            }
        }
    }
}
