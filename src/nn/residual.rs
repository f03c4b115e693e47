//! Residual layers: ResNet's, and PRN's masked and asymmetric ones.

use super::{Block, Sequence, Style};
use crate::graph::Graph;
use crate::ops::{Tape, Value, add, stop_gradient};
use crate::{Error, Result};

/// Which channels of the identity are added.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mask {
    /// All of them (ResNet). The shapes must agree.
    Whole,
    /// The first γ·c (PRN's masked residual layer; the paper's γ is 1/2).
    Share(f64),
    /// The first `min(c_x, c_F)` (PRN's asymmetric residual layer).
    Common,
}

/// `y = F(x) + m ⊙ x`. The mask is binary over channels, so no parameter is added.
#[derive(Debug)]
pub struct Residual<B> {
    /// F.
    pub block: B,
    /// m.
    pub mask: Mask,
    /// Whether the identity is cut off from the backward (the paper's figure 9).
    pub stop_identity: bool,
    /// Whether the block is.
    pub stop_block: bool,
}

impl<B: Block> Residual<B> {
    /// A residual layer around `block`.
    pub fn new(block: B, mask: Mask) -> Self {
        Residual { block, mask, stop_identity: false, stop_block: false }
    }
}

impl<B: Block> Block for Residual<B> {
    fn trace(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let mut f = self.block.trace(graph, x)?;
        let mut identity = x;
        if self.stop_block {
            f = stop_gradient::trace(graph, f)?;
        }
        if self.stop_identity {
            identity = stop_gradient::trace(graph, identity)?;
        }
        let channels = graph.shape(x).c;
        match self.mask {
            Mask::Whole => add::trace(graph, f, identity),
            Mask::Common => add::masked_residual(graph, f, identity, channels),
            Mask::Share(share) if (0.0..=1.0).contains(&share) => {
                let kept = (share * channels as f64).round() as usize;
                add::masked_residual(graph, f, identity, kept)
            }
            Mask::Share(share) => Err(Error::invalid(format!("a mask keeps a share in 0..1, not {share}"))),
        }
    }
}

/// Darknet-53's residual block: 1×1 to `middle` channels, 3×3 to `filters`.
pub fn bottleneck(style: Style, middle: usize, filters: usize, mask: Mask) -> Residual<Sequence> {
    let block = Sequence::new().then(style.unit(middle, 1)).then(style.unit(filters, 3));
    Residual::new(block, mask)
}

/// ResNeXt's residual block: 1×1, grouped 3×3, 1×1, all `middle` wide but the last.
pub fn res_x(style: Style, middle: usize, filters: usize, groups: usize, mask: Mask) -> Residual<Sequence> {
    let block = Sequence::new()
        .then(style.unit(middle, 1))
        .then(style.unit(middle, 3).groups(groups))
        .then(style.unit(filters, 1));
    Residual::new(block, mask)
}
