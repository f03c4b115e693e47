//! What the plan says of memory: the peak, the node that reaches it, and what is alive then.

use std::collections::HashMap;

use super::lowered::{Lowered, Uses};
use super::place::{Buffer, Placed, UnavoidableCopy};
use super::plan::{Plan, Request};
use super::program::Persistent;
use crate::graph::{Pass, Source};
use crate::ops::Value;

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

/// What the held bytes are while the most of them are alive: they add up to
/// [`MemoryReport::total_bytes`].
///
/// Where values share a buffer, as parts of a concat or one written over the other, it is counted as what was
/// written last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MemoryItems {
    /// Parameters; at inference the weights as they were folded and packed.
    pub weights: usize,
    /// Running statistics of norms.
    pub running_statistics: usize,
    /// Momentum, moments, averaged weights; new values of them that could not be written in place.
    pub optimizer_state: usize,
    /// What was fed.
    pub inputs: usize,
    /// What forward made, maps and statistics; also what backward computes again of it.
    pub activations: usize,
    /// Gradients on their way through the network.
    pub map_gradients: usize,
    /// Gradients that the optimiser reads.
    pub weight_gradients: usize,
    /// Scratch memory of the kernel that runs.
    pub workspace: usize,
    /// The rest of the arena: alignment, and gaps between what is alive.
    pub gaps: usize,
}

impl MemoryItems {
    /// The items with their names.
    pub fn named(&self) -> [(&'static str, usize); 9] {
        [
            ("weights", self.weights),
            ("running statistics", self.running_statistics),
            ("optimiser state", self.optimizer_state),
            ("inputs", self.inputs),
            ("activations", self.activations),
            ("gradients of maps", self.map_gradients),
            ("gradients of weights", self.weight_gradients),
            ("workspace", self.workspace),
            ("gaps", self.gaps),
        ]
    }

    /// The sum.
    pub fn total(&self) -> usize {
        self.named().iter().map(|(_, bytes)| bytes).sum()
    }
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
    /// What the held bytes are at that node.
    pub items: MemoryItems,
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
    let kinds = Kinds::new(lowered, placed, &uses);
    let mut items = kinds.kept(lowered, &uses, persistent);
    let buffers = placed.buffers.iter().filter(|b| b.persistent.is_none()).map(Some);
    let at_peak = |r: &Request| r.first <= plan.peak && plan.peak <= r.last;
    let mut alive: Vec<Resident> = Vec::new();
    for (request, buffer) in requests.iter().zip(buffers.chain(std::iter::repeat(None))) {
        if !at_peak(request) {
            continue;
        }
        let bytes = request.size * super::WORD;
        let Some(buffer) = buffer else {
            let node = &lowered.nodes[request.first];
            items.workspace += bytes;
            alive.push(Resident { scope: node.scope.clone(), op: "workspace".into(), bytes });
            continue;
        };
        *kinds.of(buffer, &uses, plan.peak, &mut items) += bytes;
        let maker = buffer.owners.iter().find_map(|v| uses.producer[v.index()]);
        alive.push(match maker.map(|index| &lowered.nodes[index]) {
            Some(node) => Resident { scope: node.scope.clone(), op: node.op.name().into(), bytes },
            None => {
                let name = buffer.owners.first().map(|v| lowered.values[v.index()].name.clone());
                Resident { scope: name.unwrap_or_default(), op: "input".into(), bytes }
            }
        });
    }
    let arena_bytes = plan.length * super::WORD;
    items.gaps = arena_bytes - alive.iter().map(|resident| resident.bytes).sum::<usize>();
    alive.sort_by_key(|r| std::cmp::Reverse(r.bytes));
    let peak = lowered.nodes.get(plan.peak).or(lowered.nodes.last());
    MemoryReport {
        arena_bytes,
        bound_bytes: plan.bound * super::WORD,
        parameter_bytes: bytes(true),
        state_bytes: bytes(false),
        peak_scope: peak.map(|n| n.scope.clone()).unwrap_or_default(),
        peak_op: peak.map(|n| n.op.name().to_owned()).unwrap_or_default(),
        items,
        alive,
        copies: placed.copies.clone(),
    }
}

/// The value whose bytes node `node` finds in `value`: itself; or, of a slice or a concat, which no node makes any more,
/// what was written into its window last.
fn bytes_of(lowered: &Lowered, placed: &Placed, uses: &Uses, value: Value, node: usize) -> Value {
    let Some(window) = placed.windows[value.index()] else { return value };
    let buffer = &placed.buffers[window.buffer];
    let made = |v: Value| uses.producer[v.index()];
    if made(value).is_some() || buffer.owners.contains(&value) {
        return value;
    }
    let channels = |v: Value, offset: usize| offset..offset + lowered.shape(v).c;
    let own = channels(value, window.offset);
    let overlaps = |other: &Value| {
        placed.windows[other.index()].is_some_and(|window| {
            let other = channels(*other, window.offset);
            own.start < other.end && other.start < own.end
        })
    };
    let before = buffer.owners.iter().copied().filter(|v| made(*v).is_some_and(|maker| maker < node));
    before.filter(overlaps).max_by_key(|v| made(*v)).unwrap_or(value)
}

/// What each value is, as far as it lies in the arena.
struct Kinds(Vec<Kind>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Input,
    Activation,
    MapGradient,
    WeightGradient,
    Updated,
}

impl Kinds {
    fn new(lowered: &Lowered, placed: &Placed, uses: &Uses) -> Self {
        let mut kinds = vec![Kind::Activation; lowered.values.len()];
        for (kind, info) in kinds.iter_mut().zip(&lowered.values) {
            if info.source == Source::Input {
                *kind = Kind::Input;
            }
        }
        let is_gradient = |kind: Kind| matches!(kind, Kind::MapGradient | Kind::WeightGradient);
        for (index, node) in lowered.nodes.iter().enumerate() {
            let carries = node
                .inputs
                .iter()
                .any(|&v| is_gradient(kinds[bytes_of(lowered, placed, uses, v, index).index()]));
            for &output in &node.outputs {
                let updates = |&reader: &usize| lowered.nodes[reader].pass == Pass::Update;
                kinds[output.index()] = match node.pass {
                    Pass::Forward => Kind::Activation,
                    Pass::Update => Kind::Updated,
                    // Of no gradient at all only the loss's own is made; the others compute a map again.
                    Pass::Backward if !carries && !node.inputs.is_empty() => Kind::Activation,
                    Pass::Backward if uses.readers[output.index()].iter().any(updates) => {
                        Kind::WeightGradient
                    }
                    Pass::Backward => Kind::MapGradient,
                };
            }
        }
        Kinds(kinds)
    }

