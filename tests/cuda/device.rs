//! An emulated device for gradpath.

use gradpath::device::Device;
use gradpath::runtime::cuda::Cuda;
use gradpath::tensor::DType;

use crate::emulator::{self, Emulator, Session};

/// The emulator to oneself, as a device of architecture `sm` on which gradpath stores maps as `map`. `None`
/// where it cannot be built, which is said.
pub fn open(sm: u32, map: DType) -> Option<(Session<'static>, Cuda)> {
    let session = Emulator::load()?.session();
    session.set_device(&emulator::Device { sm, ..Default::default() });
    let cuda = Cuda::open(0, map).unwrap_or_else(|e| panic!("the emulated device does not open: {e}"));
    Some((session, cuda))
}

/// As a device of gradpath.
pub fn device(cuda: &Cuda, map: DType) -> Device {
    Device::Cuda(cuda.with_map(map))
}
