//! What only inference can do: weights do not change.

use super::{arc, op_as};
use crate::Result;
use crate::compile::lowered::Lowered;
use crate::graph::Pass;
use crate::ops::batch_norm::{FoldNorm, Normalize};
use crate::ops::conv::{Conv, PackWeight};
use crate::runtime::Cpu;

/// conv → normalize with running statistics: the norm goes into weight and bias, its activation into
/// the epilogue.
pub(super) fn fold_norms(lowered: &mut Lowered) -> Result<()> {
    let uses = lowered.uses();
    let mut inserted = Vec::new();
    for index in 0..lowered.nodes.len() {
        let Some(conv) = op_as::<Conv>(lowered, index).cloned() else { continue };
        let z = lowered.nodes[index].outputs[0];
        let Some(reader) = uses.only_reader(z) else { continue };
        let Some(norm) = op_as::<Normalize>(lowered, reader).cloned() else { continue };
        let plain = conv == Conv::plain(conv.geometry, false);
        if !plain || norm.batch || norm.residual || lowered.nodes[reader].inputs[0] != z {
            continue;
        }
        let [_, statistics, gamma, beta] = lowered.nodes[reader].inputs[..] else { continue };
        let [x, weight] = lowered.nodes[index].inputs[..] else { continue };
        let scope = lowered.nodes[index].scope.clone();
        let fold = arc(FoldNorm { epsilon: norm.epsilon });
        let fold = lowered.node(fold, vec![weight, statistics, gamma, beta], &scope, Pass::Forward)?;
        let y = std::mem::replace(&mut lowered.nodes[reader].outputs[0], z);
        let node = &mut lowered.nodes[index];
        node.op = arc(Conv { bias: true, activation: norm.activation, ..conv });
        node.inputs = vec![x, fold.outputs[0], fold.outputs[1]];
        node.outputs = vec![y];
        // The normalize now makes what nobody reads, and is pruned.
        lowered.nodes[reader].inputs[0] = y;
        inserted.push((index, fold));
    }
    lowered.insert(inserted);
    lowered.prune();
    Ok(())
}

/// Packs every convolution's weight once, in the order the cpu's kernels read it.
pub(in crate::compile) fn pack_weights(lowered: &mut Lowered, cpu: &Cpu) -> Result<()> {
    let mut inserted = Vec::new();
    for index in 0..lowered.nodes.len() {
        let Some(conv) = op_as::<Conv>(lowered, index).cloned() else { continue };
        let (x, weight) = (lowered.nodes[index].inputs[0], lowered.nodes[index].inputs[1]);
        let (x, y) = (lowered.shape(x), lowered.shape(lowered.nodes[index].outputs[0]));
        let scope = lowered.nodes[index].scope.clone();
        let pack = arc(PackWeight::new(cpu, conv.geometry, x, y));
        let pack = lowered.node(pack, vec![weight], &scope, Pass::Forward)?;
        let node = &mut lowered.nodes[index];
        node.inputs[1] = pack.outputs[0];
        node.op = arc(Conv { packed_channels: Some(y.c), ..conv });
        inserted.push((index, pack));
    }
    lowered.insert(inserted);
    Ok(())
}
