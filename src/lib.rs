//! gradpath: a tensor engine for networks designed by their gradient paths (PRN, CSP, ELAN).
//!
//! A model is ordinary Rust code. Calling it on symbolic values traces a [`graph::Graph`] of few, large
//! ops, and everything else is a reading of that graph: its backward, its cost, the program that a device
//! runs, the memory that this will take.
//!
//! ```
//! use gradpath::graph::{Graph, Mode};
//! use gradpath::nn::{Block, Mask, Style, bottleneck};
//! use gradpath::tensor::{Shape, Tensor};
//!
//! # fn main() -> gradpath::Result<()> {
//! let mut graph = Graph::new(Mode::Inference);
//! let x = graph.input("x", Shape::new(1, 32, 32, 16))?;
//! let y = bottleneck(Style::default(), 8, 16, Mask::Whole).trace(&mut graph, x)?;
//! graph.output("y", y)?;
//!
//! let device = gradpath::device::Device::cpu(1)?;
//! let program = device.compile(&graph)?;
//! // Norms, activations and the residual add are part of the two convolutions.
//! assert_eq!(program.steps.iter().map(|s| s.op.name()).collect::<Vec<_>>(), ["conv", "conv"]);
//!
//! let mut session = device.session(program)?;
//! session.load(&graph.initial_state(0))?;
//! session.feed("x", &Tensor::full(Shape::new(1, 32, 32, 16), 0.5))?;
//! session.run()?;
//! assert_eq!(session.output("y")?.shape(), Shape::new(1, 32, 32, 16));
//! # Ok(())
//! # }
//! ```
//!
//! The modules are floors: each uses only those above it in this table (a test holds the code to it).
//!
//! | module | what it is |
//! | --- | --- |
//! | [`error`], [`tensor`] | the one error; element types, NHWC shapes, tensors, strided views, random numbers |
//! | [`mod@format`] | files: npy, safetensors, atomic writing |
//! | [`report`] | tables, charts, pictures with boxes |
//! | [`runtime`] | what a kernel needs to run: threads, vector instructions |
//! | [`ops`] | one folder an op: shape rule, cost, gradient, reference kernel, cpu kernel, tests |
//! | [`graph`] | tracing, printing, and the interpreter that everything compiled is held against |
//! | [`autograd`] | backward as nodes of the same graph; finite differences |
//! | [`compile`] | recompute, fuse, schedule, place, plan: from a graph to a program |
//! | [`device`] | how each device runs a program |
//! | [`nn`] | conv unit, residual, masked residual, dense, OSA, CSP, ELAN, SPP |
//! | [`zoo`] | named networks |
//! | [`analysis`] | what a network costs |
//! | [`detect`] | anchors, assignment, decoding, NMS, average precision |
//! | [`data`] | datasets, augmentation, loader |
//! | [`train`] | optimiser, schedule, loop, run folders, detectors as files |
//! | [`claims`] | the papers' cost claims, checked on a device |
//! | [`selftest`] | whether a device computes what it should |
//! | [`cli`] | the commands |
//!
//! `ARCHITECTURE.md` says how they work together.

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
pub mod claims;
pub mod selftest;
pub mod cli;

#[cfg(test)]
mod testing;

pub use error::{Error, ErrorKind, Result};
