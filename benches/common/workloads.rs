//! What is measured: a block or a network, at a size, in a mode.

use gradpath::Result;
use gradpath::analysis::workload::{BlockName, BlockSpec, Subject, Workload};
use gradpath::graph::Mode;
use gradpath::tensor::Shape;
use gradpath::zoo;

use super::options::Options;

/// Classes of a network's heads: those of COCO.
const CLASSES: usize = 80;
/// The side of a block's map, and of a network's picture, where everything is to run once and quickly.
const TEST_SIDES: (usize, usize) = (8, 64);

/// A workload and the mode it is run in.
#[derive(Clone, Copy)]
pub struct Item {
    /// The workload.
    pub workload: Workload,
    /// Inference, or a training step.
    pub mode: Mode,
}

/// A block on one map `[1, side, side, channels]`, in both modes. `layers` are what it repeats, `depth` the
/// units in each of ELAN's groups; CSP's split and PRN's mask take half of the channels.
pub fn block(name: BlockName, channels: usize, side: usize, layers: usize, depth: usize) -> [Item; 2] {
    let subject = Subject::Block(BlockSpec { name, channels, layers, depth, share: 0.5 });
    let workload = Workload { subject, input: Shape::new(1, side, side, channels) };
    [Mode::Inference, Mode::Training].map(|mode| Item { workload, mode })
}

/// A network of the zoo on `batch` pictures of `side × side`.
///
/// # Errors
/// Where there is none of that name.
pub fn network(name: &str, mode: Mode, side: usize, batch: usize) -> Result<Item> {
    let subject = Subject::Network { network: zoo::find(name)?, classes: CLASSES };
    Ok(Item { workload: Workload { subject, input: Shape::new(batch, side, side, 3) }, mode })
}

impl Item {
    /// The same with the batch that the options ask for.
    pub fn with_batch(mut self, options: &Options) -> Self {
        let input = &mut self.workload.input;
        input.n = options.number("--batch").unwrap_or(input.n).max(1);
        self
    }

    /// The same with the batch that the options ask for; small where it is only tested.
    pub fn as_wanted(mut self, options: &Options) -> Self {
        let input = &mut self.workload.input;
        if options.testing {
            let side = match self.workload.subject {
                Subject::Block(_) => TEST_SIDES.0,
                Subject::Network { .. } => TEST_SIDES.1,
            };
            (input.n, input.h, input.w) = (1, side, side);
        }
        self.with_batch(options)
    }

    /// Its name in tables and in criterion's baselines: `csp 64x80x80 layers 2 batch 1 inference`, channels first.
    pub fn name(&self) -> String {
        let Shape { n, h, w, c } = self.workload.input;
        let batch = format!("batch {n} {:?}", self.mode).to_lowercase();
        match &self.workload.subject {
            Subject::Network { network, .. } => format!("{} {h}x{w} {batch}", network.name),
            Subject::Block(BlockSpec { name: BlockName::Elan, layers, depth, .. }) => {
                format!("elan {c}x{h}x{w} {layers} groups of {depth} {batch}")
            }
            Subject::Block(spec) => format!("{} {c}x{h}x{w} layers {} {batch}", spec.name, spec.layers),
        }
    }
}
