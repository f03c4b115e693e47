//! An allocator that counts: how many bytes the program holds, and the most that it held at once.
//!
//! The crates that count either cannot begin anew with the peak, or touch every page of zeroed memory (and would so
//! change what is resident), or copy where the system could grow in place: this one hands every call on as it is.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

static INSTALLED: AtomicBool = AtomicBool::new(false);
static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counting. The `gradpath` program has it; a program that uses the library may:
///
/// ```
/// use gradpath::runtime::CountingAllocator;
///
/// #[global_allocator]
/// static ALLOCATOR: CountingAllocator = CountingAllocator;
///
/// CountingAllocator::reset_peak();
/// let before = CountingAllocator::held().unwrap();
/// drop(vec![0u8; 1 << 20]);
/// assert!(CountingAllocator::peak().unwrap() >= before + (1 << 20));
/// ```
///
/// What is counted are the sizes that were asked for. What the system adds to them, what it keeps after it was
/// freed, stacks, and code are not; what other libraries allocate (a CUDA driver) is not either.
#[derive(Clone, Copy, Debug)]
pub struct CountingAllocator;

impl CountingAllocator {
    /// Bytes held now; `None` where this is not the program's allocator.
    pub fn held() -> Option<usize> {
        INSTALLED.load(Relaxed).then(|| HELD.load(Relaxed))
    }

    /// The most bytes that were held at once since the last [`CountingAllocator::reset_peak`].
    pub fn peak() -> Option<usize> {
        INSTALLED.load(Relaxed).then(|| PEAK.load(Relaxed))
    }

    /// Begins anew with the peak. What other threads allocate at this very moment may be missed.
    pub fn reset_peak() {
        PEAK.store(HELD.load(Relaxed), Relaxed);
    }

    fn add(bytes: usize) {
        let before = HELD.fetch_add(bytes, Relaxed);
        PEAK.fetch_max(before + bytes, Relaxed);
        if !INSTALLED.load(Relaxed) {
            INSTALLED.store(true, Relaxed);
        }
    }
}

// SAFETY: every call is handed to the system's allocator with the arguments that came in, and what it returns is
// handed back: its guarantees are this one's. Counting neither allocates nor panics (sums wrap).
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        let memory = unsafe { System.alloc(layout) };
        if !memory.is_null() {
            Self::add(layout.size());
        }
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let memory = unsafe { System.alloc_zeroed(layout) };
        if !memory.is_null() {
            Self::add(layout.size());
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) };
        HELD.fetch_sub(layout.size(), Relaxed);
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above.
        let moved = unsafe { System.realloc(memory, layout, new_size) };
        if !moved.is_null() {
            // The old bytes first, as where the system grows in place: no moment holds both.
            HELD.fetch_sub(layout.size(), Relaxed);
            Self::add(new_size);
        }
        moved
    }
}
