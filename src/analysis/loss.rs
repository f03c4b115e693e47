//! The plainest loss of any network.

use crate::Result;
use crate::graph::Graph;
use crate::ops::{Value, mean_square, weighted_sum};

/// Traces `Σ over maps of mean(map²)`: a loss that needs no labels and reaches every parameter.
///
/// # Errors
/// Where there is no map.
pub fn mean_square_loss(graph: &mut Graph, maps: &[Value]) -> Result<Value> {
    let terms =
        maps.iter().map(|&map| Ok((1.0, mean_square::trace(graph, map)?))).collect::<Result<Vec<_>>>()?;
    weighted_sum::trace(graph, &terms)
}
