//! A tensor and the boxes that one instruction copies of it to shared memory (TMA, from sm_90): as data, and as
//! the 128 bytes that a kernel gets for it.

use std::fmt;
use std::ptr;

use cudarc::driver::sys;

use super::driver_error;
use crate::tensor::DType;
use crate::{Error, ErrorKind, Result};

/// Bytes of a row of a box: what the swizzle exchanges chunks of 16 bytes within.
const ROW_BYTES: usize = 128;
/// The most axes that a tensor map has.
const MOST_AXES: usize = 5;
/// The most elements of a box along an axis.
pub const MOST_BOX: usize = 256;
/// The longest step between elements that a box takes.
pub const MOST_STEP: usize = 8;

/// One axis of a tensor, from the innermost on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Axis {
    size: u64,
    /// Bytes from one element to the next.
    stride: u64,
    /// Elements of a box.
    count: u32,
    /// From one of its elements to the next.
    step: u32,
}

/// A tensor of two-byte elements in device memory, and the boxes that a kernel copies of it. In shared memory a
/// box is rows of 128 bytes along the innermost axis, the 16-byte chunk `c` of row `r` at `c ^ (r % 8)` where the
/// box begins at a multiple of 1024. What a box has outside of the tensor is zero.
///
/// In the kernel: `const __grid_constant__ TensorMap` (`kernels/common/hopper.cuh`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TensorMap {
    dtype: DType,
    address: u64,
    axes: [Axis; MOST_AXES],
    rank: usize,
}

impl TensorMap {
    /// Of `channels` neighbouring elements from `address` on, of which a box has 64. The address must be a
    /// multiple of 16.
    pub fn new(dtype: DType, address: u64, channels: usize) -> Self {
        let size = dtype.size();
        let innermost =
            Axis { size: channels as u64, stride: size as u64, count: (ROW_BYTES / size) as u32, step: 1 };
        let mut axes = [Axis::default(); MOST_AXES];
        axes[0] = innermost;
        TensorMap { dtype, address, axes, rank: 1 }
    }

    /// Adds the next axis: `size` elements, `stride` bytes from one to the next (a multiple of 16), of which a box
    /// has `count`, every `step`-th one. `count · step` is at most [`MOST_BOX`], `step` at most [`MOST_STEP`];
    /// there are at most five axes.
    pub fn axis(mut self, size: usize, stride: usize, count: usize, step: usize) -> Self {
        debug_assert!(self.rank < MOST_AXES, "a tensor map has five axes");
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        if let Some(axis) = self.axes.get_mut(self.rank) {
            *axis =
                Axis { size: size as u64, stride: stride as u64, count: narrow(count), step: narrow(step) };
            self.rank += 1;
        }
        self
    }

    /// The address of the first element.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Bytes from the first element to one past the last.
    pub fn extent_bytes(&self) -> u64 {
        let axes = &self.axes[..self.rank];
        let last: u64 = axes.iter().map(|axis| axis.size.saturating_sub(1) * axis.stride).sum();
        if axes.iter().any(|axis| axis.size == 0) { 0 } else { last + self.dtype.size() as u64 }
    }

    /// As the driver encodes it.
    ///
    /// # Errors
    /// Where the driver is too old to know tensor maps, or refuses this one, which is a defect of the op.
    pub(super) fn encode(&self) -> Result<sys::CUtensorMap> {
        use sys::CUtensorMapDataType as Type;
        let dtype = match self.dtype {
            DType::F32 => Type::CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
            DType::F16 => Type::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
            DType::Bf16 => Type::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        };
        let axes = &self.axes[..self.rank];
        let sizes: Vec<u64> = axes.iter().map(|axis| axis.size).collect();
        let strides: Vec<u64> = axes.iter().skip(1).map(|axis| axis.stride).collect();
        // The driver counts the elements that are passed over too.
        let boxes: Vec<u32> = axes.iter().map(|axis| axis.count.saturating_mul(axis.step)).collect();
        let steps: Vec<u32> = axes.iter().map(|axis| axis.step).collect();
        // SAFETY: the library is there, as a device was opened by it; the symbol is only looked up.
        let is_known = unsafe { sys::culib().get::<*const ()>(b"cuTensorMapEncodeTiled\0").is_ok() };
        if !is_known {
            let message = "the driver knows no tensor maps, which this kernel needs";
            return Err(Error::new(ErrorKind::Device, message).fix("install a driver of CUDA 12 or newer"));
        }
        let mut map = sys::CUtensorMap { opaque: [0; 16] };
        // SAFETY: `map` is aligned as its type is, and the lists have an element an axis; the driver only notes the
        // address.
        let code = unsafe {
            sys::cuTensorMapEncodeTiled(
                &raw mut map,
                dtype,
                self.rank as u32,
                ptr::with_exposed_provenance_mut(self.address as usize),
                sizes.as_ptr(),
                strides.as_ptr(),
                boxes.as_ptr(),
                steps.as_ptr(),
                sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
                sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        };
        match code.result() {
            Ok(()) => Ok(map),
            Err(error) => Err(driver_error(&format!("{self:?} cannot be encoded"), error)),
        }
    }
}

impl fmt::Debug for TensorMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tensor map of {} at {:#x}:", self.dtype, self.address)?;
        for axis in &self.axes[..self.rank] {
            write!(f, " {} by {} bytes (box {}", axis.size, axis.stride, axis.count)?;
            if axis.step != 1 {
                write!(f, ", every {}", axis.step)?;
            }
            write!(f, ")")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_from_the_first_element_to_the_last() {
        // 24 channels of 40, 3 pixels a row, 2 rows that are 5 pixels apart.
        let map = TensorMap::new(DType::Bf16, 64, 24).axis(3, 80, 3, 1).axis(2, 400, 2, 1);
        assert_eq!(map.extent_bytes(), 400 + 2 * 80 + 24 * 2);
        assert_eq!(TensorMap::new(DType::F16, 0, 8).axis(0, 16, 1, 1).extent_bytes(), 0);
    }
}
