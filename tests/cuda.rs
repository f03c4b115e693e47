//! The CUDA backend, unmodified, over an emulated GPU (tests/emulator): every kernel against the reference
//! device, in several schedules; whole training steps; and what a user meets where something is missing.

#[path = "cuda/bad_input.rs"]
mod bad_input;
#[path = "cuda/bench.rs"]
mod bench;
#[path = "cuda/claims.rs"]
mod claims;
#[path = "cuda/device.rs"]
mod device;
#[path = "emulator/mod.rs"]
mod emulator;
#[path = "cuda/failures.rs"]
mod failures;
#[path = "cuda/fused_blocks.rs"]
mod fused_blocks;
#[path = "cuda/kernels.rs"]
mod kernels;
#[path = "cuda/inference.rs"]
mod inference;
#[path = "cuda/losses.rs"]
mod losses;
#[path = "cuda/memory.rs"]
mod memory;
#[path = "cuda/plans.rs"]
mod plans;
#[path = "cuda/traffic.rs"]
mod traffic;
#[path = "cuda/training.rs"]
mod training;
