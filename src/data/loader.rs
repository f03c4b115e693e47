//! Batches for training and scoring, made ahead of time by threads of their own.
//!
//! What a batch holds depends on (seed, epoch, position) alone: every random choice is drawn from a
//! generator keyed by them, so neither the number of threads nor where one resumes shows.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

use super::augment::{self, AugmentOptions, augment, letterbox};
use super::{Affine, Dataset, Object, Sample};
use crate::tensor::{Random, Shape, Tensor};
use crate::{Error, Result};

/// Pictures to be augmented are kept at this many times the size at which they fill the frame:
/// enough for a crop to be sharp, and small enough to keep and to resample.
const DETAIL: f32 = 1.5;

/// How batches are made.
#[derive(Clone, Debug)]
pub struct LoaderOptions {
    /// The network's input in pixels: (width, height).
    pub size: (usize, usize),
    /// Images per batch.
    pub batch: usize,
    /// Seed of order and augmentation.
    pub seed: u64,
    /// A new order every epoch, rather than the dataset's own.
    pub shuffle: bool,
    /// Leaves out a last batch that is not full.
    pub drop_last: bool,
    /// What is changed at random; `None`: only letterboxed, as for scoring.
    pub augment: Option<AugmentOptions>,
    /// Threads that make batches; 0: made when asked for, by the caller's thread.
    pub threads: usize,
    /// How many batches may be ready or under way before the caller asks for them.
    pub prefetch: usize,
    /// Decoded images are kept in memory up to this many bytes, for the epochs to come.
    pub cache_bytes: usize,
}

impl Default for LoaderOptions {
    /// Batches of 16 at 160 × 160, shuffled and augmented, one thread, a cache of 512 MiB.
    fn default() -> Self {
        LoaderOptions {
            size: (160, 160),
            batch: 16,
            seed: 0,
            shuffle: true,
            drop_last: false,
            augment: Some(AugmentOptions::default()),
            threads: 1,
            prefetch: 3,
            cache_bytes: 512 << 20,
        }
    }
}

impl LoaderOptions {
    /// For scoring: every sample once, in order, only letterboxed.
    pub fn plain(size: (usize, usize), batch: usize) -> Self {
        LoaderOptions { size, batch, shuffle: false, augment: None, ..Self::default() }
    }
}

/// Images and what is in them.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The pixels in 0..=1, `[n, height, width, 3]`.
    pub images: Tensor,
    /// Each image's objects, in pixels of `images`.
    pub targets: Vec<Vec<Object>>,
    /// Each image's index in the dataset; a mosaic's first.
    pub indices: Vec<usize>,
    /// Each image's name; a mosaic's first.
    pub names: Vec<String>,
    /// The map from the dataset's pixels to those of `images`; a mosaic's first.
    pub transforms: Vec<Affine>,
    /// Each image's (width, height) in the dataset; a mosaic's first.
    pub sizes: Vec<(usize, usize)>,
}

/// Makes batches of a dataset.
#[derive(Clone)]
pub struct Loader(Arc<Inner>);

struct Inner {
    dataset: Arc<dyn Dataset>,
    options: LoaderOptions,
    cache: Vec<OnceLock<Arc<Prepared>>>,
    cached_bytes: AtomicUsize,
}

/// A sample, shrunk to what augmentation needs, or letterboxed where there is none.
struct Prepared {
    sample: Sample,
    /// From the dataset's pixels to the sample's.
    map: Affine,
    /// Width and height in the dataset.
    size: (usize, usize),
}

impl Loader {
    /// A loader of `dataset`.
    ///
    /// # Errors
    /// Where the batch, a side of the input or the dataset is 0, or the dataset is smaller than the
    /// one full batch that [`LoaderOptions::drop_last`] asks for.
    pub fn new(dataset: Arc<dyn Dataset>, options: LoaderOptions) -> Result<Self> {
        let (width, height) = options.size;
        if options.batch == 0 || width == 0 || height == 0 {
            let message = format!("batches of {} images of {width}×{height} are empty", options.batch);
            return Err(Error::invalid(message).fix("choose a batch and an input size of at least 1"));
        }
        Shape::new(options.batch, height, width, 3).checked_elements()?;
        let (count, name) = (dataset.len(), dataset.name());
        if count == 0 {
            return Err(
                Error::invalid(format!("{name} is empty")).fix("add images, or choose another dataset")
            );
        }
        if options.drop_last && count < options.batch {
            let message = format!("{name} has {count} images, fewer than a batch of {}", options.batch);
            return Err(Error::invalid(message).fix("choose a smaller batch"));
        }
        let cache = (0..count).map(|_| OnceLock::new()).collect();
        Ok(Loader(Arc::new(Inner { dataset, options, cache, cached_bytes: AtomicUsize::new(0) })))
    }

