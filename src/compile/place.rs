//! Where every value lives.
//!
//! A *buffer* is a map some channels wide; a value is a window of channels in one. A slice is a window
//! in its source's buffer, a concat is a window over its parts' windows, and an op that may write over
//! an input shares that input's window. So the topology of CSP and ELAN moves no bytes. Two concats
//! that want the same value at offsets that do not agree cannot both have it: one gets it free, the
//! other a copy, and the report says so.

use std::sync::Arc;

use super::lowered::Lowered;
use super::stored::element_types;
use crate::graph::{Node, Pass, Source};
use crate::ops::{Layout, Op, Value, cast::Cast, copy::Copy};
use crate::tensor::{DType, Shape};
use crate::{Error, Result};

/// A value's window: the channels from `offset` of buffer `buffer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub buffer: usize,
    pub offset: usize,
}

/// A map that values are windows of.
#[derive(Clone, Debug)]
pub(super) struct Buffer {
    /// `[n, h, w, c]`, c the whole width.
    pub shape: Shape,
    /// The parameter or state whose buffer it is.
    pub persistent: Option<Value>,
    /// The first and last node (positions) that need it; one past the last node: read after the step.
    pub life: (usize, usize),
    /// Values with bytes in it.
    pub owners: Vec<Value>,
}

/// A copy that could not be avoided.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct UnavoidableCopy {
    /// The scope of the concat that wanted the value.
    pub scope: String,
    /// Elements that are copied.
    pub elements: usize,
}

/// The outcome: windows by value, and buffers.
#[derive(Debug)]
pub(super) struct Placed {
    pub windows: Vec<Option<Window>>,
    pub buffers: Vec<Buffer>,
    pub copies: Vec<UnavoidableCopy>,
    /// How every value is stored, by value: those that are windows too.
    pub types: Vec<DType>,
}

/// Decides where every value lives; inserts the copies that cannot be avoided, and drops the nodes
/// that are windows and nothing else.
pub(super) fn place(lowered: &mut Lowered, map: DType) -> Result<Placed> {
    let copies = insert_copies(lowered, map)?;
    let mut placer = Placer::new(lowered, map);
    for node in &lowered.nodes {
        if !placer.bind(node).is_empty() {
            return Err(Error::internal("a copied part does not fit its concat").in_op("place"));
        }
    }
    placer.share_in_place();
    let mut placed = placer.finish();
    placed.copies = copies;
    drop_views(lowered, &mut placed);
    Ok(placed)
}

/// Finds the parts of concats that cannot live there and has them copied.
fn insert_copies(lowered: &mut Lowered, map: DType) -> Result<Vec<UnavoidableCopy>> {
    let mut refused: Vec<(usize, usize, Arc<dyn Op>)> = Vec::new();
    let mut placer = Placer::new(lowered, map);
    for (index, node) in lowered.nodes.iter().enumerate() {
        for part in placer.bind(node) {
            let stored = |v: Value| placer.types[v.index()];
            // What is not stored as the concat is (a gradient of f32 beside maps) changes its type on the way.
            let alike = stored(node.inputs[part]) == stored(node.outputs[0]);
            refused.push((index, part, if alike { Arc::new(Copy) } else { Arc::new(Cast) }));
        }
    }
    // A parameter that is an output is read after the step, when it may hold its next value.
    let kept = |v: &Value| placer.window(*v).is_some_and(|(group, ..)| placer.groups[group].pinned);
    let outputs: Vec<usize> = (0..lowered.outputs.len()).filter(|&i| kept(&lowered.outputs[i].1)).collect();
    let mut copies = Vec::new();
    let mut inserted = Vec::new();
    for index in outputs {
        let value = lowered.outputs[index].1;
        let copy = lowered.node(Arc::new(Copy), vec![value], "", Pass::Forward)?;
        lowered.outputs[index].1 = copy.outputs[0];
        inserted.push((0, copy));
    }
    for (index, part, op) in refused {
        let node = &lowered.nodes[index];
        let (scope, pass, value) = (node.scope.clone(), node.pass, node.inputs[part]);
        copies.push(UnavoidableCopy { scope: scope.clone(), elements: lowered.shape(value).elements() });
        let copy = lowered.node(op, vec![value], &scope, pass)?;
        lowered.nodes[index].inputs[part] = copy.outputs[0];
        inserted.push((index, copy));
    }
    lowered.insert(inserted);
    Ok(copies)
}

/// The channels that a value with bytes of its own takes in its group.
#[derive(Clone, Copy, Debug)]
struct Owner {
    value: Value,
    start: isize,
    end: isize,
}

