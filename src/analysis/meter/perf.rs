//! Bytes between the last-level cache and memory, by the processor's own counters (Linux `perf`).

#[cfg(target_os = "linux")]
pub use linux::Counters;
#[cfg(not(target_os = "linux"))]
pub use other::Counters;

/// What is counted.
pub const HOW: &str = "perf: loads and stores that missed the last-level cache, 64 bytes each";

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::io::{self, ErrorKind};

    use perf_event::events::{Cache, CacheId, CacheOp, CacheResult, Event};
    use perf_event::{Builder, Counter};

    use crate::Result;

    /// Bytes of a cache line, of x86-64 and nearly all of aarch64.
    const LINE: u64 = 64;

    /// Counters of all threads of this process, not yet running.
    pub struct Counters {
        loads: OfThreads,
        stores: OfThreads,
    }

    impl Counters {
        /// Opens them, or says why they cannot be had and what to do.
        pub fn open() -> std::result::Result<Self, String> {
            let misses = |operation| {
                OfThreads::open(Cache { which: CacheId::LL, operation, result: CacheResult::MISS })
                    .map_err(|e| why(&e))
            };
            Ok(Counters { loads: misses(CacheOp::READ)?, stores: misses(CacheOp::WRITE)? })
        }

        /// Runs `run` and counts: bytes loaded and stored, `None` where the kernel lost count.
        pub fn count(mut self, run: &mut dyn FnMut() -> Result<()>) -> (Result<()>, Option<(u64, u64)>) {
            let started = self.loads.each(Counter::enable).and_then(|()| self.stores.each(Counter::enable));
            let outcome = run();
            let stopped = self.loads.each(Counter::disable).and_then(|()| self.stores.each(Counter::disable));
            let counted = started.and(stopped).and_then(|()| Ok((self.loads.sum()?, self.stores.sum()?)));
            let bytes = |lines: Option<u64>| lines.map(|lines| lines.saturating_mul(LINE));
            let traffic = counted.ok().and_then(|(loads, stores)| Some((bytes(loads)?, bytes(stores)?)));
            (outcome, traffic)
        }
    }

    /// One event, a counter for every thread that there is; threads that these start count with them.
    pub(super) struct OfThreads(Vec<Counter>);

    impl OfThreads {
        pub fn open(event: impl Event + Clone) -> io::Result<Self> {
            let mut counters = Vec::new();
            for thread in fs::read_dir("/proc/self/task")? {
                let name = thread?.file_name();
                let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
                match Builder::new(event.clone()).observe_pid(id).inherit(true).build() {
                    Ok(counter) => counters.push(counter),
                    // ESRCH: the thread has ended since.
                    Err(e) if e.raw_os_error() == Some(3) => {}
                    Err(e) => return Err(e),
                }
            }
            Ok(OfThreads(counters))
        }

        pub fn each(&mut self, act: impl Fn(&mut Counter) -> io::Result<()>) -> io::Result<()> {
            self.0.iter_mut().try_for_each(act)
        }

        /// The sum over threads. Where the processor has fewer counters than were asked for, they took turns, and
        /// each is scaled to the whole time; one that never had its turn makes it `None`.
        pub fn sum(&mut self) -> io::Result<Option<u64>> {
            let mut sum = 0.0;
            for counter in &mut self.0 {
                let read = counter.read_count_and_time()?;
                match (read.time_enabled, read.time_running) {
                    (0, _) => {}
                    (_, 0) => return Ok(None),
                    (enabled, running) => sum += read.count as f64 * (enabled as f64 / running as f64),
                }
            }
            Ok(Some(sum.round() as u64))
        }
    }

    /// Why perf refused, and what helps.
    fn why(error: &io::Error) -> String {
        match error.kind() {
            ErrorKind::PermissionDenied => {
                let level = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
                format!(
                    "the kernel lets this user count nothing (kernel.perf_event_paranoid is {}): \
                     `sudo sysctl kernel.perf_event_paranoid=2` allows it; a container needs CAP_PERFMON",
                    level.trim()
                )
            }
            // ENOENT and EOPNOTSUPP: the event is not known, or has no counter.
            _ if matches!(error.raw_os_error(), Some(2 | 95)) => {
                "this machine has no counter for last-level cache misses (virtual machines often have none): \
                 measure on the host, or count with valgrind's cachegrind"
                    .to_owned()
            }
            _ => format!("perf_event_open failed: {error}"),
        }
    }

    #[cfg(test)]
    mod tests {
        use std::sync::mpsc;
        use std::thread;

        use perf_event::events::Software;

        use super::*;

        /// Nanoseconds that threads compute, which every machine counts, stand in for cache misses.
        fn computing_in(run: impl FnOnce()) -> Option<u64> {
            let mut counters = match OfThreads::open(Software::TASK_CLOCK) {
                Ok(counters) => counters,
                Err(error) => {
                    // A sandbox without perf_event_open: there is nothing to test.
                    println!("not tested: {error}");
                    return None;
                }
            };
            counters.each(Counter::enable).unwrap();
            run();
            counters.each(Counter::disable).unwrap();
            Some(counters.sum().unwrap().unwrap())
        }

        /// Some 10 ms of work on any processor.
        fn compute() {
            (0..20_000_000u32).for_each(|i| {
                std::hint::black_box(i);
            });
        }

        const MILLISECOND: u64 = 1_000_000;

        #[test]
        fn a_thread_that_was_there_before_is_counted() {
            let (go, wait) = mpsc::channel::<()>();
            let (ready, done) = mpsc::channel::<()>();
            let thread = thread::spawn(move || {
                ready.send(()).unwrap();
                wait.recv().unwrap();
                compute();
                ready.send(()).unwrap();
            });
            done.recv().unwrap();
            let time = computing_in(|| {
                go.send(()).unwrap();
                done.recv().unwrap();
            });
            // Where perf is closed to us, the thread still waits.
            if time.is_none() {
                go.send(()).unwrap();
            }
            thread.join().unwrap();
            assert!(time.is_none_or(|time| time > MILLISECOND), "{time:?}");
        }

        #[test]
        fn a_thread_that_is_started_meanwhile_is_counted() {
            let time = computing_in(|| thread::spawn(compute).join().unwrap());
            assert!(time.is_none_or(|time| time > MILLISECOND), "{time:?}");
        }

        #[test]
        fn a_refusal_says_what_to_do() {
            let text = |errno| why(&io::Error::from_raw_os_error(errno));
            assert!(text(13).contains("sysctl kernel.perf_event_paranoid=2"), "{}", text(13));
            assert!(text(2).contains("virtual machine"), "{}", text(2));
            assert!(text(24).starts_with("perf_event_open failed: "), "{}", text(24));
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use crate::Result;

    /// No counters.
    pub struct Counters;

    impl Counters {
        /// Says that there are none.
        pub fn open() -> std::result::Result<Self, String> {
            Err("only Linux lets a process count cache misses".to_owned())
        }

        /// Runs `run`.
        pub fn count(self, run: &mut dyn FnMut() -> Result<()>) -> (Result<()>, Option<(u64, u64)>) {
            (run(), None)
        }
    }
}
