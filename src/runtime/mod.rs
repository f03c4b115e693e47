//! What a kernel needs to run: on the host threads and the SIMD level of the processor, on a GPU [`cuda`]; and the allocator that counts.

mod allocator;
pub mod cuda;
mod simd;
mod threads;
pub mod vector;

pub use allocator::CountingAllocator;
pub use simd::SimdLevel;
pub use threads::Cpu;
pub use vector::Activation;
