//! What can be measured by name: blocks of `nn` at any size, each with the same stage built without what
//! the block is about, and the zoo's networks.

use std::fmt;

use crate::graph::{Graph, Mode};
use crate::nn::{
    Block, Csp, Dense, Elan, Mask, OneShot, Sequence, Sparse, Split, Style, Truncation, bottleneck, res_x,
};
use crate::ops::Value;
use crate::tensor::Shape;
use crate::zoo::{self, Network};
use crate::{Error, Result};

/// A block that is known by name. With c channels that enter, where nothing else is said c leave, and
/// each is repeated or made deeper by the number of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockName {
    /// Conv units 1×1, c → c.
    Conv1,
    /// Conv units 3×3, c → c.
    Conv3,
    /// Darknet-53's residual blocks, c → c/2 → c.
    Bottleneck,
    /// ResNeXt's residual blocks, c → c/2 → c/2 in groups → c.
    ResX,
    /// A CSP stage: the share γ of the channels runs through residual blocks γc → γc → γc and a transition,
    /// then both parts through another.
    Csp,
    /// The same with one transition, behind the concat.
    CspFusionFirst,
    /// The same with one transition, before the concat.
    CspFusionLast,
    /// The same without transitions.
    CspPartial,
    /// PRN: residual blocks whose identity is added to the share γ of the channels.
    Prn,
    /// ELAN: branches and units c/2 wide.
    Elan,
    /// DenseNet's block: each layer adds c/4.
    Dense,
    /// SparseNet's block: each layer adds c/4.
    Sparse,
    /// VoVNet's one-shot aggregation: units c/2 wide, one transition.
    Osa,
}

impl BlockName {
    /// All of them.
    pub const ALL: [BlockName; 13] = [
        BlockName::Conv1,
        BlockName::Conv3,
        BlockName::Bottleneck,
        BlockName::ResX,
        BlockName::Csp,
        BlockName::CspFusionFirst,
        BlockName::CspFusionLast,
        BlockName::CspPartial,
        BlockName::Prn,
        BlockName::Elan,
        BlockName::Dense,
        BlockName::Sparse,
        BlockName::Osa,
    ];

    /// The name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            BlockName::Conv1 => "conv1",
            BlockName::Conv3 => "conv3",
            BlockName::Bottleneck => "bottleneck",
            BlockName::ResX => "resx",
            BlockName::Csp => "csp",
            BlockName::CspFusionFirst => "csp-fusion-first",
            BlockName::CspFusionLast => "csp-fusion-last",
            BlockName::CspPartial => "csp-partial",
            BlockName::Prn => "prn",
            BlockName::Elan => "elan",
            BlockName::Dense => "dense",
            BlockName::Sparse => "sparse",
            BlockName::Osa => "osa",
        }
    }

    /// Whether a share γ of the channels is a part of it.
    pub fn has_share(self) -> bool {
        use BlockName::{Csp, CspFusionFirst, CspFusionLast, CspPartial, Prn};
        matches!(self, Csp | CspFusionFirst | CspFusionLast | CspPartial | Prn)
    }
}

impl fmt::Display for BlockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A block at a size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockSpec {
    /// Which.
    pub name: BlockName,
    /// Channels that enter, c.
    pub channels: usize,
    /// Residual blocks, units or layers in a row; of ELAN the groups, s.
    pub layers: usize,
    /// Units in each of ELAN's groups, n.
    pub depth: usize,
    /// The share γ of a CSP split, or of PRN's mask.
    pub share: f64,
}

/// Groups of [`BlockName::ResX`]: ResNeXt's cardinality.
const CARDINALITY: usize = 32;

/// A part of `channels` that is at least one.
fn part(channels: usize, of: usize) -> usize {
    (channels / of).max(1)
}

impl BlockSpec {
    fn residuals(&self, mask: Mask) -> Sequence {
        let (style, c) = (Style::default(), self.channels);
        Sequence::repeat(self.layers, || bottleneck(style, part(c, 2), c, mask))
    }

    fn csp(&self, truncation: Truncation) -> Csp<Sequence> {
        let (style, c) = (Style::default(), self.channels);
        // As the split rounds it; where it leaves a side empty, the block says so when it is traced.
        let width = ((self.share * c as f64).round() as usize).max(1);
        let block = Sequence::repeat(self.layers, || bottleneck(style, width, width, Mask::Whole));
        Csp { truncation, ..Csp::new(style, Split::Slice(self.share), block, c) }
    }

