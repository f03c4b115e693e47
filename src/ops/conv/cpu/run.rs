//! Runs tap convolutions: the forward convolution, or the parities of an input gradient.

use super::finish::{Finish, Moments, TileResidual};
use super::pack::PackRows;
use super::plan::{Chunks, Pitches, Shared, TapConv, share};
use super::taps::Panel;
use super::tile::{DepthDot, Dot, DotArguments, MAX_ROWS, MAX_TILE, MAX_WIDTH, Store, Tile, by_size};
use super::{Prologue, Residual, ResidualSource, winograd};
use crate::runtime::vector::{self, LEAKY_SLOPE, Lanes, Task};
use crate::runtime::{Activation, Cpu};
use crate::tensor::View;

/// One tap convolution with its operands.
pub struct Job<'a> {
    /// What to compute.
    pub conv: TapConv,
    /// The source.
    pub x: View<'a, f32>,
    /// The packed weights.
    pub packed: &'a [f32],
    /// The result's first channel at pixel 0.
    pub y: Shared,
    /// Numbers from one of the result's pixels to the next.
    pub y_stride: usize,
    /// Applied to the source.
    pub prologue: Option<Prologue<'a>>,
    /// A bias per result channel.
    pub bias: Option<&'a [f32]>,
    /// The activation of the result.
    pub activation: Activation,
    /// What is added to the result.
    pub residual: Option<Residual<'a>>,
    /// Receives mean and sum of squared deviations per chunk: `[chunks, 2, c_out]`.
    pub partials: Option<Shared>,
}

impl Job<'_> {
    /// A panel's biases, zero beyond its channels.
    pub fn panel_bias(&self, panel: &Panel) -> [f32; MAX_WIDTH] {
        let mut bias = [0.0; MAX_WIDTH];
        if let Some(all) = self.bias {
            bias[..panel.channels].copy_from_slice(&all[panel.channel..][..panel.channels]);
        }
        bias
    }

    /// The slope of an epilogue that runs in the micro-kernel's registers, and whether it adds to
    /// what is there; `None` for one that does not.
    pub fn simple(&self) -> Option<(f32, bool)> {
        let slope = match self.activation {
            Activation::Linear => 1.0,
            Activation::Leaky => LEAKY_SLOPE,
            _ => return None,
        };
        let accumulate = match self.residual {
            None => false,
            Some(Residual { source: ResidualSource::InPlace, channels, before_activation: false }) => {
                if channels < self.conv.layout.groups * self.conv.layout.c_out {
                    return None;
                }
                true
            }
            Some(_) => return None,
        };
        // Statistics are of what comes before the activation.
        (self.partials.is_none() || slope == 1.0 && !accumulate).then_some((slope, accumulate))
    }

    /// The residual as a panel's tiles see it.
    pub fn panel_residual(&self, panel: &Panel) -> Option<TileResidual> {
        let residual = self.residual?;
        let channels = residual.channels.saturating_sub(panel.channel).min(panel.channels);
        let (base, stride) = match residual.source {
            ResidualSource::View(view) => (view.as_ptr(), view.pixel_stride()),
            ResidualSource::InPlace => (self.y.0.cast_const(), self.y_stride),
        };
        Some(TileResidual {
            base: base.wrapping_add(panel.channel),
            strides: [stride, self.y_stride],
            channels,
            before_activation: residual.before_activation,
        })
    }

    /// Writes a panel's moments over the `pixels` of a chunk.
    pub fn store_moments(
        &self,
        partials: Shared,
        moments: &Moments,
        chunk: usize,
        panel: &Panel,
        pixels: usize,
    ) {
        let layout = &self.conv.layout;
        let c = layout.groups * layout.c_out;
        for j in 0..panel.channels {
            let (sum, square) = (moments.sum[j], moments.square[j]);
            let shift = sum / pixels as f32;
            // SAFETY: the place of this chunk and channel in `[chunks, 2, c]`, written by nobody else.
            unsafe {
                let to = partials.0.add(chunk * 2 * c + panel.channel + j);
                to.write(moments.pivot[j] + shift);
                to.add(c).write((square - sum * shift).max(0.0));
            }
        }
    }
}

