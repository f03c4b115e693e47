//! The threads that host kernels run on.

use std::sync::Arc;

use rayon::prelude::*;

use super::SimdLevel;
use crate::{Error, ErrorKind, Result};

/// The host processor as kernels see it: a pool of threads and a SIMD level.
#[derive(Clone)]
pub struct Cpu {
    pool: Arc<rayon::ThreadPool>,
    simd: SimdLevel,
}

impl std::fmt::Debug for Cpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cpu").field("threads", &self.threads()).field("simd", &self.simd).finish()
    }
}

impl Cpu {
    /// A processor with `threads` threads (0: as many as the machine has) at its best SIMD level.
    ///
    /// # Errors
    /// Where the operating system refuses the threads.
    pub fn new(threads: usize) -> Result<Self> {
        Self::with_simd(threads, SimdLevel::detect())
    }

    /// The same at a lower SIMD level, for tests and comparisons. `simd` must be one of
    /// [`SimdLevel::available`]; a level above the processor's own is lowered to it.
    pub fn with_simd(threads: usize, simd: SimdLevel) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("gradpath-{i}"))
            .build()
            .map_err(|e| Error::new(ErrorKind::Device, "cannot start the worker threads").caused_by(e))?;
        Ok(Cpu { pool: Arc::new(pool), simd: simd.min(SimdLevel::detect()) })
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// The SIMD level.
    pub fn simd(&self) -> SimdLevel {
        self.simd
    }

    /// Runs `work` inside the pool, so that rayon's iterators in it use these threads. Calling it
    /// from inside the pool costs nothing.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }

    /// Runs `task` on every item, in parallel. Items are handed out one by one: make them large
    /// enough to be worth a hand-over (tens of microseconds).
    pub fn for_each<T: Send>(&self, items: Vec<T>, task: impl Fn(T) + Sync + Send) {
        if items.len() <= 1 || self.threads() == 1 {
            items.into_iter().for_each(task);
        } else {
            self.install(|| items.into_par_iter().with_max_len(1).for_each(task));
        }
    }
}
