//! Programs on a CUDA device.

mod launches;
mod session;
mod shortage;

pub use launches::{Addresses, launches};
pub(in crate::device) use session::CudaSession;
