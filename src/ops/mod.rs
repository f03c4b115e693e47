//! The operations: one folder per op.

pub mod conv;