    /// The block.
    pub fn block(&self) -> Box<dyn Block> {
        let (style, c, layers) = (Style::default(), self.channels, self.layers);
        let half = part(c, 2);
        match self.name {
            BlockName::Conv1 => Box::new(Sequence::repeat(layers, || style.unit(c, 1))),
            BlockName::Conv3 => Box::new(Sequence::repeat(layers, || style.unit(c, 3))),
            BlockName::Bottleneck => Box::new(self.residuals(Mask::Whole)),
            BlockName::ResX => {
                // As many groups as divide the channels: 32 where 64 enter and more.
                let groups = (1..=CARDINALITY.min(half)).rev().find(|g| half.is_multiple_of(*g)).unwrap_or(1);
                Box::new(Sequence::repeat(layers, || res_x(style, half, c, groups, Mask::Whole)))
            }
            BlockName::Csp => Box::new(self.csp(Truncation::Csp)),
            BlockName::CspFusionFirst => Box::new(self.csp(Truncation::FusionFirst)),
            BlockName::CspFusionLast => Box::new(self.csp(Truncation::FusionLast)),
            BlockName::CspPartial => Box::new(self.csp(Truncation::Partial)),
            BlockName::Prn => Box::new(self.residuals(Mask::Share(self.share))),
            BlockName::Elan => {
                let (groups, depth) = (layers, self.depth);
                Box::new(Elan { branch: half, inner: half, groups, depth, filters: c, style })
            }
            BlockName::Dense => Box::new(Dense { growth: part(c, 4), layers, style }),
            BlockName::Sparse => Box::new(Sparse { growth: part(c, 4), layers, style }),
            BlockName::Osa => Box::new(OneShot { inner: half, layers, transition: Some(c), style }),
        }
    }

    /// The same stage without what the block is about, and its name: a CSP stage's and a PRN stage's is the
    /// residual stage over all channels, ELAN's and OSA's the same units in a row. `None` for the others.
    pub fn without(&self) -> Option<(&'static str, Box<dyn Block>)> {
        use BlockName::{Csp, CspFusionFirst, CspFusionLast, CspPartial, Elan, Osa, Prn};
        let (style, c) = (Style::default(), self.channels);
        let half = part(c, 2);
        let row = |units: usize| Sequence::repeat(units, || style.unit(half, 3));
        match self.name {
            Csp | CspFusionFirst | CspFusionLast | CspPartial | Prn => {
                Some(("residual", Box::new(self.residuals(Mask::Whole))))
            }
            Elan => {
                let stack = row(self.layers * self.depth);
                let entry = Sequence::new().then(style.transition(half));
                Some(("plain", Box::new(entry.then(stack).then(style.transition(c)))))
            }
            Osa => Some(("plain", Box::new(row(self.layers).then(style.transition(c))))),
            _ => None,
        }
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub enum Subject {
    /// A block.
    Block(BlockSpec),
    /// A network.
    Network {
        /// Which.
        network: Network,
        /// Classes of its heads.
        classes: usize,
    },
}

/// A name that is known.
#[derive(Clone, Copy, Debug)]
pub enum SubjectName {
    /// A block's.
    Block(BlockName),
    /// A network's.
    Network(Network),
}

impl SubjectName {
    /// The block or network of that name.
    ///
    /// # Errors
    /// Names those there are.
    pub fn find(name: &str) -> Result<Self> {
        if let Some(block) = BlockName::ALL.into_iter().find(|block| block.name() == name) {
            return Ok(SubjectName::Block(block));
        }
        zoo::find(name).map(SubjectName::Network).map_err(|_| {
            let blocks = BlockName::ALL.iter().map(|block| block.name());
            let names: Vec<&str> = blocks.chain(zoo::NETWORKS.iter().map(|n| n.name)).collect();
            Error::invalid(format!("there is no block and no network {name:?}"))
                .fix(format!("use some of {}", names.join(", ")))
        })
    }
}

/// A subject with what enters it.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// What is measured.
    pub subject: Subject,
    /// What enters: `[n, h, w, channels]`, of a network `[n, h, w, 3]`.
    pub input: Shape,
}

/// The name of a workload's input.
pub const INPUT: &str = "x";

/// A workload that was traced.
#[derive(Debug)]
pub struct Traced {
    /// The graph; nothing is an output of it yet.
    pub graph: Graph,
    /// What entered.
    pub input: Value,
    /// What came out: a block's map, a network's heads.
    pub maps: Vec<Value>,
}

impl Workload {
    /// Traces the workload's forward, its input named [`INPUT`].
    ///
    /// # Errors
    /// Where it cannot take such an input.
    pub fn trace(&self, mode: Mode) -> Result<Traced> {
        match &self.subject {
            Subject::Block(spec) => self.trace_block(mode, spec.name.name(), &*spec.block()),
            Subject::Network { network, classes } => {
                let mut graph = Graph::new(mode);
                let input = graph.input(INPUT, self.input)?;
                let maps = network.trace(&mut graph, input, *classes)?.maps;
                Ok(Traced { graph, input, maps })
            }
        }
    }

    /// Traces the same stage without what the block is about, with its name; `None` where there is none.
    ///
    /// # Errors
    /// As [`Workload::trace`].
    pub fn trace_without(&self, mode: Mode) -> Result<Option<(&'static str, Traced)>> {
        let Subject::Block(spec) = &self.subject else { return Ok(None) };
        let Some((name, block)) = spec.without() else { return Ok(None) };
        Ok(Some((name, self.trace_block(mode, name, &*block)?)))
    }

    fn trace_block(&self, mode: Mode, name: &str, block: &dyn Block) -> Result<Traced> {
        let mut graph = Graph::new(mode);
        let input = graph.map_input(INPUT, self.input)?;
        let maps = vec![block.named(&mut graph, name, input)?];
        Ok(Traced { graph, input, maps })
    }
}

#[cfg(test)]
#[path = "workload_tests.rs"]
mod tests;
