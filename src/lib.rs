//! gradpath: a tensor engine for networks designed by their gradient paths (PRN, CSP, ELAN).
//!
//! A model is ordinary Rust code; calling it traces a graph of few, large ops, and everything else
//! is a reading of that graph. The modules are floors: each uses only those above it in this list.

pub mod autograd;
pub mod compile;
pub mod device;
pub mod error;
pub mod graph;
pub mod nn;
pub mod ops;
pub mod runtime;
pub mod tensor;
pub mod zoo;

pub use error::{Error, ErrorKind, Result};
