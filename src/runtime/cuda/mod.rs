//! What a kernel needs to run on an NVIDIA GPU: launches as data, kernel sources, NVRTC, the cache of
//! compiled kernels, and the driver.

mod launch;
mod status;

pub use launch::{Argument, Define, DeviceView, Kernel, Launch, Operands, Target};
pub use status::{DataError, DataErrorKind};