    /// The item of `buffer` at node `peak`.
    fn of<'a>(&self, buffer: &Buffer, uses: &Uses, peak: usize, items: &'a mut MemoryItems) -> &'a mut usize {
        let made = |v: &&Value| uses.producer[v.index()];
        let there = buffer.owners.iter().filter(|v| made(v).is_none_or(|node| node <= peak));
        let last = there.max_by_key(made).or(buffer.owners.first());
        match last.map_or(Kind::Activation, |v| self.0[v.index()]) {
            Kind::Input => &mut items.inputs,
            Kind::Activation => &mut items.activations,
            Kind::MapGradient => &mut items.map_gradients,
            Kind::WeightGradient => &mut items.weight_gradients,
            Kind::Updated => &mut items.optimizer_state,
        }
    }

    /// What is kept between steps.
    fn kept(&self, lowered: &Lowered, uses: &Uses, persistent: &[Persistent]) -> MemoryItems {
        let mut items = MemoryItems::default();
        let values = (0..lowered.values.len()).map(|index| Value(index as u32));
        let kept = values.filter(|v| lowered.is_persistent(*v));
        let by_name: HashMap<&str, Value> =
            kept.map(|v| (lowered.values[v.index()].name.as_str(), v)).collect();
        for one in persistent {
            let Some(&value) = by_name.get(one.name.as_str()) else { continue };
            let is_prepared = lowered.prepared.iter().any(|(prepared, _)| *prepared == value);
            let assigned = lowered.assignments.iter().find(|(target, _)| *target == value);
            let maker = assigned.and_then(|(_, new)| uses.producer[new.index()]);
            let item =
                match (&lowered.values[value.index()].source, maker.map(|node| lowered.nodes[node].pass)) {
                    (Source::Parameter(_), _) => &mut items.weights,
                    _ if is_prepared => &mut items.weights,
                    (_, Some(Pass::Update)) => &mut items.optimizer_state,
                    _ => &mut items.running_statistics,
                };
            *item += one.bytes();
        }
        items
    }
}
