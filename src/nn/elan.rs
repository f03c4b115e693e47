//! Efficient layer aggregation networks.

use super::{Block, Style};
use crate::Result;
use crate::graph::Graph;
use crate::ops::{Value, add, concat};

/// ELAN (Wang et al. 2022; YOLOv7): two transitions read the input; one crosses, the other enters a
/// stack of `groups` groups of `depth` 3×3 units; the outputs after each group and both branches are
/// concatenated, and ONE transition ends it. YOLOv7-tiny: groups of 1; YOLOv7: groups of 2.
#[derive(Clone, Debug)]
pub struct Elan {
    /// Channels of each of the two branches.
    pub branch: usize,
    /// Channels of the stack's units.
    pub inner: usize,
    /// Groups in the stack, s.
    pub groups: usize,
    /// Units in a group, n.
    pub depth: usize,
    /// Channels of the transition.
    pub filters: usize,
    /// The units' style.
    pub style: Style,
}

impl Block for Elan {
    fn trace(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let crossing = self.style.transition(self.branch).named(graph, "crossing", x)?;
        let entry = self.style.transition(self.branch).named(graph, "entry", x)?;
        let mut parts = vec![crossing, entry];
        let mut last = entry;
        for group in 0..self.groups {
            for unit in 0..self.depth {
                let name =
                    if self.depth == 1 { format!("stack{group}") } else { format!("stack{group}.{unit}") };
                last = self.style.unit(self.inner, 3).named(graph, &name, last)?;
            }
            parts.push(last);
        }
        let joined = concat::trace(graph, &parts)?;
        self.style.transition(self.filters).named(graph, "transition", joined)
    }
}

/// E-ELAN (YOLOv7-E6E): expand, shuffle, merge cardinality. Grouped convolutions over `cardinality`
/// times the channels, shuffled so that every group sees the whole input, are `cardinality` ELANs side
/// by side on the same input; merging the groups is adding them.
#[derive(Clone, Debug)]
pub struct ExtendedElan {
    /// The ELAN of one group.
    pub elan: Elan,
    /// The number of groups.
    pub cardinality: usize,
}

impl Block for ExtendedElan {
    fn trace(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let mut merged = self.elan.named(graph, "group0", x)?;
        for group in 1..self.cardinality {
            let next = self.elan.named(graph, &format!("group{group}"), x)?;
            merged = add::trace(graph, next, merged)?;
        }
        Ok(merged)
    }
}
