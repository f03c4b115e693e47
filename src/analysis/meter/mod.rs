//! What really happened while something ran: bytes held, bytes resident, bytes between caches and memory.
//!
//! The cost model and the memory plan predict; a [`Meter`] reads. `docs/measuring.md` says how near each comes.

mod perf;
mod resident;

use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::Result;
use crate::runtime::CountingAllocator;

/// What a meter saw while something ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reading {
    /// The most bytes held at once above what was held before; `None` where nobody counts.
    pub allocated_peak: Option<usize>,
    /// The most bytes resident at once above what was resident before; `None` where the system does not say.
    pub resident_peak: Option<usize>,
    /// Bytes from memory and to memory, (read, written); `None` where they cannot be counted.
    pub traffic: Option<(u64, u64)>,
}

/// Something that can say what a run took.
pub trait Meter {
    /// How traffic is counted, or why it is not, for people.
    fn how(&self) -> String;

    /// Whether traffic is counted to the byte, so that it can be held against the model. Hardware counters are not:
    /// caches keep what fits, and prefetchers fetch what nobody asked for.
    fn is_exact(&self) -> bool {
        false
    }

    /// Runs `run` once and says what it took.
    ///
    /// # Errors
    /// As `run`; or where the meter fails.
    fn watch(&mut self, run: &mut dyn FnMut() -> Result<()>) -> Result<Reading>;
}

/// The meter of this process on this machine.
///
/// - Allocated: the [`CountingAllocator`], where the program has it. To the byte, of what was asked for.
/// - Resident: `VmHWM` (Linux), in pages, to within what the kernel counts late (some dozens of pages a processor).
///   Freed memory that the allocator kept counts as resident before.
/// - Traffic: on Linux, lines of 64 bytes that loads (read) and stores (written) of this process brought into the
///   last-level cache, where the kernel and the processor let a process count them. A prefetcher's lines may be
///   missing, so that it is a lower bound.
///
/// All three are of the whole process: what other threads do meanwhile is in them. One watches at a time; a second,
/// in another thread, waits for the first. One inside of another would wait for ever.
#[derive(Debug)]
pub struct ProcessMeter {
    traffic: std::result::Result<(), String>,
}

/// Held while a meter of the process watches: peaks are begun anew for all.
static WATCHING: Mutex<()> = Mutex::new(());

impl ProcessMeter {
    /// Finds out what can be read here.
    pub fn new() -> Self {
        ProcessMeter { traffic: perf::Counters::open().map(|_| ()) }
    }
}

impl Default for ProcessMeter {
    fn default() -> Self {
        Self::new()
    }
}

impl Meter for ProcessMeter {
    fn how(&self) -> String {
        match &self.traffic {
            Ok(()) => perf::HOW.to_owned(),
            Err(why) => format!("not counted: {why}"),
        }
    }

    fn watch(&mut self, run: &mut dyn FnMut() -> Result<()>) -> Result<Reading> {
        // What a watch that panicked left behind is set anew here.
        let _watching = WATCHING.lock().unwrap_or_else(PoisonError::into_inner);
        // Opened first: they allocate.
        let counters = self.traffic.is_ok().then(perf::Counters::open).and_then(std::result::Result::ok);
        let resident = resident::reset_peak();
        CountingAllocator::reset_peak();
        let held = CountingAllocator::held();
        let (outcome, traffic) = match counters {
            Some(counters) => counters.count(run),
            None => (run(), None),
        };
        let above = |peak: Option<usize>, before: Option<usize>| Some(peak?.saturating_sub(before?));
        let allocated_peak = above(CountingAllocator::peak(), held);
        let resident_peak = resident.and_then(|before| above(resident::peak(), Some(before)));
        outcome?;
        Ok(Reading { allocated_peak, resident_peak, traffic })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn a_run_is_watched_once_and_its_error_is_handed_on() {
        let mut meter = ProcessMeter::new();
        let mut runs = 0;
        let reading = meter.watch(&mut || {
            runs += 1;
            Ok(())
        });
        // The tests of the library run without the counting allocator.
        assert_eq!((runs, reading.unwrap().allocated_peak), (1, None));
        let error = meter.watch(&mut || Err(Error::invalid("no"))).unwrap_err();
        assert_eq!(error.to_string(), "no");
        assert!(meter.watch(&mut || Ok(())).is_ok());
        assert!(!meter.how().is_empty());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn touched_memory_is_resident() {
        const BYTES: usize = 64 << 20;
        let watch = |touched: bool| {
            let mut run = || {
                let mut memory = vec![0u8; BYTES];
                if touched {
                    memory.iter_mut().step_by(1024).for_each(|byte| *byte = 1);
                }
                std::hint::black_box(&memory);
                Ok(())
            };
            ProcessMeter::new().watch(&mut run).unwrap().resident_peak
        };
        // Where the system does not let a process begin anew with its peak there is nothing to hold it to.
        let (Some(touched), Some(_)) = (watch(true), watch(false)) else { return };
        assert!(touched > BYTES - (4 << 20), "{touched}");
    }
}
