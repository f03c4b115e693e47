//! Convolution.

pub mod cpu;
mod geometry;

pub use geometry::Geometry;
