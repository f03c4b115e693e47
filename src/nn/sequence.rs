//! Blocks in a row.

use super::Block;
use crate::Result;
use crate::graph::Graph;
use crate::ops::Value;

/// Blocks in a row, in scopes `0`, `1`, …; a plain network where they are conv units.
#[derive(Debug, Default)]
pub struct Sequence {
    blocks: Vec<Box<dyn Block>>,
}

impl Sequence {
    /// No block yet: the identity.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with `block` behind it.
    pub fn then(mut self, block: impl Block + 'static) -> Self {
        self.blocks.push(Box::new(block));
        self
    }

    /// `count` blocks, as `make` makes them.
    pub fn repeat<B: Block + 'static>(count: usize, make: impl Fn() -> B) -> Self {
        (0..count).fold(Self::new(), |sequence, _| sequence.then(make()))
    }
}

impl Block for Sequence {
    fn trace(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        self.blocks.iter().enumerate().try_fold(x, |x, (i, block)| block.named(graph, &i.to_string(), x))
    }
}