/// What is the same for all of a job's tasks.
struct Prepared<'a> {
    job: &'a Job<'a>,
    chunks: Chunks,
    /// The source is read where it is.
    direct: bool,
    pitches: Pitches,
    segments: Vec<usize>,
    run: usize,
    /// Tasks to a batch of one group.
    parts: usize,
    /// Chunks that follow each other in one task.
    batch: usize,
}

impl<'a> Prepared<'a> {
    fn new(job: &'a Job<'a>, threads: usize) -> Self {
        let conv = &job.conv;
        let chunks = conv.chunks_for(job.prologue.is_some());
        let direct = conv.direct(job.x, job.prologue.is_some());
        let pitches = if direct {
            let pixel = job.x.pixel_stride();
            Pitches { row: conv.columns.in_len * pixel, pixel }
        } else {
            conv.scratch_pitches()
        };
        let (segments, run) = conv.segments(pitches);
        let wanted = (8 * threads).div_ceil(chunks.count * conv.layout.groups);
        let parts = wanted.clamp(1, conv.layout.panels_per_group());
        let batch = (chunks.count / (16 * threads)).clamp(1, 8);
        Prepared { job, chunks, direct, pitches, segments, run, parts, batch }
    }

    fn tasks(&self) -> usize {
        self.chunks.count.div_ceil(self.batch) * self.job.conv.layout.groups * self.parts
    }
}

/// What a convolution's work takes: pixels of each chunk, and numbers of scratch for each thread.
pub fn needs(conv: &TapConv, prologue: bool) -> (Vec<usize>, usize) {
    if conv.winograd {
        let blocks = winograd::Blocks::of(conv);
        return ((0..blocks.count).map(|block| blocks.pixels(block)).collect(), blocks.scratch());
    }
    let chunks = conv.chunks_for(prologue);
    ((0..chunks.count).map(|chunk| chunks.at(chunk).2 * conv.columns.count).collect(), chunks.scratch)
}

/// Runs `jobs`, whose results do not overlap, each thread with `per_worker` numbers of `workspace`
/// (as many as the neediest of them [`needs`]).
pub fn run(cpu: &Cpu, jobs: &[Job], workspace: &mut [f32], per_worker: usize) {
    if let [job] = jobs
        && job.conv.winograd
    {
        return winograd::run(cpu, job, workspace);
    }
    let prepared: Vec<Prepared> = jobs.iter().map(|job| Prepared::new(job, cpu.threads())).collect();
    // Jobs side by side, from top to bottom: what one has read is there for the next.
    let mut tasks: Vec<(usize, usize)> = prepared
        .iter()
        .enumerate()
        .flat_map(|(job, prepared)| (0..prepared.tasks()).map(move |inner| (job, inner)))
        .collect();
    let most = prepared.iter().map(Prepared::tasks).max().unwrap_or(0);
    tasks.sort_by_key(|&(job, inner)| (inner * most / prepared[job].tasks(), job));
    share(cpu, tasks.len(), workspace, per_worker, |scratch, next| {
        vector::dispatch(cpu, Worker { prepared: &prepared, tasks: &tasks, scratch, next });
    });
}

/// One thread's work.
struct Worker<'a> {
    prepared: &'a [Prepared<'a>],
    /// Job, and task of the job.
    tasks: &'a [(usize, usize)],
    scratch: &'a mut [f32],
    next: &'a dyn Fn() -> Option<usize>,
}

