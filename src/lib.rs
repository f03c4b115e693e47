//! gradpath: a tensor engine for networks designed by their gradient paths (PRN, CSP, ELAN).
//!
//! A model is ordinary Rust code; calling it traces a graph of few, large ops, and everything else
//! is a reading of that graph. The modules are floors: each uses only those above it in this list.

pub mod data;
pub mod error;
pub mod runtime;
pub mod tensor;

#[cfg(test)]
mod testing;

pub use error::{Error, ErrorKind, Result};
