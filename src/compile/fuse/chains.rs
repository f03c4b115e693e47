//! Two convolutions in a row become one kernel, where that moves fewer bytes.

use super::{arc, op_as};
use crate::compile::lowered::{Lowered, Uses};
use crate::ops::conv::Conv;
use crate::ops::conv_chain::{ConvChain, Tile, saving};
use crate::runtime::cuda::Target;

/// conv → conv, each with bias and activation and the second with a residual: the middle map stays on the
/// chip. Where others read it too (a part of an ELAN's concat) it is written all the same, and not read back.
///
/// A convolution is in one chain at most: of three in a row the pair is merged that saves more.
///
/// The chain stands where the second convolution stood, so whoever else reads the middle map must come later.
pub(super) fn chains(lowered: &mut Lowered, target: &Target) {
    let uses = lowered.uses();
    let nodes = 0..lowered.nodes.len();
    let mut found: Vec<Found> = nodes.filter_map(|second| find(lowered, &uses, second, target)).collect();
    // The order of equal ones is that of the nodes.
    found.sort_by_key(|found| std::cmp::Reverse(found.bytes));
    let mut taken = vec![false; lowered.nodes.len()];
    for Found { chain, first, second, .. } in found {
        if taken[first] || taken[second] {
            continue;
        }
        (taken[first], taken[second]) = (true, true);
        let mut inputs = lowered.nodes[first].inputs.clone();
        inputs.extend(&lowered.nodes[second].inputs[1..]);
        let middle = std::mem::take(&mut lowered.nodes[first].outputs);
        let node = &mut lowered.nodes[second];
        if chain.keep_middle {
            node.outputs.extend(middle);
        }
        (node.op, node.inputs) = (arc(chain), inputs);
    }
    lowered.nodes.retain(|node| !node.outputs.is_empty());
}

/// A chain that pays.
struct Found {
    chain: ConvChain,
    first: usize,
    second: usize,
    /// What it saves.
    bytes: usize,
}

/// The chain that ends with node `second`, where there is one that pays.
fn find(lowered: &Lowered, uses: &Uses, second: usize, target: &Target) -> Option<Found> {
    let &middle = lowered.nodes[second].inputs.first()?;
    let first = uses.producer[middle.index()]?;
    let chain = chain(lowered, uses, first, second)?;
    let weights = [first, second].map(|node| lowered.shape(lowered.nodes[node].inputs[1]));
    let x = lowered.shape(lowered.nodes[first].inputs[0]);
    let tile = Tile::choose(&chain, x, weights[0], weights[1], target)?;
    let saving = saving(&chain, x, weights[0], weights[1], target.map.size(), &tile);
    let bytes = saving.saved_bytes.saturating_sub(saving.halo_bytes);
    saving.pays(weights[0].n, weights[1].n).then_some(Found { chain, first, second, bytes })
}

/// The chain of nodes `first` and `second`, where the second reads what the first makes and they can be one.
fn chain(lowered: &Lowered, uses: &Uses, first: usize, second: usize) -> Option<ConvChain> {
    let takes = |index: usize| op_as::<Conv>(lowered, index).filter(|c| ConvChain::takes(c)).cloned();
    let (one, two) = (takes(first)?, takes(second)?);
    let (maker, reader) = (&lowered.nodes[first], &lowered.nodes[second]);
    let &[middle] = &maker.outputs[..] else { return None };
    if one.residual || maker.pass != reader.pass || reader.inputs[1..].contains(&middle) {
        return None;
    }
    let others = uses.readers[middle.index()].iter().filter(|&&node| node != second);
    let keep_middle = uses.leaves[middle.index()] || others.clone().next().is_some();
    if keep_middle && two.residual || others.clone().any(|&node| node < second) {
        return None;
    }
    Some(ConvChain::new(one, two, keep_middle))
}