impl Task for Worker<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        // What the scratch holds: job, chunk, group.
        let mut held = None;
        while let Some(task) = (self.next)() {
            let (job, inner) = self.tasks[task];
            let prepared = &self.prepared[job];
            let groups = prepared.job.conv.layout.groups;
            let (part, group) = (inner % prepared.parts, inner / prepared.parts % groups);
            let batch = inner / prepared.parts / groups * prepared.batch;
            for chunk in batch..prepared.chunks.count.min(batch + prepared.batch) {
                let key = (job, chunk, group);
                let base = if prepared.direct {
                    prepared.direct_base(chunk, group)
                } else {
                    if held != Some(key) {
                        prepared.pack(l, chunk, group, self.scratch);
                        held = Some(key);
                    }
                    self.scratch.as_ptr()
                };
                let per_group = prepared.job.conv.layout.panels_per_group();
                let range = part * per_group / prepared.parts..(part + 1) * per_group / prepared.parts;
                for index in range.clone() {
                    prepared.panel(l, chunk, group * per_group + index, base, index == range.start);
                }
            }
        }
    }
}

impl Prepared<'_> {
    /// The source of a chunk's first pixel, in the map (or before it, where there is padding).
    fn direct_base(&self, chunk: usize, group: usize) -> *const f32 {
        let conv = &self.job.conv;
        let (image, row, _) = self.chunks.at(chunk);
        let y = (image * conv.rows.in_len + row * conv.rows.in_step).wrapping_add_signed(conv.rows.first());
        let pixel = y.wrapping_mul(conv.columns.in_len).wrapping_add_signed(conv.columns.first());
        let (channel, _) = conv.layout.source(group);
        self.job.x.as_ptr().wrapping_add(pixel.wrapping_mul(self.job.x.pixel_stride()).wrapping_add(channel))
    }

    /// Fills the scratch with a chunk's source.
    #[inline(always)]
    fn pack<L: Lanes>(&self, l: L, chunk: usize, group: usize, scratch: &mut [f32]) {
        let conv = &self.job.conv;
        let (image, row, rows) = self.chunks.at(chunk);
        let (channel, c) = conv.layout.source(group);
        let (rows_spanned, columns) = (conv.rows.span(rows), conv.columns.span(conv.columns.count));
        assert!(
            rows_spanned * columns * self.pitches.pixel <= scratch.len(),
            "the scratch is as long as planned"
        );
        let x = source_of(conv, self.job.x);
        l.call(PackRows {
            x: x.channels(channel..channel + c),
            prologue: self.job.prologue.map(|p| p.channels(channel, c)),
            image,
            row: (row * conv.rows.in_step) as isize + conv.rows.first(),
            rows: rows_spanned,
            column: conv.columns.first(),
            columns,
            to: scratch.as_mut_ptr(),
            pitch: self.pitches.pixel,
        });
    }

    /// One panel of a chunk: tile by tile.
    #[inline(always)]
    fn panel<L: Lanes>(&self, l: L, chunk: usize, index: usize, base: *const f32, first: bool) {
        let (job, conv) = (self.job, &self.job.conv);
        let panel = conv.layout.panel(index);
        let (image, row, rows) = self.chunks.at(chunk);
        let (width, pixels) = (conv.columns.count, rows * conv.columns.count);
        let weight = &job.packed[panel.before * conv.k()..][..conv.k() * panel.vectors * L::LANES];
        let bias = job.panel_bias(&panel);
        let mut tile = Aligned([0.0f32; MAX_TILE]);
        let mut moments = job.partials.map(|_| Moments::new());
        let moments_pointer = moments.as_mut().map(std::ptr::from_mut);
        let residual = job.panel_residual(&panel);
        let simple = job.simple();
        let x = if conv.layout.depthwise { base.wrapping_add(panel.channel) } else { base };
        let y = job.y.0.wrapping_add(panel.channel);
        // Numbers from one source pixel, and from one result pixel, to the next: right and down.
        let right = [conv.columns.in_step * self.pitches.pixel, conv.columns.out_step * job.y_stride];
        let down = [conv.rows.in_step * self.pitches.row, conv.rows.out_step * conv.out_w * job.y_stride];
        let first_row = image * conv.out_h + conv.rows.out_start + row * conv.rows.out_step;
        let start = (first_row * conv.out_w + conv.columns.out_start) * job.y_stride;
        let tiles = pixels.div_ceil(Tile::<L>::ROWS);
        // Where pixels are read once and in order, the first panel asks for those that come next:
        // the next tile's where they lie, or the next chunk's that will be packed.
        let pointwise = conv.columns.count == 1 && conv.taps() == 1 && first;
        let stride = job.x.pixel_stride();
        let coming = self.direct_base(chunk, panel.group);
        let mut done = 0;
        let (mut r, mut c) = (0, 0);
        let (mut from, mut to) = ([0; MAX_ROWS], [0; MAX_ROWS]);
        for t in 0..tiles {
            let count = (t + 1) * pixels / tiles - done;
            let mut at = [r * down[0] + c * right[0], start + r * down[1] + c * right[1]];
            for (from, to) in from.iter_mut().zip(&mut to).take(count) {
                (*from, *to) = (at[0], at[1]);
                c += 1;
                at = [at[0] + right[0], at[1] + right[1]];
                if c == width {
                    (r, c) = (r + 1, 0);
                    at = [r * down[0], start + r * down[1]];
                }
            }
            let arguments = DotArguments {
                x,
                pixels: &from,
                segments: &self.segments,
                run: self.run,
                weight: weight.as_ptr(),
                coming: pointwise.then(|| {
                    let pixel = if self.direct { done + count } else { done + pixels };
                    (coming.wrapping_add(pixel * stride), stride)
                }),
                channels: panel.channels,
                store: simple.map(|(slope, accumulate)| Store {
                    y,
                    pixels: &to,
                    bias: &bias,
                    slope,
                    accumulate,
                    moments: moments_pointer,
                    first: t == 0,
                }),
                tile: tile.0.as_mut_ptr(),
            };
            if conv.layout.depthwise {
                by_size!(@row l, count, DepthDot, &arguments, 1, 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
            } else {
                by_size!(l, count, panel.vectors, Dot, &arguments);
            }
            done += count;
            if simple.is_none() {
                l.call(Finish {
                    tile: tile.0.as_ptr(),
                    count,
                    vectors: panel.vectors,
                    channels: panel.channels,
                    y,
                    pixels: &to,
                    bias: &bias,
                    activation: job.activation,
                    residual,
                    // SAFETY: the one access to them at this time.
                    moments: moments_pointer.map(|moments| unsafe { &mut *moments }),
                    first: t == 0,
                });
            }
        }
        if let (Some(partials), Some(moments)) = (job.partials, moments) {
            job.store_moments(partials, &moments, chunk, &panel, pixels);
        }
    }
}

