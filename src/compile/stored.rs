//! How every value is stored: a map in the program's element type, all else in f32.

use super::lowered::Lowered;
use crate::ops::Layout;
use crate::tensor::DType;

/// The element type of every value, where maps are stored as `map`. What is fed and what is kept is f32,
/// unless it was fed [as a map](crate::graph::Graph::map_input) or [`super::prepare`] made it; a constant is
/// stored as what it is laid beside.
pub(super) fn element_types(lowered: &Lowered, map: DType) -> Vec<DType> {
    let fed = |is_map: bool| if is_map { map } else { DType::F32 };
    let mut types: Vec<DType> = lowered.values.iter().map(|info| fed(info.is_map)).collect();
    for &(value, dtype) in &lowered.prepared {
        types[value.index()] = dtype;
    }
    let mut constant = vec![false; lowered.values.len()];
    for node in &lowered.nodes {
        let maps = node.inputs.iter().any(|v| types[v.index()] == map);
        node.outputs.iter().for_each(|v| constant[v.index()] = node.inputs.is_empty());
        if maps && node.op.layout() == Layout::Concat {
            // The zeros between gradients of channel ranges.
            let constants = node.inputs.iter().filter(|v| constant[v.index()]);
            constants.for_each(|v| types[v.index()] = map);
        }
        for (index, output) in node.outputs.iter().enumerate() {
            let is_map = node.op.stores_map(index, maps);
            types[output.index()] = match (node.op.layout(), node.inputs.first()) {
                // A window has the type of what it is a window of.
                (Layout::Slice { .. } | Layout::Identity, Some(source)) => types[source.index()],
                _ if is_map => map,
                _ => DType::F32,
            };
        }
    }
    types
}
