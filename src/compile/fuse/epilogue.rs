//! What happens to a sum before it is written.

use super::{arc, op_as};
use crate::compile::lowered::Lowered;
use crate::ops::activation::Activate;
use crate::ops::add::Add;
use crate::ops::batch_norm::Normalize;
use crate::ops::conv::Conv;
use crate::runtime::Activation;

/// conv → activation: into the conv's epilogue.
pub(super) fn activations(lowered: &mut Lowered) {
    let uses = lowered.uses();
    for index in 0..lowered.nodes.len() {
        let Some(conv) = op_as::<Conv>(lowered, index).cloned() else { continue };
        let Some(reader) = uses.only_reader(lowered.nodes[index].outputs[0]) else { continue };
        let Some(&Activate(activation)) = op_as::<Activate>(lowered, reader) else { continue };
        if conv.activation != Activation::Linear || conv.residual || conv.statistics {
            continue;
        }
        let y = lowered.nodes[reader].outputs[0];
        let z = std::mem::replace(&mut lowered.nodes[index].outputs[0], y);
        lowered.nodes[index].op = arc(Conv { activation, ..conv });
        lowered.nodes[reader].inputs[0] = y;
        lowered.nodes[reader].outputs[0] = z;
    }
    lowered.prune();
}

/// conv → add, or normalize → add: the (masked) residual is added before the sum is written. The
/// merged node stands where the add stood, so the residual is there.
pub(super) fn residuals(lowered: &mut Lowered) {
    let uses = lowered.uses();
    for index in 0..lowered.nodes.len() {
        let Some(Add { offset: 0 }) = op_as::<Add>(lowered, index) else { continue };
        let [a, b] = lowered.nodes[index].inputs[..] else { continue };
        let Some(maker) = uses.producer[a.index()].filter(|_| uses.only_reader(a) == Some(index)) else {
            continue;
        };
        if lowered.nodes[maker].outputs.len() != 1 || lowered.nodes[maker].pass != lowered.nodes[index].pass {
            continue;
        }
        let op = if let Some(conv) = op_as::<Conv>(lowered, maker).filter(|c| !c.residual) {
            arc(Conv { residual: true, ..conv.clone() })
        } else if let Some(norm) = op_as::<Normalize>(lowered, maker).filter(|n| !n.residual) {
            arc(Normalize { residual: true, ..norm.clone() })
        } else {
            continue;
        };
        let mut inputs = lowered.nodes[maker].inputs.clone();
        inputs.push(b);
        let scope = lowered.nodes[maker].scope.clone();
        let node = &mut lowered.nodes[index];
        (node.op, node.inputs, node.scope) = (op, inputs, scope);
    }
    lowered.prune();
}
