//! What training fuses.

use std::collections::HashMap;

use super::{arc, op_as};
use crate::Result;
use crate::compile::lowered::Lowered;
use crate::ops::add::Add;
use crate::ops::batch_norm::{BatchStatistics, NormAffine, Normalize};
use crate::ops::conv::{Conv, ConvInputGradient, ConvWeightGradient};

/// conv → batch statistics: accumulated as the conv writes.
pub(super) fn statistics(lowered: &mut Lowered) {
    let uses = lowered.uses();
    for index in 0..lowered.nodes.len() {
        let Some(conv) = op_as::<Conv>(lowered, index).cloned() else { continue };
        if conv.statistics || conv.residual || conv != Conv::plain(conv.geometry, conv.bias) {
            continue;
        }
        let z = lowered.nodes[index].outputs[0];
        let taker = uses.readers[z.index()]
            .iter()
            .copied()
            .find(|&reader| op_as::<BatchStatistics>(lowered, reader).is_some());
        let Some(taker) = taker else { continue };
        let statistics = lowered.nodes[taker].outputs[0];
        lowered.nodes[taker].outputs.clear();
        lowered.nodes[index].outputs.push(statistics);
        lowered.nodes[index].op = arc(Conv { statistics: true, ..conv });
    }
    lowered.nodes.retain(|node| !node.outputs.is_empty());
}

/// The most readers that a normalised map may have for each of them to apply the norm itself: with
/// more, writing the map out once moves fewer bytes.
const PROLOGUE_READERS: usize = 2;

/// normalize → convs and weight gradients: each applies scale, shift and activation as it reads z, and
/// the normalised map is never written.
pub(super) fn prologues(lowered: &mut Lowered) -> Result<()> {
    let uses = lowered.uses();
    let mut inserted = Vec::new();
    let mut affines = HashMap::new();
    for index in 0..lowered.nodes.len() {
        let Some(norm) = op_as::<Normalize>(lowered, index).cloned() else { continue };
        let y = lowered.nodes[index].outputs[0];
        let readers = uses.readers[y.index()].clone();
        let takes = |reader: &usize| {
            let reads_once = lowered.nodes[*reader].inputs.iter().filter(|v| **v == y).count() == 1;
            let first = lowered.nodes[*reader].inputs[0] == y && reads_once;
            let conv = op_as::<Conv>(lowered, *reader).is_some_and(|c| c.prologue.is_none());
            let dw = op_as::<ConvWeightGradient>(lowered, *reader).is_some_and(|w| w.prologue.is_none());
            first && (conv || dw)
        };
        let leaves = uses.leaves[y.index()] || norm.residual;
        if leaves || readers.len() > PROLOGUE_READERS || !readers.iter().all(takes) {
            continue;
        }
        let [z, statistics, gamma, beta] = lowered.nodes[index].inputs[..] else { continue };
        let affine = match affines.get(&statistics) {
            Some(&affine) => affine,
            None => {
                let (scope, pass) = (lowered.nodes[index].scope.clone(), lowered.nodes[index].pass);
                let op = arc(NormAffine { epsilon: norm.epsilon });
                let node = lowered.node(op, vec![statistics, gamma, beta], &scope, pass)?;
                let affine = node.outputs[0];
                inserted.push((index, node));
                affines.insert(statistics, affine);
                affine
            }
        };
        for reader in readers {
            if let Some(conv) = op_as::<Conv>(lowered, reader).cloned() {
                let at = 2 + usize::from(conv.bias);
                lowered.nodes[reader].op = arc(Conv { prologue: Some(norm.activation), ..conv });
                lowered.nodes[reader].inputs.insert(at, affine);
            } else if let Some(dw) = op_as::<ConvWeightGradient>(lowered, reader).cloned() {
                lowered.nodes[reader].op = arc(ConvWeightGradient { prologue: Some(norm.activation), ..dw });
                lowered.nodes[reader].inputs.push(affine);
            }
            lowered.nodes[reader].inputs[0] = z;
        }
    }
    lowered.insert(inserted);
    lowered.prune();
    Ok(())
}

/// conv input gradient → add: the later of the two summands adds itself into the other.
pub(super) fn accumulate(lowered: &mut Lowered) {
    let uses = lowered.uses();
    for index in 0..lowered.nodes.len() {
        let Some(Add { offset: 0 }) = op_as::<Add>(lowered, index) else { continue };
        let [a, b] = lowered.nodes[index].inputs[..] else { continue };
        if lowered.shape(a) != lowered.shape(b) || a == b {
            continue;
        }
        let position = |v: crate::ops::Value| uses.producer[v.index()];
        let (later, other) = if position(a) > position(b) { (a, b) } else { (b, a) };
        let Some(maker) = position(later).filter(|_| uses.only_reader(later) == Some(index)) else {
            continue;
        };
        let Some(gradient) = op_as::<ConvInputGradient>(lowered, maker).cloned() else { continue };
        if gradient.accumulate {
            continue;
        }
        let sum = lowered.nodes[index].outputs[0];
        lowered.nodes[maker].op = arc(ConvInputGradient { accumulate: true, ..gradient });
        lowered.nodes[maker].inputs.push(other);
        lowered.nodes[maker].outputs[0] = sum;
        // The add now makes what nobody reads, and is pruned.
        lowered.nodes[index].inputs = vec![other, other];
        lowered.nodes[index].outputs[0] = later;
    }
    lowered.prune();
}
