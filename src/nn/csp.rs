//! Cross-stage partial: a part of the stage's channels crosses it, the rest runs through any block.

use super::{Block, Style};
use crate::graph::Graph;
use crate::ops::{Tape, Value, concat, slice};
use crate::{Error, Result};

/// How the stage's input is split in two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Split {
    /// By channels: the share γ runs through the block, the rest crosses. No weights, no bytes moved.
    Slice(f64),
    /// By two transitions that read the same tensor, each to so many channels: (block, crossing).
    Transitions(usize, usize),
}

/// Where the transitions stand: the gradient-flow truncations of the CSP paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truncation {
    /// A transition on the block's path, and another after the concat.
    Csp,
    /// Concat, then one transition.
    FusionFirst,
    /// A transition on the block's path, then concat, and nothing after.
    FusionLast,
    /// No transition: split, block, concat.
    Partial,
}

/// A cross-stage partial stage around any block (Wang et al. 2019, arXiv 1911.11929).
#[derive(Debug)]
pub struct Csp<B> {
    /// How the input is split.
    pub split: Split,
    /// The computational block.
    pub block: B,
    /// Where the transitions stand.
    pub truncation: Truncation,
    /// Channels of the transition on the block's path; those of the block's output where it is `None`.
    pub inner: Option<usize>,
    /// Channels of the last transition, where there is one.
    pub filters: usize,
    /// The transitions' style.
    pub style: Style,
}

impl<B> Csp<B> {
    /// The stage as the paper has it: [`Truncation::Csp`], the inner transition as wide as the block's
    /// output, `filters` channels out.
    pub fn new(style: Style, split: Split, block: B, filters: usize) -> Self {
        Csp { split, block, truncation: Truncation::Csp, inner: None, filters, style }
    }
}

impl<B: Block> Block for Csp<B> {
    fn trace(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let channels = graph.shape(x).c;
        let (inside, crossing) = match self.split {
            Split::Slice(share) => {
                let kept = (share * channels as f64).round() as usize;
                if !(0.0..1.0).contains(&share) || kept == 0 || kept >= channels {
                    let message = format!("a share of {share} does not split {channels} channels in two");
                    return Err(Error::shape("csp", &[graph.shape(x)], message));
                }
                // The crossing part first: the concat is then a window over x and the block's output.
                let crossing = slice::trace(graph, x, 0..channels - kept)?;
                (slice::trace(graph, x, channels - kept..channels)?, crossing)
            }
            Split::Transitions(inside, crossing) => {
                let crossing = self.style.transition(crossing).named(graph, "crossing", x)?;
                (self.style.transition(inside).named(graph, "entry", x)?, crossing)
            }
        };
        let mut inside = self.block.named(graph, "block", inside)?;
        if matches!(self.truncation, Truncation::Csp | Truncation::FusionLast) {
            let filters = self.inner.unwrap_or(graph.shape(inside).c);
            inside = self.style.transition(filters).named(graph, "inner", inside)?;
        }
        let joined = concat::trace(graph, &[inside, crossing])?;
        match self.truncation {
            Truncation::Csp | Truncation::FusionFirst => {
                self.style.transition(self.filters).named(graph, "transition", joined)
            }
            Truncation::FusionLast | Truncation::Partial => Ok(joined),
        }
    }
}
