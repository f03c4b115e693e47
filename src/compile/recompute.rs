//! Cheap values are computed again in backward instead of kept.
//!
//! A conv unit keeps one map, the conv's output: its normalised and activated map is an elementwise
//! function of that, so backward runs the elementwise node a second time (THEORY §4). So are concats
//! of such maps, their slices, and nearest upsampling. A concat with a part that is kept (a pooled map)
//! is kept itself: the part lives in the concat's buffer, so the whole buffer is held as long anyway, and
//! a second concat would have to copy the part.

use std::collections::HashMap;

use super::lowered::Lowered;
use crate::Result;
use crate::graph::{Node, Pass};
use crate::ops::{Layout, Value};

/// Gives backward its own copies of the cheap nodes that it reads.
pub(super) fn recompute(lowered: &mut Lowered) -> Result<()> {
    let uses = lowered.uses();
    let computed_again = computed_again(lowered, &uses.producer);
    let mut copies: HashMap<Value, Value> = HashMap::new();
    let mut inserted: Vec<(usize, Node)> = Vec::new();
    for index in 0..lowered.nodes.len() {
        if lowered.nodes[index].pass == Pass::Forward {
            continue;
        }
        for slot in 0..lowered.nodes[index].inputs.len() {
            let value = lowered.nodes[index].inputs[slot];
            let copy =
                copy_of(lowered, &uses.producer, &computed_again, value, index, &mut copies, &mut inserted)?;
            lowered.nodes[index].inputs[slot] = copy;
        }
    }
    lowered.insert(inserted);
    Ok(())
}

/// For every node whether backward runs it again where it reads its values.
fn computed_again(lowered: &Lowered, producer: &[Option<usize>]) -> Vec<bool> {
    let mut again = vec![false; lowered.nodes.len()];
    for (index, node) in lowered.nodes.iter().enumerate() {
        // A window is kept where what it is a window of is.
        let part = |v: &Value| {
            let mut maker = producer[v.index()];
            while let Some(view) = maker.filter(|&maker| is_view(&lowered.nodes[maker])) {
                maker = lowered.nodes[view].inputs.first().and_then(|input| producer[input.index()]);
            }
            maker.is_some_and(|maker| again[maker])
        };
        let whole = node.op.layout() != Layout::Concat || node.inputs.iter().all(part);
        again[index] = node.pass == Pass::Forward && node.op.is_cheap() && whole;
    }
    again
}

/// Whether the node's output is a window of its input.
fn is_view(node: &Node) -> bool {
    matches!(node.op.layout(), Layout::Slice { .. } | Layout::Identity)
}

fn copy_of(
    lowered: &mut Lowered,
    producer: &[Option<usize>],
    computed_again: &[bool],
    value: Value,
    at: usize,
    copies: &mut HashMap<Value, Value>,
    inserted: &mut Vec<(usize, Node)>,
) -> Result<Value> {
    if let Some(&copy) = copies.get(&value) {
        return Ok(copy);
    }
    let Some(source) = producer.get(value.index()).copied().flatten() else { return Ok(value) };
    if !computed_again[source] {
        return Ok(value);
    }
    let node = lowered.nodes[source].clone();
    let inputs = node
        .inputs
        .iter()
        .map(|&input| copy_of(lowered, producer, computed_again, input, at, copies, inserted))
        .collect::<Result<Vec<_>>>()?;
    let copy = lowered.node(node.op.clone(), inputs, &node.scope, Pass::Backward)?;
    copies.extend(node.outputs.iter().copied().zip(copy.outputs.iter().copied()));
    let result = copies[&value];
    inserted.push((at, copy));
    Ok(result)
}
