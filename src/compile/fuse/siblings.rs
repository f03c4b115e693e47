//! 1×1 convolutions of one map become one that reads it once.

use super::{arc, op_as};
use crate::compile::lowered::{Lowered, Uses};
use crate::ops::Value;
use crate::ops::conv::Conv;
use crate::ops::split_conv::SplitConv;

/// convs of x that differ in their weights alone → split conv.
///
/// It stands where the first of them stood, so all operands must be there already, or be made of weights alone
/// (a cast), which then happens earlier. Between the first and the last nothing may run that makes a map, unless
/// by a cheap op (the normalize of the first): then no map lives much longer than it did.
pub(super) fn siblings(lowered: &mut Lowered) {
    let uses = lowered.uses();
    let mut taken = vec![false; lowered.nodes.len()];
    let mut hoisted = Vec::new();
    for first in 0..lowered.nodes.len() {
        if taken[first] {
            continue;
        }
        let Some(conv) = op_as::<Conv>(lowered, first).filter(|c| SplitConv::takes(c)).cloned() else {
            continue;
        };
        let x = lowered.nodes[first].inputs[0];
        let mut members = vec![first];
        for &reader in &uses.readers[x.index()] {
            let there = reader > first && !taken[reader] && members.len() < SplitConv::MOST;
            if there && is_sibling(lowered, &uses, &conv, &members, reader) {
                members.push(reader);
            }
        }
        if members.len() < 2 {
            continue;
        }
        for &member in &members {
            taken[member] = true;
            for value in &lowered.nodes[member].inputs.clone() {
                if let Some(maker) = uses.producer[value.index()].filter(|&maker| maker > first) {
                    hoisted.push((first, lowered.nodes[maker].clone()));
                    lowered.nodes[maker].outputs.clear();
                }
            }
        }
        merge(lowered, &conv, &members);
    }
    lowered.insert(hoisted);
    lowered.nodes.retain(|node| !node.outputs.is_empty());
}

/// Whether node `reader` can run together with `members`, which are all `conv`.
fn is_sibling(lowered: &Lowered, uses: &Uses, conv: &Conv, members: &[usize], reader: usize) -> bool {
    let first = members[0];
    let (node, model) = (&lowered.nodes[reader], &lowered.nodes[first]);
    if op_as::<Conv>(lowered, reader) != Some(conv) || node.pass != model.pass {
        return false;
    }
    // The prologue, which stands behind weight and bias.
    let pending = 2 + usize::from(conv.bias);
    if node.inputs[0] != model.inputs[0] || node.inputs.get(pending) != model.inputs.get(pending) {
        return false;
    }
    let of_weights = |index: usize| {
        let node = &lowered.nodes[index];
        node.outputs.len() == 1 && node.inputs.iter().all(|&v| lowered.is_persistent(v))
    };
    let is_there =
        |value: &Value| uses.producer[value.index()].is_none_or(|maker| maker < first || of_weights(maker));
    let is_light = |index: usize| {
        let node = &lowered.nodes[index];
        let maps = (0..node.outputs.len()).any(|output| node.op.is_map(output));
        members.contains(&index) || node.op.is_cheap() || of_weights(index) || !maps
    };
    node.inputs.iter().all(is_there) && (first + 1..reader).all(is_light)
}

/// Replaces the first of `members` by all of them; the others are left without outputs.
fn merge(lowered: &mut Lowered, conv: &Conv, members: &[usize]) {
    let mut inputs = vec![lowered.nodes[members[0]].inputs[0]];
    let pending = 2 + usize::from(conv.bias);
    inputs.extend(lowered.nodes[members[0]].inputs.get(pending));
    let (mut maps, mut statistics) = (Vec::new(), Vec::new());
    for &member in members {
        let node = &mut lowered.nodes[member];
        inputs.extend(&node.inputs[1..pending]);
        let outputs = std::mem::take(&mut node.outputs);
        maps.extend(outputs.first());
        statistics.extend(outputs.get(1));
    }
    let node = &mut lowered.nodes[members[0]];
    node.op = arc(SplitConv::new(conv.clone(), members.len()));
    node.inputs = inputs;
    node.outputs = [maps, statistics].concat();
}