impl Owner {
    fn overlaps(&self, start: isize, end: isize) -> bool {
        self.start < end && start < self.end
    }

    fn shifted(self, by: isize) -> Self {
        Owner { start: self.start + by, end: self.end + by, ..self }
    }
}

/// Values that will be one buffer.
#[derive(Clone, Debug, Default)]
struct Group {
    owners: Vec<Owner>,
    /// Every value that is a window of it.
    members: Vec<Value>,
    /// A parameter's or a state's buffer: it cannot grow or move.
    pinned: bool,
}

struct Placer<'a> {
    lowered: &'a Lowered,
    /// How every value is stored: values of one buffer are stored alike.
    types: Vec<DType>,
    /// For every value its group and its first channel there.
    home: Vec<Option<(usize, isize)>>,
    groups: Vec<Group>,
    /// For every value where it is made and where it is read last.
    life: Vec<(usize, usize)>,
    /// For every value the node that makes it.
    producer: Vec<Option<usize>>,
}

impl<'a> Placer<'a> {
    fn new(lowered: &'a Lowered, map: DType) -> Self {
        let count = lowered.values.len();
        let mut life = vec![(0, 0); count];
        for (index, node) in lowered.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|v| life[v.index()].1 = index);
            node.outputs.iter().for_each(|v| life[v.index()] = (index, index));
        }
        // What is read or stored after the step lives to its end.
        let end = lowered.nodes.len();
        lowered.outputs.iter().for_each(|(_, v)| life[v.index()].1 = end);
        lowered.assignments.iter().for_each(|(_, v)| life[v.index()].1 = end);
        let types = element_types(lowered, map);
        let producer = lowered.uses().producer;
        let mut placer =
            Placer { lowered, types, home: vec![None; count], groups: Vec::new(), life, producer };
        // Parameters that no node touches take no memory here.
        let mut used = vec![false; count];
        lowered.nodes.iter().flat_map(|n| &n.inputs).for_each(|v| used[v.index()] = true);
        lowered.outputs.iter().for_each(|(_, v)| used[v.index()] = true);
        lowered.assignments.iter().for_each(|(t, v)| (used[t.index()], used[v.index()]) = (true, true));
        for (index, info) in lowered.values.iter().enumerate() {
            let fed = info.source == Source::Input;
            if !matches!(info.source, Source::Node { .. }) && (used[index] || fed) {
                placer.own(Value(index as u32), !matches!(info.source, Source::Input));
            }
        }
        placer
    }

    fn own(&mut self, value: Value, pinned: bool) {
        let owner = Owner { value, start: 0, end: self.lowered.shape(value).c as isize };
        self.home[value.index()] = Some((self.groups.len(), 0));
        self.groups.push(Group { owners: vec![owner], members: vec![value], pinned });
    }

    /// The window of `value`: group, first channel, one past the last.
    fn window(&self, value: Value) -> Option<(usize, isize, isize)> {
        let (group, start) = self.home[value.index()]?;
        Some((group, start, start + self.lowered.shape(value).c as isize))
    }

    /// Gives the outputs of `node` their homes. Returns the parts of a concat that cannot live there.
    fn bind(&mut self, node: &Node) -> Vec<usize> {
        let source = node.inputs.first().and_then(|v| self.home[v.index()]);
        let (group, start) = match (node.op.layout(), source) {
            (Layout::Concat, _) => return self.bind_concat(node),
            (Layout::Identity, Some(home)) => home,
            (Layout::Slice { offset }, Some((group, start))) => (group, start + offset as isize),
            _ => {
                node.outputs.iter().for_each(|&v| self.own(v, false));
                return Vec::new();
            }
        };
        self.home[node.outputs[0].index()] = Some((group, start));
        self.groups[group].members.push(node.outputs[0]);
        Vec::new()
    }

    fn bind_concat(&mut self, node: &Node) -> Vec<usize> {
        let output = node.outputs[0];
        // A group of its own, without bytes: the parts bring them.
        self.home[output.index()] = Some((self.groups.len(), 0));
        self.groups.push(Group { members: vec![output], ..Group::default() });
        let mut offset = 0;
        let mut parts = Vec::new();
        for &value in &node.inputs {
            parts.push((value, offset));
            offset += self.lowered.shape(value).c as isize;
        }
        self.write_over_neighbours(&parts);
        let mut refused = Vec::new();
        for (index, &(value, offset)) in parts.iter().enumerate() {
            let wanted = self.window(output).map(|(group, start, _)| (group, start + offset));
            let there = wanted == self.home[value.index()];
            if there || self.fits(output, &parts, index) && self.merge(output, value, offset) {
                continue;
            }
            refused.push(index);
            if let Some((group, start, _)) = self.window(output) {
                let width = self.lowered.shape(value).c as isize;
                let owner = Owner { value: output, start: start + offset, end: start + offset + width };
                self.groups[group].owners.push(owner);
            }
        }
        refused
    }

    /// Where a part is a window of something wider, and another part may be written over its neighbours there, has it
    /// written: so the blocks of a CSP stage write over the half of the input that they have read, beside the half
    /// that crosses, and the concat is the input's own buffer.
    fn write_over_neighbours(&mut self, parts: &[(Value, isize)]) {
        for &(value, offset) in parts {
            let Some((group, start, _)) = self.window(value) else { continue };
            if self.groups[group].owners.iter().any(|owner| owner.value == value) {
                continue;
            }
            for &(other, at) in parts.iter().filter(|part| part.0 != value) {
                self.bring(other, (group, start - offset + at));
            }
        }
    }

    /// Lets `value` take the window that begins at `home`, by writing it, and what it is written over, in place.
    fn bring(&mut self, value: Value, home: (usize, isize)) -> bool {
        if self.home[value.index()] == Some(home) {
            return true;
        }
        let lowered = self.lowered;
        let Some(index) = self.producer[value.index()] else { return false };
        let node = &lowered.nodes[index];
        for &pair in node.op.in_place() {
            if node.outputs.get(pair.1) != Some(&value) {
                continue;
            }
            let Some(&input) = node.inputs.get(pair.0) else { continue };
            if self.bring(input, home) {
                self.try_in_place(index, node, pair);
                return self.home[value.index()] == Some(home);
            }
        }
        false
    }

    /// Whether what part `index` brings along (its whole group) leaves the windows of the other parts
    /// free, or holds exactly those parts there.
    fn fits(&self, output: Value, parts: &[(Value, isize)], index: usize) -> bool {
        let (value, offset) = parts[index];
        let Some((_, at, _)) = self.window(output) else { return false };
        let Some((group, from, _)) = self.window(value) else { return false };
        let shift = at + offset - from;
        parts.iter().enumerate().filter(|(other, _)| *other != index).all(|(_, &(other, offset))| {
            let (start, end) = (at + offset, at + offset + self.lowered.shape(other).c as isize);
            let brought = self.groups[group].owners.iter().any(|o| o.shifted(shift).overlaps(start, end));
            !brought || self.home[other.index()] == Some((group, start - shift))
        })
    }

    /// Tries to make `part` the channels from `offset` of `whole`, no two owners overlapping.
    fn merge(&mut self, whole: Value, part: Value, offset: isize) -> bool {
        let (Some((a, at, _)), Some((b, from, _))) = (self.window(whole), self.window(part)) else {
            return false;
        };
        let shift = at + offset - from;
        if a == b {
            return shift == 0;
        }
        let pixels = |v: Value| (self.lowered.shape(v).with_c(0), self.types[v.index()]);
        if self.groups[b].pinned || self.groups[a].pinned || pixels(whole) != pixels(part) {
            return false;
        }
        let clash = |o: &Owner| {
            let moved = o.shifted(shift);
            self.groups[a].owners.iter().any(|x| x.overlaps(moved.start, moved.end))
        };
        if self.groups[b].owners.iter().any(clash) {
            return false;
        }
        self.absorb(a, b, shift);
        true
    }

    /// Moves everything of group `b` into `a`.
    fn absorb(&mut self, a: usize, b: usize, shift: isize) {
        let Group { owners, members, .. } = std::mem::take(&mut self.groups[b]);
        for &value in &members {
            if let Some((group, start)) = &mut self.home[value.index()] {
                (*group, *start) = (a, *start + shift);
            }
        }
        self.groups[a].owners.extend(owners.into_iter().map(|o| o.shifted(shift)));
        self.groups[a].members.extend(members);
    }

    /// First and last node that need the group.
    fn group_life(&self, group: usize) -> (usize, usize) {
        let lives = || self.groups[group].members.iter().map(|v| self.life[v.index()]);
        (lives().map(|l| l.0).min().unwrap_or(0), lives().map(|l| l.1).max().unwrap_or(0))
    }

    /// Lets outputs take the place of inputs that are read for the last time there, in the order of
    /// the schedule.
    fn share_in_place(&mut self) {
        for (index, node) in self.lowered.nodes.iter().enumerate() {
            node.op.in_place().iter().for_each(|&pair| self.try_in_place(index, node, pair));
        }
    }

    fn try_in_place(&mut self, index: usize, node: &Node, pair: (usize, usize)) {
        let (Some(&input), Some(&output)) = (node.inputs.get(pair.0), node.outputs.get(pair.1)) else {
            return;
        };
        let (Some((a, start, end)), Some((b, from, to))) = (self.window(input), self.window(output)) else {
            return;
        };
        let target = self.lowered.assignments.iter().find(|(_, v)| *v == output).map(|(t, _)| *t);
        // Of what is kept only the assignment's own target may be overwritten, and it must be.
        let stored = |v: Value| (self.lowered.shape(v).with_c(0), self.types[v.index()]);
        if stored(input) != stored(output) {
            return;
        }
        // The output's channels there. Beside a narrower input they must have been something's: a masked residual
        // is written over all of the block's input.
        let (narrow, end) = (end - start, start + to - from);
        if narrow != to - from {
            let covered = self.groups[a].owners.iter().any(|owner| owner.start <= start && end <= owner.end);
            let fits = narrow < to - from && node.op.over_narrower(pair.0, narrow as usize).is_some();
            if !(covered && fits) {
                return;
            }
        }
        if a == b || self.groups[b].pinned || self.groups[a].pinned != (target == Some(input)) {
            return;
        }
        let pinned = self.groups[a].pinned;
        if pinned && self.groups[b].members.len() > 1 {
            return;
        }
        let looks = |v: &Value| self.window(*v).is_some_and(|(g, s, e)| g == a && s < end && start < e);
        // No later reader of these channels, and no other operand of this node among them.
        let later = |v: &&Value| looks(v) && self.life[v.index()].1 > index;
        let operand = |v: &&Value| **v != input && looks(v);
        let repeated = node.inputs.iter().filter(|&&v| v == input).count() > 1;
        if repeated || self.groups[a].members.iter().any(|v| later(&v)) {
            return;
        }
        if node.inputs.iter().chain(&node.outputs).any(|v| operand(&v)) {
            return;
        }
        // The buffer must be held no longer, and be no wider, than the two would be alone.
        let exact = self.groups[a].owners.iter().all(|o| start <= o.start && o.end <= end);
        let held = (self.group_life(b).1, self.group_life(a).1);
        if !exact && held.0 > held.1 {
            return;
        }
        // What else comes with the output's buffer must not lie over anything.
        let shift = start - from;
        let clash = self.groups[b].owners.iter().filter(|o| o.value != output).any(|o| {
            let moved = o.shifted(shift);
            self.groups[a].owners.iter().any(|x| x.overlaps(moved.start, moved.end))
        });
        if !clash {
            self.absorb(a, b, shift);
        }
    }

    fn finish(self) -> Placed {
        let mut buffers = Vec::new();
        let mut windows = vec![None; self.lowered.values.len()];
        for (index, group) in self.groups.iter().enumerate() {
            let low = group.owners.iter().map(|o| o.start).min();
            let high = group.owners.iter().map(|o| o.end).max();
            let (Some(low), Some(high)) = (low, high) else { continue };
            for &member in &group.members {
                if let Some((_, start)) = self.home[member.index()] {
                    let offset = (start - low) as usize;
                    windows[member.index()] = Some(Window { buffer: buffers.len(), offset });
                }
            }
            let owners: Vec<Value> = group.owners.iter().map(|o| o.value).collect();
            buffers.push(Buffer {
                shape: self.lowered.shape(owners[0]).with_c((high - low) as usize),
                persistent: owners.iter().copied().find(|&v| self.lowered.is_persistent(v)),
                life: self.group_life(index),
                owners,
            });
        }
        Placed { windows, buffers, copies: Vec::new(), types: self.types }
    }
}

/// Removes the nodes that are windows, and counts lives in what is left.
fn drop_views(lowered: &mut Lowered, placed: &mut Placed) {
    let runs: Vec<bool> = lowered.nodes.iter().map(|n| n.op.layout() == Layout::Own).collect();
    // Nodes that run before each position.
    let mut before = Vec::with_capacity(runs.len() + 1);
    let mut count = 0;
    for run in &runs {
        before.push(count);
        count += usize::from(*run);
    }
    before.push(count);
    for buffer in &mut placed.buffers {
        let (from, to) = buffer.life;
        // Made or read last by a view: the node that runs next, or ran before, counts.
        let last = if runs.get(to) == Some(&false) { before[to].saturating_sub(1) } else { before[to] };
        buffer.life = (before[from], last.max(before[from]));
    }
    let mut runs = runs.into_iter();
    lowered.nodes.retain(|_| runs.next().unwrap_or(false));
}
