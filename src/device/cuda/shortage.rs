//! What to say where a program does not fit into a device's memory: what it needs, and which batch would fit.

use crate::compile::{Memory, Program, Slot, Step, WORD};
use crate::{Error, ErrorKind};

/// `program` needs more than the `memory` (free and total bytes) of the device `name`.
pub(super) fn out_of_memory(program: &Program, name: &str, memory: (usize, usize)) -> Error {
    let (free, total) = memory;
    let report = &program.report;
    let kept = report.parameter_bytes + report.state_bytes;
    let inputs: usize = program.inputs.iter().map(|(_, slot)| staged_bytes(slot)).sum();
    let mebibytes = |bytes: usize| bytes.div_ceil(1 << 20);
    let message = format!(
        "{name} has too little memory: the step needs {} MiB (arena {}, parameters and states {}, inputs {}), \
         {} of {} MiB are free",
        mebibytes(kept + report.arena_bytes + inputs),
        mebibytes(report.arena_bytes),
        mebibytes(kept),
        mebibytes(inputs),
        free >> 20,
        total >> 20,
    );
    let batch = batch(program);
    let fix = match batch_that_fits(program, batch, free) {
        0 => "use a smaller input size, or --device cpu".to_owned(),
        fits => format!("a batch of {fits} should fit (it was {batch})"),
    };
    Error::new(ErrorKind::Device, message).fix(fix)
}

/// Images of a step.
fn batch(program: &Program) -> usize {
    program.inputs.iter().map(|(_, slot)| slot.shape.n).max().unwrap_or(1).max(1)
}

/// Bytes of an input's two staging buffers.
fn staged_bytes(slot: &Slot) -> usize {
    2 * slot.shape.elements() * slot.dtype.size()
}

/// The largest batch below `batch` that is sure to fit into `free` bytes; 0 where not even one is.
///
/// With f of b images each map takes f/b of its bytes; parameters, their gradients and scratch memory take
/// what they took. A plan's length is at most what is kept at worst plus f/b of the whole plan's. A twentieth
/// is left for what the driver keeps itself, and for a plan that is packed less well.
fn batch_that_fits(program: &Program, batch: usize, free: usize) -> usize {
    let grows = |slot: &Slot| slot.shape.n == batch;
    let inputs = |growing: bool| -> usize {
        program.inputs.iter().filter(|(_, slot)| grows(slot) == growing).map(|(_, s)| staged_bytes(s)).sum()
    };
    let report = &program.report;
    let fixed = report.parameter_bytes + report.state_bytes + inputs(false) + fixed_bytes(program, &grows);
    let room = (free - free / 20).saturating_sub(fixed);
    let growing = (report.arena_bytes + inputs(true)).max(1);
    (room / growing.div_ceil(batch)).min(batch - 1)
}

/// The most bytes of the arena that are alive at one step and do not grow with the batch.
fn fixed_bytes(program: &Program, grows: &dyn Fn(&Slot) -> bool) -> usize {
    let steps = &program.steps;
    let mut alive = vec![0; steps.len()];
    let in_arena = |slot: &&Slot| slot.memory == Memory::Arena && !grows(slot);
    for (first, step) in steps.iter().enumerate() {
        if let (Some((_, words)), Some(bytes)) = (step.workspace, alive.get_mut(first)) {
            *bytes += words * WORD;
        }
        for slot in step.outputs.iter().filter(in_arena) {
            let last = last_use(program, slot, first);
            for bytes in alive.iter_mut().take(last + 1).skip(first) {
                *bytes += slot.extent() * slot.dtype.size();
            }
        }
    }
    let fed = program.inputs.iter().map(|(_, slot)| slot).filter(in_arena);
    let fed: usize = fed.map(|slot| slot.extent() * slot.dtype.size()).sum();
    alive.into_iter().max().unwrap_or(0) + fed
}

/// The last step that uses what step `first` writes into `slot`.
fn last_use(program: &Program, slot: &Slot, first: usize) -> usize {
    let end = program.steps.len() - 1;
    let stored = program.stores.iter().map(|(from, _)| from);
    if program.outputs.iter().map(|(_, slot)| slot).chain(stored).any(|kept| kept == slot) {
        return end;
    }
    let reads = |step: &Step| step.inputs.iter().flatten().any(|input| input == slot);
    // An input that is not named lies in an output.
    let changes = |step: &Step| step.inputs.contains(&None) && step.outputs.contains(slot);
    let later = program.steps.iter().enumerate().skip(first + 1);
    let mut last = first;
    for (index, step) in later {
        if reads(step) || changes(step) {
            last = index;
        }
        if step.outputs.contains(slot) {
            break;
        }
    }
    last
}
