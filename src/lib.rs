//! gradpath: a tensor engine for networks designed by their gradient paths (PRN, CSP, ELAN).
//!
//! A model is ordinary Rust code; calling it traces a graph of few, large ops, and everything else
//! is a reading of that graph. The modules are floors: each uses only those above it in this list.

pub mod error;
pub mod tensor;
pub mod format;
pub mod report;
pub mod runtime;
pub mod ops;
pub mod graph;
pub mod autograd;
pub mod compile;
pub mod device;
pub mod nn;
pub mod zoo;
pub mod analysis;
pub mod detect;
pub mod data;
pub mod train;
pub mod cli;

#[cfg(test)]
mod testing;

pub use error::{Error, ErrorKind, Result};
