//! The reference device in its plainest form: every node of the graph as it was traced, one after
//! the other, in f64, each value in a buffer of its own. What everything compiled is held against.

use std::collections::HashMap;

use super::{Graph, Source};
use crate::ops::{Io, Value};
use crate::tensor::{View, ViewMut};
use crate::{Error, Result};

/// Dense f64 data for inputs, parameters and states.
pub type Feeds = HashMap<Value, Vec<f64>>;

/// Runs `graph` on `feeds` and returns the data of every value, by value.
///
/// # Errors
/// Where a value that is read was not fed, or was fed the wrong number of elements; what ops say.
pub fn interpret(graph: &Graph, feeds: &Feeds) -> Result<HashMap<Value, Vec<f64>>> {
    let mut data = feeds.clone();
    for (value, info) in graph.values() {
        if let (false, Some(fed)) = (matches!(info.source, Source::Node { .. }), data.get(&value))
            && fed.len() != info.shape.elements()
        {
            let message = format!("{:?} was fed {} elements", info.name, fed.len());
            return Err(Error::shape("interpret", &[info.shape], message));
        }
    }
    for node in graph.nodes() {
        let mut buffers: Vec<Vec<f64>> =
            node.outputs.iter().map(|&v| vec![f64::NAN; graph.info(v).shape.elements()]).collect();
        let inputs = node
            .inputs
            .iter()
            .map(|&v| match data.get(&v) {
                Some(buffer) => Ok(Some(View::dense(buffer, graph.info(v).shape))),
                None => Err(Error::invalid(format!("{:?} was not fed", graph.info(v).name))),
            })
            .collect::<Result<_>>()?;
        let outputs = buffers
            .iter_mut()
            .zip(&node.outputs)
            .map(|(buffer, &v)| ViewMut::dense(buffer, graph.info(v).shape))
            .collect();
        node.op.reference(&mut Io { inputs, outputs, workspace: &mut [] })?;
        data.extend(node.outputs.iter().copied().zip(buffers));
    }
    Ok(data)
}
