//! Memory that a driver hands out: on the device, and pinned on the host.

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::{CudaContext, DriverError, result, sys};

/// Device memory, freed when dropped.
#[derive(Debug)]
pub struct DeviceMemory {
    context: Arc<CudaContext>,
    address: sys::CUdeviceptr,
    bytes: usize,
}

impl DeviceMemory {
    /// Allocates `bytes`, whose content is undefined; no bytes take no memory.
    ///
    /// # Errors
    /// What the driver says.
    pub(super) fn new(context: &Arc<CudaContext>, bytes: usize) -> Result<Self, DriverError> {
        context.bind_to_thread()?;
        let address = if bytes == 0 {
            0
        } else {
            // SAFETY: a context is current; the memory is freed once, by `drop`.
            unsafe { result::malloc_sync(bytes)? }
        };
        Ok(DeviceMemory { context: context.clone(), address, bytes })
    }

    /// The address of the first byte, a multiple of 256.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        if self.bytes > 0 && self.context.bind_to_thread().is_ok() {
            // SAFETY: allocated by `new`, and nothing uses it any more: who launches work on it waits for
            // that work before it drops the memory. An error here is an earlier one's echo.
            let _ = unsafe { result::free_sync(self.address) };
        }
    }
}

/// Host memory that the device reads by itself, so that copies go on beside everything else.
#[derive(Debug)]
pub struct PinnedMemory {
    context: Arc<CudaContext>,
    pointer: *mut c_void,
    bytes: usize,
}

// SAFETY: the memory belongs to this value alone, and the driver's calls on it may come from any thread.
unsafe impl Send for PinnedMemory {}

impl PinnedMemory {
    /// Allocates `bytes`, at least one.
    ///
    /// # Errors
    /// What the driver says.
    pub(super) fn new(context: &Arc<CudaContext>, bytes: usize) -> Result<Self, DriverError> {
        context.bind_to_thread()?;
        // SAFETY: a context is current; the memory is freed once, by `drop`.
        let pointer = unsafe { result::malloc_host(bytes.max(1), 0)? };
        Ok(PinnedMemory { context: context.clone(), pointer, bytes })
    }

    /// The bytes.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: `bytes` bytes were allocated and any value is a byte; `&mut self` keeps others away, and
        // who started a copy from here waits for its end before asking for the bytes again.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.cast(), self.bytes) }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(self.pointer.cast_const().cast(), self.bytes) }
    }
}

impl Drop for PinnedMemory {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: allocated by `new`; copies from or to it have ended, as for `DeviceMemory`.
            let _ = unsafe { result::free_host(self.pointer) };
        }
    }
}
