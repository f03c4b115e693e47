//! Cheap values are computed again in backward instead of kept.
//!
//! A conv unit keeps one map, the conv's output: its normalised and activated map is an elementwise
//! function of that, so backward runs the elementwise node a second time (THEORY §4). So are concats
//! of such maps, their slices, and nearest upsampling.

use std::collections::HashMap;

use super::lowered::Lowered;
use crate::Result;
use crate::graph::{Node, Pass};
use crate::ops::Value;

/// Gives backward its own copies of the cheap nodes that it reads.
pub(super) fn recompute(lowered: &mut Lowered) -> Result<()> {
    let uses = lowered.uses();
    let mut copies: HashMap<Value, Value> = HashMap::new();
    let mut inserted: Vec<(usize, Node)> = Vec::new();
    for index in 0..lowered.nodes.len() {
        if lowered.nodes[index].pass == Pass::Forward {
            continue;
        }
        for slot in 0..lowered.nodes[index].inputs.len() {
            let value = lowered.nodes[index].inputs[slot];
            let copy = copy_of(lowered, &uses.producer, value, index, &mut copies, &mut inserted)?;
            lowered.nodes[index].inputs[slot] = copy;
        }
    }
    lowered.insert(inserted);
    Ok(())
}

fn copy_of(
    lowered: &mut Lowered,
    producer: &[Option<usize>],
    value: Value,
    at: usize,
    copies: &mut HashMap<Value, Value>,
    inserted: &mut Vec<(usize, Node)>,
) -> Result<Value> {
    if let Some(&copy) = copies.get(&value) {
        return Ok(copy);
    }
    let Some(source) = producer.get(value.index()).copied().flatten() else { return Ok(value) };
    let node = lowered.nodes[source].clone();
    if node.pass != Pass::Forward || !node.op.is_cheap() {
        return Ok(value);
    }
    let inputs = node
        .inputs
        .iter()
        .map(|&input| copy_of(lowered, producer, input, at, copies, inserted))
        .collect::<Result<Vec<_>>>()?;
    let copy = lowered.node(node.op.clone(), inputs, &node.scope, Pass::Backward)?;
    copies.extend(node.outputs.iter().copied().zip(copy.outputs.iter().copied()));
    let result = copies[&value];
    inserted.push((at, copy));
    Ok(result)
}
