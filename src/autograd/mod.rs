//! The backward of a graph, written as nodes of the same graph.

pub mod finite_difference;

use std::collections::HashMap;

use crate::graph::{Graph, Pass};
use crate::ops::{Gradient, Tape, Value, add, concat, fill, slice};
use crate::tensor::Shape;
use crate::{Error, Result};

/// Writes the backward of `loss` into `graph` and returns its gradient with respect to each of
/// `wrt`, shaped as it: zeros where the loss does not depend on it.
///
/// # Errors
/// Where `loss` is no scalar `[1, 1, 1, 1]`, or depends on `wrt` through an op without a gradient.
pub fn backward(graph: &mut Graph, loss: Value, wrt: &[Value]) -> Result<Vec<Value>> {
    if graph.shape(loss) != Shape::scalar() {
        return Err(Error::shape("backward", &[graph.shape(loss)], "the loss must be a scalar"));
    }
    graph.in_pass(Pass::Backward, |graph| {
        let one = fill::trace(graph, Shape::scalar(), 1.0)?;
        backward_from(graph, &[(loss, one)], wrt)
    })
}

/// As [`backward`], from given gradients of any values: `seeds` are (value, its gradient).
///
/// # Errors
/// Where a seed's shapes differ, or a needed op has no gradient.
pub fn backward_from(graph: &mut Graph, seeds: &[(Value, Value)], wrt: &[Value]) -> Result<Vec<Value>> {
    graph.in_pass(Pass::Backward, |graph| {
        let needed = depends_on(graph, wrt);
        let mut pieces: HashMap<Value, Vec<Gradient>> = HashMap::new();
        for &(value, gradient) in seeds {
            if graph.shape(value) != graph.shape(gradient) {
                let shapes = [graph.shape(value), graph.shape(gradient)];
                return Err(Error::shape("backward", &shapes, "a gradient must have its value's shape"));
            }
            pieces.entry(value).or_default().push(Gradient::Whole(gradient));
        }
        for index in (0..graph.nodes().len()).rev() {
            let node = graph.nodes()[index].clone();
            let reached = node.outputs.iter().any(|v| pieces.contains_key(v));
            if !reached || !node.inputs.iter().any(|v| needed[v.index()]) {
                continue;
            }
            let gradients = graph.scope(&node.scope, |graph| {
                let mut output_gradients = Vec::with_capacity(node.outputs.len());
                for &output in &node.outputs {
                    output_gradients.push(match pieces.remove(&output) {
                        Some(pieces) => Some(join(graph, output, &pieces)?),
                        None => None,
                    });
                }
                // `wrt` may hold a value inside the graph: its gradient is joined here, once.
                for (&output, gradient) in node.outputs.iter().zip(&output_gradients) {
                    if let (true, Some(gradient)) = (wrt.contains(&output), gradient) {
                        pieces.insert(output, vec![Gradient::Whole(*gradient)]);
                    }
                }
                node.op.gradient(graph, &node.inputs, &node.outputs, &output_gradients)
            })?;
            if gradients.len() != node.inputs.len() {
                return Err(Error::internal("one gradient is owed for each input").in_op(node.op.name()));
            }
            for (&input, gradient) in node.inputs.iter().zip(gradients) {
                if needed[input.index()] && gradient != Gradient::None {
                    pieces.entry(input).or_default().push(gradient);
                }
            }
        }
        wrt.iter()
            .map(|value| {
                let pieces = pieces.get(value).cloned().unwrap_or_default();
                join(graph, *value, &pieces)
            })
            .collect()
    })
}

/// For every value of the graph as it stands: whether it is or depends on one of `wrt`.
fn depends_on(graph: &Graph, wrt: &[Value]) -> Vec<bool> {
    let mut needed = vec![false; graph.value_count()];
    wrt.iter().for_each(|v| needed[v.index()] = true);
    for node in graph.nodes() {
        if node.inputs.iter().any(|v| needed[v.index()]) {
            node.outputs.iter().for_each(|v| needed[v.index()] = true);
        }
    }
    needed
}

/// One gradient from what the readers of `value` sent back: whole maps are added and channel ranges
/// added into them; where there are only ranges they are laid side by side, with zeros in the gaps.
fn join(graph: &mut Graph, value: Value, pieces: &[Gradient]) -> Result<Value> {
    let shape = graph.shape(value);
    let ranges: Vec<(usize, usize, Value)> = pieces
        .iter()
        .filter_map(|piece| match *piece {
            Gradient::None => None,
            Gradient::Whole(v) => Some((0, shape.c, v)),
            Gradient::Channels(offset, v) => Some((offset, offset + graph.shape(v).c, v)),
        })
        .collect();
    let is_whole = |range: &&(usize, usize, Value)| (range.0, range.1) == (0, shape.c);
    let whole = sum(graph, ranges.iter().filter(is_whole).map(|r| r.2).collect())?;
    if let Some(mut total) = whole {
        for &(start, _, part) in ranges.iter().filter(|r| !is_whole(r)) {
            total = add::trace_at(graph, total, part, start)?;
        }
        return Ok(total);
    }
    let mut cuts: Vec<usize> = ranges.iter().flat_map(|r| [r.0, r.1]).chain([0, shape.c]).collect();
    cuts.sort_unstable();
    cuts.dedup();
    let mut segments = Vec::new();
    for cut in cuts.windows(2) {
        let (start, end) = (cut[0], cut[1]);
        let mut parts = Vec::new();
        for &(from, _, v) in ranges.iter().filter(|r| r.0 <= start && end <= r.1) {
            parts.push(slice::trace(graph, v, start - from..end - from)?);
        }
        segments.push(match sum(graph, parts)? {
            Some(segment) => segment,
            None => fill::trace(graph, shape.with_c(end - start), 0.0)?,
        });
    }
    concat::trace(graph, &segments)
}

fn sum(graph: &mut Graph, parts: Vec<Value>) -> Result<Option<Value>> {
    let mut parts = parts.into_iter();
    let Some(mut total) = parts.next() else { return Ok(None) };
    for part in parts {
        total = add::trace(graph, total, part)?;
    }
    Ok(Some(total))
}

#[cfg(test)]
mod tests;
