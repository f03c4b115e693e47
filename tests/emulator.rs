//! The CUDA emulator, held against kernels with planted bugs, traffic counted by hand, and plain loops. Needs g++;
//! see tests/emulator/README.md.
#![cfg(target_os = "linux")]

#[path = "emulator/mod.rs"]
mod emulator;
#[path = "emulator/suite/program.rs"]
#[macro_use]
mod program;

#[path = "emulator/suite/planted.rs"]
mod planted;
#[path = "emulator/suite/driver.rs"]
mod driver_api;
#[path = "emulator/suite/numbers.rs"]
mod numbers;
#[path = "emulator/suite/products.rs"]
mod products;
#[path = "emulator/suite/traffic.rs"]
mod traffic;
#[path = "emulator/suite/twin.rs"]
mod twin;
