//! What the control functions take and give, as control.h declares it, and as tests see it.

use std::ffi::c_char;

/// In which order threads and blocks run; see control.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Order {
    Ascending = 0,
    Descending = 1,
    WarpPriority = 2,
    Shuffled = 3,
}

impl Order {
    pub const ALL: [Order; 4] = [Order::Ascending, Order::Descending, Order::WarpPriority, Order::Shuffled];
}

/// How kernels run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    pub order: Order,
    pub seed: u64,
    /// Check and count every access: bounds, races, uninitialised reads, alignment. Five to seven times slower.
    pub trace: bool,
    /// Do not print errors; [`Session::last_error`] has them all the same.
    pub quiet: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { order: Order::Ascending, seed: 1, trace: false, quiet: false }
    }
}

#[repr(C)]
pub(super) struct RawOptions {
    pub(super) order: u32,
    pub(super) trace: u32,
    pub(super) seed: u64,
    pub(super) quiet: u64,
}

/// The device that the program sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub name: String,
    /// 10 · major + minor of the compute capability.
    pub sm: u32,
    pub multiprocessors: u32,
    /// Allocations beyond this fail.
    pub memory_bytes: u64,
    /// 1000 · major + 10 · minor.
    pub driver_version: u32,
    pub count: u32,
}

impl Default for Device {
    fn default() -> Self {
        Self {
            name: "Emulator".into(),
            sm: 80,
            multiprocessors: 4,
            memory_bytes: 4 << 30,
            driver_version: 13000,
            count: 1,
        }
    }
}

#[repr(C)]
pub(super) struct RawDevice {
    pub(super) name: [c_char; 64],
    pub(super) sm: u32,
    pub(super) multiprocessors: u32,
    pub(super) memory_bytes: u64,
    pub(super) driver_version: u32,
    pub(super) count: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct RawLaunch {
    pub(super) kernel: [c_char; 128],
    pub(super) grid: [u32; 3],
    pub(super) block: [u32; 3],
    pub(super) dynamic_shared: u32,
    pub(super) static_shared: u32,
    pub(super) traced: u32,
    pub(super) failed: u32,
    pub(super) counts: Counts,
}

/// What a traced launch did; zeros if it was not traced (but `atomics`, `float_atomics` and `barriers`). Bytes are
/// of global memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes read at least once.
    pub unique_read_bytes: u64,
    /// Bytes written at least once.
    pub unique_write_bytes: u64,
    /// The sum over all reads.
    pub read_bytes: u64,
    /// The sum over all writes.
    pub write_bytes: u64,
    /// 32 for each aligned 32-byte sector read at least once: what memory must deliver.
    pub sector_read_bytes: u64,
    /// 32 for each aligned 32-byte sector written at least once.
    pub sector_write_bytes: u64,
    /// Warp instructions on global memory.
    pub requests: u64,
    /// Sectors that these touched.
    pub sectors: u64,
    /// The fewest sectors that their bytes fill.
    pub ideal_sectors: u64,
    /// Warp instructions on shared memory: per half warp for 8 bytes a lane, per quarter for 16.
    pub shared_requests: u64,
    /// Passes over the 32 banks that these need; more than requests means bank conflicts.
    pub shared_wavefronts: u64,
    /// Atomic operations of single lanes.
    pub atomics: u64,
    /// Those on floating-point numbers: their sum depends on the order.
    pub float_atomics: u64,
    /// Barriers passed, over all blocks.
    pub barriers: u64,
}

/// One kernel launch that has run.
#[derive(Clone, Debug)]
pub struct Launch {
    pub kernel: String,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: u32,
    pub static_shared: u32,
    pub traced: bool,
    pub failed: bool,
    pub counts: Counts,
    /// By allocation, of those that the launch touched; by address.
    pub traffic: Vec<Traffic>,
}

/// What a traced launch did to one allocation, in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub address: u64,
    pub bytes: u64,
    pub unique_read_bytes: u64,
    pub unique_write_bytes: u64,
    pub sector_read_bytes: u64,
    pub sector_write_bytes: u64,
}

/// What one instruction of a traced launch asked of memory, over all blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// `types.cuh:48 in conv.cu:120`: the source line, and the calls that are inlined around it.
    pub line: String,
    pub shared: bool,
    pub written: bool,
    pub requests: u64,
    /// Sectors of global or wavefronts of shared memory.
    pub passes: u64,
    /// The fewest possible.
    pub ideal_passes: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct RawSite {
    pub(super) line: [c_char; 128],
    pub(super) shared: u32,
    pub(super) written: u32,
    pub(super) requests: u64,
    pub(super) passes: u64,
    pub(super) ideal_passes: u64,
}

/// What the program holds of the device's memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub live_allocations: u64,
    pub live_bytes: u64,
    /// The most since the session began.
    pub peak_bytes: u64,
    /// Calls of the allocation functions since the session began.
    pub allocation_calls: u64,
    /// Pinned host memory.
    pub pinned_bytes: u64,
}
