//! The CUDA backend, unmodified, over an emulated GPU (tests/emulator): every kernel against the reference
//! device, in several schedules; whole training steps; and what a user meets where something is missing.

#[path = "cuda/bench.rs"]
mod bench;
#[path = "cuda/device.rs"]
mod device;
#[path = "emulator/mod.rs"]
mod emulator;
#[path = "cuda/fused_blocks.rs"]
mod fused_blocks;
#[path = "cuda/kernels.rs"]
mod kernels;
#[path = "cuda/losses.rs"]
mod losses;
#[path = "cuda/training.rs"]
mod training;
