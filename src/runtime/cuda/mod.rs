//! What a kernel needs to run on an NVIDIA GPU: launches as data, kernel sources, NVRTC, the cache of
//! compiled kernels, and the driver.

mod cache;
mod compiler;
mod cubin;
mod driver_status;
mod gpu;
mod launch;
mod libraries;
mod memory;
mod nvrtc;
mod problem;
mod readiness;
mod sources;
mod status;
mod tensor_map;
mod tunings;

pub use cache::{CACHE_VARIABLE, Cache, CacheSize};
pub use compiler::{Compiled, Compiler};
pub use cubin::{Parameter, Resources, Table, check_arguments, table as parameter_table};
pub use driver_status::{DeviceInfo, DriverStatus, OLDEST_ARCH, driver_status};
pub use gpu::{Cuda, driver_error, launch};
pub use launch::{Argument, Define, DeviceView, Kernel, Launch, Operands, Target};
pub use libraries::{CudaLibrary, NVRTC_VARIABLE, Outcome, Place, Search, driver as driver_search};
pub use memory::{DeviceMemory, PinnedMemory};
pub use nvrtc::{Cubin, INSTALL as INSTALL_NVRTC, Nvrtc, options as nvrtc_options, search as nvrtc_search};
pub use problem::Problem;
pub use readiness::{Readiness, readiness};
pub use sources::{Source, kernel_files};
pub use status::{DataError, DataErrorKind};
pub use tensor_map::{MOST_BOX, MOST_STEP, TensorMap};
pub use tunings::{Fingerprints, Tuning, TuningStore, Tunings};

/// Whether NVIDIA's driver is on this machine, whatever it finds.
pub fn driver_is_present() -> bool {
    driver_search().found().is_some()
}
