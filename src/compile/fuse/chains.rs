//! Two convolutions in a row become one kernel, where that moves fewer bytes.

use super::{arc, op_as};
use crate::compile::lowered::{Lowered, Uses};
use crate::ops::conv::Conv;
use crate::ops::conv_chain::{ConvChain, Tile, saving};
use crate::runtime::cuda::Target;

/// conv → conv, each with bias and activation and the second with a residual: the middle map stays on the
/// chip. Where others read it too (a part of an ELAN's concat) it is written all the same, and not read back.
///
/// The chain stands where the second convolution stood, so whoever else reads the middle map must come later.
pub(super) fn chains(lowered: &mut Lowered, target: &Target) {
    let uses = lowered.uses();
    for second in 0..lowered.nodes.len() {
        let middle = match lowered.nodes[second].inputs.first() {
            Some(&middle) => middle,
            None => continue,
        };
        let Some(first) = uses.producer[middle.index()] else { continue };
        let Some(chain) = chain(lowered, &uses, first, second) else { continue };
        let weights = [first, second].map(|node| lowered.shape(lowered.nodes[node].inputs[1]));
        let x = lowered.shape(lowered.nodes[first].inputs[0]);
        let Some(tile) = Tile::choose(&chain, x, weights[0], weights[1], target) else { continue };
        let saving = saving(&chain, x, weights[0], weights[1], target.map.size(), &tile);
        if !saving.pays(weights[0].n, weights[1].n) {
            continue;
        }
        let mut inputs = lowered.nodes[first].inputs.clone();
        inputs.extend(&lowered.nodes[second].inputs[1..]);
        lowered.nodes[first].outputs.clear();
        let keep = chain.keep_middle;
        let node = &mut lowered.nodes[second];
        node.outputs.extend(keep.then_some(middle));
        (node.op, node.inputs) = (arc(chain), inputs);
    }
    lowered.nodes.retain(|node| !node.outputs.is_empty());
}

/// The chain of nodes `first` and `second`, where the second reads what the first makes and they can be one.
fn chain(lowered: &Lowered, uses: &Uses, first: usize, second: usize) -> Option<ConvChain> {
    let takes = |index: usize| op_as::<Conv>(lowered, index).filter(|c| ConvChain::takes(c)).cloned();
    let (one, two) = (takes(first)?, takes(second)?);
    let (maker, reader) = (&lowered.nodes[first], &lowered.nodes[second]);
    // A convolution that is in a chain already has no outputs left.
    let &[middle] = &maker.outputs[..] else { return None };
    if one.residual || maker.pass != reader.pass || reader.inputs[1..].contains(&middle) {
        return None;
    }
    let others = uses.readers[middle.index()].iter().filter(|&&node| node != second);
    let keep_middle = uses.leaves[middle.index()] || others.clone().next().is_some();
    if keep_middle && two.residual || others.clone().any(|&node| node < second) {
        return None;
    }
    Some(ConvChain { first: one, second: two, keep_middle })
}
