//! What every kernel of a compiled program costs: operations, bytes, convolutional input and output.
//!
//! The one count of a program's bytes: layers ([`super::cost`]) and whole programs are sums of these rows. Operations
//! are [`crate::ops::Op::cost`], bytes [`crate::ops::Op::accesses`] of the step as it was compiled, which
//! `tests/cuda/traffic.rs` holds against traces of the CUDA kernels.

use std::iter::Sum;
use std::ops::AddAssign;

use serde::Serialize;

use super::cost::Flops;
use super::layers::describe;
use super::roofline::{Binding, Ceilings};
use crate::compile::{Memory, ProcessorKind, Program, Slot, Step};
use crate::graph::Pass;
use crate::ops::Usage;
use crate::tensor::Shape;

/// What a kernel costs, or several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Work {
    /// Floating-point operations.
    pub flops: Flops,
    /// Bytes that it reads from memory, scratch memory not counted.
    pub read_bytes: usize,
    /// Bytes that it writes.
    pub written_bytes: usize,
    /// Elements that forward convolutions take in and put out ([`crate::ops::Cost::cio`]).
    pub cio: f64,
}

impl Work {
    /// What `step` costs on `processor`.
    pub fn of(step: &Step, processor: ProcessorKind) -> Self {
        let in_place: Vec<bool> = step.inputs.iter().map(Option::is_none).collect();
        let inputs: Vec<Slot> = (0..step.inputs.len()).filter_map(|i| step.input_slot(i)).collect();
        let (input_shapes, output_shapes) = step.shapes();
        let cost = step.op.cost(&input_shapes, &output_shapes);
        let accesses = step.op.accesses(&Usage {
            inputs: &input_shapes,
            outputs: &output_shapes,
            in_place: &in_place,
            kernels: processor.kernels(),
        });
        let bytes = |elements: &[usize], slots: &[Slot]| {
            elements.iter().zip(slots).map(|(count, slot)| count * slot.dtype.size()).sum()
        };
        Work {
            flops: Flops { mac2: cost.flops, darknet: cost.darknet_flops },
            read_bytes: bytes(&accesses.read, &inputs),
            written_bytes: bytes(&accesses.written, &step.outputs),
            cio: cost.cio,
        }
    }

    /// Bytes read and written.
    pub fn bytes(&self) -> usize {
        self.read_bytes + self.written_bytes
    }

    /// Arithmetic intensity: operations for each byte; 0 where no byte moves.
    pub fn intensity(&self) -> f64 {
        match self.bytes() {
            0 => 0.0,
            bytes => self.flops.mac2 / bytes as f64,
        }
    }

    /// The seconds that it takes at the ceilings of a device, and the ceiling that they are of.
    pub fn roofline(&self, ceilings: &Ceilings) -> (f64, Binding) {
        ceilings.bound(self.flops.mac2, self.bytes() as f64)
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Work) {
        self.flops.mac2 += other.flops.mac2;
        self.flops.darknet += other.flops.darknet;
        self.read_bytes += other.read_bytes;
        self.written_bytes += other.written_bytes;
        self.cio += other.cio;
    }
}

impl Sum for Work {
    fn sum<I: Iterator<Item = Work>>(works: I) -> Work {
        works.fold(Work::default(), |mut sum, work| {
            sum += work;
            sum
        })
    }
}

/// A kernel of a program and what it costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kernel {
    /// The dotted path of the scopes that it was traced in; of a store, what is stored.
    pub scope: String,
    /// What it does (`conv 3×3/2`), or `store`: what a run copies into a parameter or a state behind its steps.
    pub op: String,
    /// The part of the run that it belongs to.
    pub pass: Pass,
    /// The shape of its first output, `[n, h, w, c]`.
    pub output: Shape,
    /// What it costs.
    #[serde(flatten)]
    pub work: Work,
}

/// The kernels of `program` in their order, then its stores.
pub fn kernels(program: &Program) -> Vec<Kernel> {
    let step = |step: &Step| Kernel {
        scope: step.scope.clone(),
        op: describe(&*step.op),
        pass: step.pass,
        output: step.outputs.first().map_or(Shape::scalar(), |slot| slot.shape),
        work: Work::of(step, program.processor),
    };
    let store = |(from, to): &(Slot, Slot)| {
        let stored = match to.memory {
            Memory::Persistent(index) => program.persistent.get(index),
            Memory::Arena => None,
        };
        Kernel {
            scope: stored.map(|stored| stored.name.clone()).unwrap_or_default(),
            op: "store".to_owned(),
            pass: Pass::Update,
            output: to.shape,
            work: Work { read_bytes: from.bytes(), written_bytes: to.bytes(), ..Work::default() },
        }
    };
    program.steps.iter().map(step).chain(program.stores.iter().map(store)).collect()
}

/// The sum over `program`'s kernels.
pub fn total(program: &Program) -> Work {
    kernels(program).into_iter().map(|kernel| kernel.work).sum()
}

#[cfg(test)]
#[path = "kernels_tests.rs"]
mod tests;