    /// The dataset.
    pub fn dataset(&self) -> &Arc<dyn Dataset> {
        &self.0.dataset
    }

    /// The options.
    pub fn options(&self) -> &LoaderOptions {
        &self.0.options
    }

    /// The number of batches in an epoch.
    pub fn batches(&self) -> usize {
        let (count, batch) = (self.0.dataset.len(), self.0.options.batch);
        if self.0.options.drop_last { count / batch } else { count.div_ceil(batch) }
    }

    /// The batches of an epoch (from 0).
    pub fn epoch(&self, epoch: u64) -> Batches {
        self.epoch_from(epoch, 0)
    }

    /// The batches of an epoch from number `first` on: the same as those that [`Loader::epoch`]
    /// gives after its first `first`.
    pub fn epoch_from(&self, epoch: u64, first: usize) -> Batches {
        let total = self.batches();
        let work = Arc::new(Work {
            inner: Arc::clone(&self.0),
            plan: Plan::new(&self.0, epoch),
            total,
            state: Mutex::new(State { next: first, taken: first, ready: BTreeMap::new(), stop: false }),
            changed: Condvar::new(),
        });
        let threads = self.0.options.threads.min(total.saturating_sub(first));
        let spawn = |i: usize| {
            let work = Arc::clone(&work);
            let builder = std::thread::Builder::new().name(format!("gradpath-loader-{i}"));
            builder.spawn(move || work.run()).ok()
        };
        // A thread that the system refuses is done without: its batches are made by the others or,
        // where there are none, by the caller.
        let threads = (0..threads).filter_map(spawn).collect();
        Batches { work, threads, position: first }
    }
}

/// The random choices that belong to an epoch.
struct Plan {
    order: Vec<usize>,
    seed: u64,
}

impl Plan {
    fn new(inner: &Inner, epoch: u64) -> Self {
        let seed = Random::keyed(inner.options.seed, epoch).next_u64();
        let mut order: Vec<usize> = (0..inner.dataset.len()).collect();
        if inner.options.shuffle {
            Random::named(seed, "order").shuffle(&mut order);
        }
        Plan { order, seed }
    }
}

