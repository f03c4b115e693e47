//! What the plan says of memory: the peak, the node that reaches it, and what is alive then.

use super::lowered::Lowered;
use super::place::{Placed, UnavoidableCopy};
use super::plan::{Plan, Request};
use super::program::Persistent;

/// Something alive at the peak.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Resident {
    /// The scope that made it.
    pub scope: String,
    /// The op that made it, `input`, or `workspace`.
    pub op: String,
    /// Bytes.
    pub bytes: usize,
}

/// The memory of a program, in bytes.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct MemoryReport {
    /// The arena: what is really held for the step's own values.
    pub arena_bytes: usize,
    /// The most bytes alive at one node: no plan can need less.
    pub bound_bytes: usize,
    /// Parameters.
    pub parameter_bytes: usize,
    /// States: running statistics, momentum, averages.
    pub state_bytes: usize,
    /// The scope of the node where the most bytes are alive.
    pub peak_scope: String,
    /// Its op.
    pub peak_op: String,
    /// What is alive there, the largest first.
    pub alive: Vec<Resident>,
    /// Copies that concats could not do without.
    pub copies: Vec<UnavoidableCopy>,
}

impl MemoryReport {
    /// Everything that is held during a step: arena, parameters and states.
    pub fn total_bytes(&self) -> usize {
        self.arena_bytes + self.parameter_bytes + self.state_bytes
    }
}

/// Reads the report off a plan. `requests` are the arena's buffers in order, then the workspaces.
pub(super) fn report(
    lowered: &Lowered,
    placed: &Placed,
    requests: &[Request],
    plan: &Plan,
    persistent: &[Persistent],
) -> MemoryReport {
    let bytes = |learned: bool| -> usize {
        persistent.iter().filter(|p| p.learned == learned).map(|p| p.bytes()).sum()
    };
    let uses = lowered.uses();
    let buffers = placed.buffers.iter().filter(|b| b.persistent.is_none()).map(Some);
    let mut alive: Vec<Resident> = requests
        .iter()
        .zip(buffers.chain(std::iter::repeat(None)))
        .filter(|(r, _)| r.first <= plan.peak && plan.peak <= r.last)
        .map(|(request, buffer)| {
            let bytes = request.size * super::WORD;
            let Some(buffer) = buffer else {
                let node = &lowered.nodes[request.first];
                return Resident { scope: node.scope.clone(), op: "workspace".into(), bytes };
            };
            let maker = buffer.owners.iter().find_map(|v| uses.producer[v.index()]);
            match maker.map(|index| &lowered.nodes[index]) {
                Some(node) => Resident { scope: node.scope.clone(), op: node.op.name().into(), bytes },
                None => {
                    let name = buffer.owners.first().map(|v| lowered.values[v.index()].name.clone());
                    Resident { scope: name.unwrap_or_default(), op: "input".into(), bytes }
                }
            }
        })
        .collect();
    alive.sort_by_key(|r| std::cmp::Reverse(r.bytes));
    let peak = lowered.nodes.get(plan.peak).or(lowered.nodes.last());
    MemoryReport {
        arena_bytes: plan.length * super::WORD,
        bound_bytes: plan.bound * super::WORD,
        parameter_bytes: bytes(true),
        state_bytes: bytes(false),
        peak_scope: peak.map(|n| n.scope.clone()).unwrap_or_default(),
        peak_op: peak.map(|n| n.op.name().to_owned()).unwrap_or_default(),
        alive,
        copies: placed.copies.clone(),
    }
}
