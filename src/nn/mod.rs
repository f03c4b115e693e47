//! Blocks: what networks are built from, each traced into a graph.
//!
//! A block is a plain struct that says what it is, and [`Block::trace`] adds its nodes:
//!
//! | block | what it is |
//! | --- | --- |
//! | [`ConvUnit`] | conv → batch norm → activation |
//! | [`Sequence`] | blocks in a row |
//! | [`Residual`] | `F(x) + m ⊙ x`: whole, masked, asymmetric |
//! | [`Dense`], [`Sparse`] | layers that read earlier layers' outputs |
//! | [`OneShot`] | OSA: layers in a row, all concatenated once |
//! | [`Csp`] | cross-stage partial around any block, with its truncations |
//! | [`Elan`], [`ExtendedElan`] | stacks between a split and one transition |
//! | [`Spp`], [`SppCsp`] | pooling pyramids |
//! | [`MaxPooling`] | down-sampling without weights |

mod aggregate;
mod conv_unit;
mod csp;
mod elan;
mod head;
mod pyramid;
mod residual;
mod sequence;

pub use aggregate::{Dense, OneShot, Sparse};
pub use conv_unit::{ConvUnit, Style};
pub use csp::{Csp, Split, Truncation};
pub use elan::{Elan, ExtendedElan};
pub use head::DetectionHead;
pub use pyramid::{MaxPooling, Spp, SppCsp};
pub use residual::{Mask, Residual, bottleneck, res_x};
pub use sequence::Sequence;

use std::fmt::Debug;

use crate::Result;
use crate::graph::Graph;
use crate::ops::Value;

/// A part of a network: adds its nodes, parameters and states to a graph.
pub trait Block: Debug + Send + Sync {
    /// Traces the block on `x` and returns its output.
    ///
    /// # Errors
    /// Where the block cannot take a map of that shape.
    fn trace(&self, graph: &mut Graph, x: Value) -> Result<Value>;

    /// Traces the block in the scope `name`.
    ///
    /// # Errors
    /// As [`Block::trace`].
    fn named(&self, graph: &mut Graph, name: &str, x: Value) -> Result<Value> {
        graph.scope(name, |graph| self.trace(graph, x))
    }
}

#[cfg(test)]
mod tests;