/// The map as `conv` counts its rows: a pointwise convolution has all pixels one below the other, those of
/// every image.
pub fn source_of<'a>(conv: &TapConv, x: View<'a, f32>) -> View<'a, f32> {
    let shape = x.shape();
    if conv.n != 1 || conv.columns.in_len != 1 {
        return x;
    }
    let column = crate::tensor::Shape::new(1, shape.pixels(), 1, shape.c);
    // SAFETY: the same pixels in the same order.
    unsafe { View::from_raw(x.as_ptr(), column, x.pixel_stride()) }
}

/// A tile on a cache line.
#[repr(align(64))]
struct Aligned([f32; MAX_TILE]);

/// Mean and biased variance of every channel, from the partial moments of chunks of so many `pixels`
/// (Chan, Golub and LeVeque 1979), in double precision and in the order of the chunks.
pub fn combine_moments(pixels: &[usize], partials: &[f32], stats: &mut [f32]) {
    let c = stats.len() / 2;
    for channel in 0..c {
        let (mut count, mut mean, mut m2) = (0.0f64, 0.0f64, 0.0f64);
        for (chunk, pixels) in partials.chunks_exact(2 * c).zip(pixels) {
            let pixels = *pixels as f64;
            let delta = f64::from(chunk[channel]) - mean;
            let total = count + pixels;
            mean += delta * pixels / total;
            m2 += f64::from(chunk[c + channel]) + delta * delta * count * pixels / total;
            count = total;
        }
        stats[channel] = mean as f32;
        stats[c + channel] = (m2 / count) as f32;
    }
}
