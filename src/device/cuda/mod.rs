//! Programs on a CUDA device.

mod launches;
mod session;
mod shortage;
mod tune;

pub use launches::{Addresses, launches};
pub(in crate::device) use session::CudaSession;
pub use tune::{Stopwatch, Tuned, time_on_device, tune};