impl Inner {
    fn prepare(&self, index: usize) -> Result<Arc<Prepared>> {
        let slot = self.cache.get(index);
        if let Some(prepared) = slot.and_then(OnceLock::get) {
            return Ok(Arc::clone(prepared));
        }
        let sample = self.dataset.sample(index)?;
        let size = (sample.image.width(), sample.image.height());
        let (sample, map) = if self.options.augment.is_none() {
            letterbox(&sample, self.options.size)
        } else {
            shrink(sample, self.options.size)
        };
        let prepared = Arc::new(Prepared { sample, map, size });
        // What the cache holds depends on who comes first, but a cached sample is the same as a new
        // one, so this does not show in the batches.
        let bytes = prepared.sample.image.pixels().len();
        let used = self.cached_bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = used.saturating_add(bytes) <= self.options.cache_bytes;
        if !fits || slot.is_none_or(|slot| slot.set(Arc::clone(&prepared)).is_err()) {
            self.cached_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        Ok(prepared)
    }

    /// The sample at `position` of the epoch's order, as the network is to see it.
    fn sample(&self, plan: &Plan, position: usize) -> Result<(Sample, Affine, Arc<Prepared>)> {
        let own = self.prepare(plan.order[position])?;
        let Some(options) = &self.options.augment else {
            return Ok((own.sample.clone(), own.map, own));
        };
        let mut random = Random::keyed(plan.seed, position as u64);
        let (sample, map) = if random.chance(options.mosaic) {
            let mut other = || self.prepare(random.below(self.dataset.len()));
            let others = [other()?, other()?, other()?];
            let [a, b, c] = &others;
            let four = [&own.sample, &a.sample, &b.sample, &c.sample];
            augment::mosaic(four, self.options.size, options, &mut random)
        } else {
            augment(&own.sample, self.options.size, options, &mut random)
        };
        Ok((sample, own.map.then(map), own))
    }

    fn batch(&self, plan: &Plan, number: usize) -> Result<Batch> {
        let first = number * self.options.batch;
        let positions = first..(first + self.options.batch).min(plan.order.len());
        let (width, height) = self.options.size;
        let shape = Shape::new(positions.len(), height, width, 3);
        let mut pixels = Vec::with_capacity(shape.elements());
        let (mut targets, mut names) = (Vec::new(), Vec::new());
        let (mut indices, mut transforms, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
        for position in positions {
            let (sample, map, own) = self.sample(plan, position)?;
            pixels.extend(sample.image.pixels().iter().map(|&v| f32::from(v) / 255.0));
            targets.push(sample.objects);
            names.push(sample.name);
            indices.push(plan.order[position]);
            transforms.push(map);
            sizes.push(own.size);
        }
        Ok(Batch { images: Tensor::new(shape, pixels)?, targets, indices, names, transforms, sizes })
    }

    /// As [`Inner::batch`], but a defect becomes an error: a thread that died in silence would leave
    /// the caller waiting for ever.
    fn batch_or_defect(&self, plan: &Plan, number: usize) -> Result<Batch> {
        catch_unwind(AssertUnwindSafe(|| self.batch(plan, number))).unwrap_or_else(|_| {
            let name = self.dataset.name();
            Err(Error::internal(format!("making batch {number} of {name} panicked")))
        })
    }
}

/// The sample at [`DETAIL`] times the size at which it fills the frame, where it is larger.
fn shrink(sample: Sample, frame: (usize, usize)) -> (Sample, Affine) {
    let size = (sample.image.width(), sample.image.height());
    let scale = Affine::letterbox(size, frame).scale.0 * DETAIL;
    if scale >= 1.0 {
        return (sample, Affine::IDENTITY);
    }
    let side = |length: usize| ((length as f32 * scale).round() as usize).max(1);
    let target = (side(size.0), side(size.1));
    let map = Affine::stretch(size, target);
    (augment::stretch(&sample, target), map)
}

/// What the threads of one epoch share.
struct Work {
    inner: Arc<Inner>,
    plan: Plan,
    total: usize,
    state: Mutex<State>,
    /// Signalled at every change of `state`.
    changed: Condvar,
}

struct State {
    /// The next batch to be started.
    next: usize,
    /// The batch that the caller waits for, or will.
    taken: usize,
    ready: BTreeMap<usize, Result<Batch>>,
    stop: bool,
}

impl Work {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, guard: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread: starts batches in order, no more than `prefetch` ahead of the caller.
    fn run(&self) {
        let ahead = self.inner.options.prefetch.max(1);
        loop {
            let number = {
                let mut state = self.lock();
                while !state.stop && state.next < self.total && state.next >= state.taken + ahead {
                    state = self.wait(state);
                }
                if state.stop || state.next >= self.total {
                    return;
                }
                state.next += 1;
                state.next - 1
            };
            let batch = self.inner.batch_or_defect(&self.plan, number);
            self.lock().ready.insert(number, batch);
            self.changed.notify_all();
        }
    }
}

/// The batches of an epoch, in order. After an error there are no more. Dropping it early stops its
/// threads once their batches under way are done.
pub struct Batches {
    work: Arc<Work>,
    threads: Vec<JoinHandle<()>>,
    position: usize,
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        if self.position >= self.work.total {
            return None;
        }
        let number = self.position;
        let batch = if self.threads.is_empty() {
            self.work.inner.batch_or_defect(&self.work.plan, number)
        } else {
            let mut state = self.work.lock();
            let batch = loop {
                match state.ready.remove(&number) {
                    Some(batch) => break batch,
                    None => state = self.work.wait(state),
                }
            };
            state.taken = number + 1;
            self.work.changed.notify_all();
            batch
        };
        self.position = if batch.is_ok() { number + 1 } else { self.work.total };
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.work.total.saturating_sub(self.position)))
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.work.lock().stop = true;
        self.work.changed.notify_all();
        for thread in self.threads.drain(..) {
            // Threads catch their panics; there is nothing more to learn from a failed join.
            let _ = thread.join();
        }
    }
}
