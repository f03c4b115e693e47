//! Whole-system tests against the public API, one binary: PyTorch's numbers, compiled programs against
//! the graphs they were made from, determinism, memory.

#[path = "system/compiled.rs"]
mod compiled;
#[path = "system/determinism.rs"]
mod determinism;
#[path = "system/fused_blocks.rs"]
mod fused_blocks;
#[path = "system/golden.rs"]
mod golden;
#[path = "system/machine.rs"]
mod machine;
#[path = "system/memory.rs"]
mod memory;
#[path = "system/models.rs"]
mod models;
#[path = "system/parity.rs"]
mod parity;
#[path = "system/random_networks.rs"]
mod random_networks;
