//! The order in which nodes run.
//!
//! Tracing order is kept, with two changes: an update runs as soon as its gradient is there and the
//! old parameter was read for the last time, so that gradients die young; and everything else moves
//! no earlier than it was traced.

use super::lowered::Lowered;
use crate::graph::Pass;
use crate::{Error, Result};

/// Reorders the nodes.
///
/// # Errors
/// Where a node that reads a parameter needs that parameter's own new value.
pub(super) fn schedule(lowered: &mut Lowered) -> Result<()> {
    let uses = lowered.uses();
    let count = lowered.nodes.len();
    // What must run before each node: the makers of its inputs, and for the maker of a new value all
    // other readers of the old one, because it is written in the old one's place.
    let mut before: Vec<Vec<usize>> = lowered
        .nodes
        .iter()
        .map(|node| node.inputs.iter().filter_map(|v| uses.producer[v.index()]).collect())
        .collect();
    for (target, value) in &lowered.assignments {
        if let Some(writer) = uses.producer[value.index()] {
            let readers = &uses.readers[target.index()];
            before[writer].extend(readers.iter().copied().filter(|&reader| reader != writer));
        }
    }
    // Updates first, then tracing order: each node is emitted after what it needs, and an update right
    // after the last thing it waits for.
    let mut waiting: Vec<usize> = before
        .iter_mut()
        .map(|b| {
            b.sort_unstable();
            b.dedup();
            b.len()
        })
        .collect();
    let mut after = vec![Vec::new(); count];
    for (node, before) in before.iter().enumerate() {
        before.iter().for_each(|&b| after[b].push(node));
    }
    let mut order = Vec::with_capacity(count);
    let mut emitted = vec![false; count];
    let is_update = |node: usize| lowered.nodes[node].pass == Pass::Update;
    for first in 0..count {
        if is_update(first) && waiting[first] > 0 {
            continue;
        }
        let mut ready = vec![first];
        while let Some(node) = ready.pop() {
            if emitted[node] {
                continue;
            }
            if waiting[node] > 0 {
                return Err(Error::internal("a node of the graph waits for itself")
                    .in_op(lowered.nodes[node].op.name()));
            }
            emitted[node] = true;
            order.push(node);
            for &next in &after[node] {
                waiting[next] -= 1;
                if waiting[next] == 0 && is_update(next) {
                    ready.push(next);
                }
            }
        }
    }
    if order.len() != count {
        return Err(Error::internal("an update of the graph can never run"));
    }
    let mut nodes: Vec<_> = std::mem::take(&mut lowered.nodes).into_iter().map(Some).collect();
    lowered.nodes = order.into_iter().filter_map(|i| nodes[i].take()).collect();
    Ok(())
}
