//! The plainest loss of any network.

use crate::Result;
use crate::graph::Graph;
use crate::ops::{Value, mean_square, weighted_sum};
use crate::zoo::Heads;

/// Traces `Σ over heads of mean(head²)`: a loss that needs no labels and reaches every parameter.
///
/// # Errors
/// Where there is no head.
pub fn mean_square_loss(graph: &mut Graph, heads: &Heads) -> Result<Value> {
    let terms = heads
        .maps
        .iter()
        .map(|&map| Ok((1.0, mean_square::trace(graph, map)?)))
        .collect::<Result<Vec<_>>>()?;
    weighted_sum::trace(graph, &terms)
}
