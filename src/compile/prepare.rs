//! What depends on weights alone is computed once, when weights are loaded.

use std::collections::HashSet;

use super::lowered::Lowered;
use super::stored::element_types;
use crate::graph::{Init, Source};
use crate::ops::Value;
use crate::tensor::DType;

/// Takes the nodes that depend on nothing but parameters and states out of `lowered`, and returns them
/// as graphs of their own, one for each value that `lowered` now has as a state in their place: so no
/// more than one has its raw weights and its intermediates in memory at a time.
pub(super) fn split(lowered: &mut Lowered, map: DType) -> Vec<Lowered> {
    let types = element_types(lowered, map);
    let mut prepared = lowered.clone();
    let mut made: HashSet<Value> = HashSet::new();
    let mut is_prepared = Vec::with_capacity(lowered.nodes.len());
    for node in &lowered.nodes {
        let ready = |v: &Value| lowered.is_persistent(*v) || made.contains(v);
        // A constant depends on nothing, and is cheaper to make than to keep.
        let prepare = !node.inputs.is_empty() && node.inputs.iter().all(ready);
        if prepare {
            made.extend(&node.outputs);
        }
        is_prepared.push(prepare);
    }
    if made.is_empty() {
        return Vec::new();
    }
    let mut keep = is_prepared.iter().map(|p| !p);
    lowered.nodes.retain(|_| keep.next().unwrap_or(true));
    let mut keep = is_prepared.iter().copied();
    prepared.nodes.retain(|_| keep.next().unwrap_or(false));
    prepared.outputs.clear();
    prepared.assignments.clear();
    let mut read: Vec<Value> = lowered.nodes.iter().flat_map(|n| n.inputs.iter().copied()).collect();
    read.extend(lowered.outputs.iter().map(|(_, v)| *v));
    read.sort_unstable();
    read.dedup();
    let mut outputs = Vec::new();
    for value in read.into_iter().filter(|v| made.contains(v)) {
        let name = format!("prepared {} {}", lowered.values[value.index()].name, value.index());
        let info = &mut lowered.values[value.index()];
        (info.source, info.name) = (Source::State(Init::Constant(0.0)), name.clone());
        lowered.prepared.push((value, types[value.index()]));
        outputs.push((name, value));
    }
    for info in &mut prepared.values {
        if info.source == Source::Input {
            // No node here reads it, and nobody should be asked to feed it.
            info.source = Source::Node { node: usize::MAX, output: 0 };
        }
    }
    let alone = |output| {
        let mut one = prepared.clone();
        one.outputs.push(output);
        one.prune();
        one
    };
    outputs.into_iter().map(alone).collect()
}
