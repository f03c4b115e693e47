//! What a program asks of a CUDA device, given where its memory lies.

use crate::compile::{Memory, Program, Slot, Step, WORD};
use crate::ops::Op;
use crate::ops::copy::Copy;
use crate::runtime::cuda::{DeviceView, Launch, Operands, Target};
use crate::{Error, Result};

/// Bytes of a step's status word.
pub(super) const STATUS_BYTES: usize = size_of::<u64>();

/// A stretch of device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub address: u64,
    pub bytes: usize,
}

/// Where a program's memory lies on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub(super) arena: Stretch,
    pub(super) persistent: Vec<Stretch>,
    pub(super) status: u64,
    /// The staging buffers of each input, dense.
    pub(super) staging: Vec<[u64; 2]>,
}

impl Addresses {
    /// Addresses as aligned as a driver's, of memory that is not there: to see which kernels a program
    /// needs, and to compile them for an architecture that is not at hand.
    pub fn pretended(program: &Program) -> Self {
        // Far apart, so that no kernel takes two for neighbours.
        let mut next = 0;
        let mut address = || {
            next += 1 << 40;
            next
        };
        Addresses {
            arena: Stretch { address: address(), bytes: program.arena * WORD },
            persistent: program
                .persistent
                .iter()
                .map(|p| Stretch { address: address(), bytes: p.bytes() })
                .collect(),
            status: address(),
            staging: program.inputs.iter().map(|_| [address(), address()]).collect(),
        }
    }

    /// Where `slot` lies.
    ///
    /// # Errors
    /// Where it would leave its memory.
    pub(super) fn view(&self, slot: &Slot) -> Result<DeviceView> {
        let memory = match slot.memory {
            Memory::Arena => Some(&self.arena),
            Memory::Persistent(index) => self.persistent.get(index),
        };
        let size = slot.dtype.size();
        let memory = memory.filter(|m| (slot.offset + slot.extent()) * size <= m.bytes);
        let memory = memory.ok_or_else(|| Error::internal("a slot of the program leaves its memory"))?;
        if slot.extent() > i32::MAX as usize {
            let message = "a map of 2^31 elements and more cannot be indexed";
            return Err(Error::shape("cuda", &[slot.shape], message).fix("use a smaller batch"));
        }
        let address = memory.address + (slot.offset * size) as u64;
        Ok(DeviceView { address, shape: slot.shape, pixel_stride: slot.pixel_stride, dtype: slot.dtype })
    }

    fn step(&self, step: &Step, index: usize, target: &Target) -> Result<Vec<Launch>> {
        let view = |slot: &Option<Slot>| slot.as_ref().map(|slot| self.view(slot)).transpose();
        let workspace = match step.workspace {
            Some((offset, length)) if (offset + length) * WORD <= self.arena.bytes => {
                self.arena.address + (offset * WORD) as u64
            }
            Some(_) => return Err(Error::internal("a workspace of the program leaves the arena")),
            None => 0,
        };
        let operands = Operands {
            inputs: step.inputs.iter().map(view).collect::<Result<_>>()?,
            outputs: step.outputs.iter().map(|slot| self.view(slot)).collect::<Result<_>>()?,
            workspace,
            status: self.status + (index * STATUS_BYTES) as u64,
        };
        step.op.cuda(&operands, target).map_err(|e| e.in_op(step.title()))
    }
}

/// The launches of a program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Launches {
    /// Those of each step.
    pub steps: Vec<Vec<Launch>>,
    /// After them: those that copy values into parameters and states.
    pub stores: Vec<Vec<Launch>>,
    /// Before them: for each input, from either staging buffer into its slot.
    pub inputs: Vec<[Vec<Launch>; 2]>,
}

impl Launches {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Launch> {
        let inputs = self.inputs.iter().flatten().flatten();
        self.steps.iter().chain(&self.stores).flatten().chain(inputs)
    }
}

/// The launches of `program` on `target`, its memory lying at `addresses`.
///
/// # Errors
/// Where an op cannot run there, or a slot leaves its memory.
pub fn launches(program: &Program, target: &Target, addresses: &Addresses) -> Result<Launches> {
    let copy = |from: DeviceView, to: DeviceView| {
        let operands = Operands { inputs: vec![Some(from)], outputs: vec![to], workspace: 0, status: 0 };
        Copy.cuda(&operands, target)
    };
    let store = |(from, to): &(Slot, Slot)| copy(addresses.view(from)?, addresses.view(to)?);
    let input = |((_, slot), sets): (&(String, Slot), &[u64; 2])| {
        let view = addresses.view(slot)?;
        let dense = |address| DeviceView { address, pixel_stride: slot.shape.c, ..view };
        Ok([copy(dense(sets[0]), view)?, copy(dense(sets[1]), view)?])
    };
    let steps = program.steps.iter().enumerate();
    Ok(Launches {
        steps: steps.map(|(index, step)| addresses.step(step, index, target)).collect::<Result<_>>()?,
        stores: program.stores.iter().map(store).collect::<Result<_>>()?,
        inputs: program.inputs.iter().zip(&addresses.staging).map(input).collect::<Result<_>>()?,
    })
}
