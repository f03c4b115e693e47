//! Weights in the element type that tensor cores multiply.

use std::sync::Arc;

use super::op_as;
use crate::Result;
use crate::compile::lowered::Lowered;
use crate::graph::Node;
use crate::ops::cast::Cast;
use crate::ops::conv::{Conv, ConvInputGradient};
use crate::runtime::cuda::Target;
use crate::tensor::DType;

/// Rounds the weights of convolutions to the maps' type, in front of every one that reads them: kernels
/// can then copy them to shared memory as they are. Inference does it once, when weights are loaded
/// (`prepare`); a training step does it anew where a weight is read, so that no rounded copy has to be
/// kept from forward to backward.
pub(in crate::compile) fn cast_weights(lowered: &mut Lowered, target: &Target) -> Result<()> {
    if target.map == DType::F32 || !target.has_tensor_cores(target.map) {
        return Ok(());
    }
    let mut inserted: Vec<(usize, Node)> = Vec::new();
    for index in 0..lowered.nodes.len() {
        let multiplies =
            op_as::<Conv>(lowered, index).is_some() || op_as::<ConvInputGradient>(lowered, index).is_some();
        if !multiplies {
            continue;
        }
        let node = &lowered.nodes[index];
        let (weight, scope, pass) = (node.inputs[1], node.scope.clone(), node.pass);
        let cast = lowered.node(Arc::new(Cast), vec![weight], &scope, pass)?;
        lowered.nodes[index].inputs[1] = cast.outputs[0];
        // In front of all convolutions of the same map, so that they can run as one (`siblings`).
        let x = lowered.nodes[index].inputs[0];
        let sibling = |other: &usize| {
            let node = &lowered.nodes[*other];
            node.pass == pass && node.inputs.first() == Some(&x) && op_as::<Conv>(lowered, *other).is_some()
        };
        inserted.push(((0..index).find(sibling).unwrap_or(index), cast));
    }
    lowered.insert(inserted);
    Ok(())
}
