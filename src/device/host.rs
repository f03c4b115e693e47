//! Programs in host memory: the reference device in f64, the cpu device in f32.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Session;
use crate::compile::{Memory, ProcessorKind, Program, Slot, Step};
use crate::ops::Io;
use crate::runtime::Cpu;
use crate::tensor::{DType, Element, Tensor, View, ViewMut};
use crate::{Error, ErrorKind, Result};

/// Memory that begins at a multiple of 64 bytes and stays where it is.
struct Buffer<T> {
    data: Box<[T]>,
    start: usize,
    length: usize,
}

impl<T: Element> Buffer<T> {
    fn new(length: usize) -> Result<Self> {
        let slack = 64 / size_of::<T>();
        // Zeroed by the system, page by page as they are first touched.
        let data: Box<[T]> = bytemuck::allocation::try_zeroed_slice_box(length + slack).map_err(|()| {
            let bytes = length * size_of::<T>();
            Error::new(ErrorKind::Device, format!("cannot allocate {bytes} bytes"))
                .fix("use a smaller batch or a smaller input size")
        })?;
        let start = data.as_ptr().align_offset(64).min(slack);
        Ok(Buffer { data, start, length })
    }

    fn as_mut_ptr(&mut self) -> *mut T {
        self.data[self.start..].as_mut_ptr()
    }

    fn as_slice(&self) -> &[T] {
        &self.data[self.start..self.start + self.length]
    }
}

/// How a step's op is run on elements of this type.
type Runner<T> = Arc<dyn Fn(&Step, &mut Io<'_, T>) -> Result<()> + Send + Sync>;

/// A program in host memory, in elements of `T`.
pub(super) struct HostSession<T> {
    program: Arc<Program>,
    arena: Buffer<T>,
    persistent: Vec<Buffer<T>>,
    run: Runner<T>,
    /// Whose threads a whole step runs on: entering the pool anew for every op would cost a hand-over each.
    cpu: Option<Cpu>,
}

impl HostSession<f64> {
    pub(super) fn reference(program: Arc<Program>) -> Result<Self> {
        Self::new(program, Arc::new(|step: &Step, io: &mut Io<'_, f64>| step.op.reference(io)), None)
    }
}

impl HostSession<f32> {
    pub(super) fn cpu(program: Arc<Program>, cpu: Cpu) -> Result<Self> {
        if program.processor != ProcessorKind::Cpu(cpu.threads(), cpu.simd()) {
            return Err(Error::internal("the program was compiled for another device"));
        }
        let threads = cpu.clone();
        let run = Arc::new(move |step: &Step, io: &mut Io<'_, f32>| step.op.cpu(io, &cpu));
        Self::new(program, run, Some(threads))
    }
}

impl<T: Element> HostSession<T> {
    fn new(program: Arc<Program>, run: Runner<T>, cpu: Option<Cpu>) -> Result<Self> {
        let arena = Buffer::new(program.arena)?;
        let persistent =
            program.persistent.iter().map(|p| Buffer::new(p.shape.elements())).collect::<Result<_>>()?;
        Ok(HostSession { program, arena, persistent, run, cpu })
    }

    /// Where `slot` begins. Fails where it would leave its buffer.
    fn locate(&mut self, slot: &Slot) -> Result<*mut T> {
        let buffer = match slot.memory {
            Memory::Arena => Some(&mut self.arena),
            Memory::Persistent(index) => self.persistent.get_mut(index),
        };
        match buffer {
            Some(buffer) if slot.offset + slot.extent() <= buffer.length => {
                // SAFETY: offset ≤ length, checked just now.
                Ok(unsafe { buffer.as_mut_ptr().add(slot.offset) })
            }
            _ => Err(Error::internal("a slot of the program leaves its buffer")),
        }
    }

    /// The elements of `slot`, dense.
    fn gather(&self, slot: &Slot) -> Result<Vec<T>> {
        let buffer = match slot.memory {
            Memory::Arena => Some(&self.arena),
            Memory::Persistent(index) => self.persistent.get(index),
        };
        let data = buffer.and_then(|b| b.as_slice().get(slot.offset..slot.offset + slot.extent()));
        let data = data.ok_or_else(|| Error::internal("a slot of the program leaves its buffer"))?;
        if slot.pixel_stride == slot.shape.c {
            return Ok(data.to_vec());
        }
        let mut dense = Vec::with_capacity(slot.shape.elements());
        for pixel in 0..slot.shape.pixels() {
            let start = pixel * slot.pixel_stride;
            dense.extend_from_slice(&data[start..start + slot.shape.c]);
        }
        Ok(dense)
    }

    /// Fills `slot` with dense elements.
    fn scatter(&mut self, slot: &Slot, dense: &[T]) -> Result<()> {
        if dense.len() != slot.shape.elements() {
            return Err(Error::internal("a slot of the program is filled with another number of elements"));
        }
        let pointer = self.locate(slot)?;
        // SAFETY: `locate` checked that the slot lies in its buffer, which `&mut self` borrows.
        let mut view = unsafe { ViewMut::from_raw(pointer, slot.shape, slot.pixel_stride) };
        match view.as_mut_slice() {
            Some(all) => all.copy_from_slice(dense),
            None => view.copy_from(View::dense(dense, slot.shape)),
        }
        Ok(())
    }

    fn read(&self, slot: &Slot) -> Result<Tensor> {
        Tensor::new(slot.shape, T::into_f32s(self.gather(slot)?))
    }

    fn write(&mut self, slot: &Slot, tensor: &Tensor) -> Result<()> {
        self.scatter(slot, &T::from_f32s(tensor.data()))
    }

    /// Runs every step, then stores; `after` is called after each step.
    fn run_all(&mut self, mut after: impl FnMut() + Send) -> Result<()> {
        let program = self.program.clone();
        let cpu = self.cpu.clone();
        let mut steps = || {
            program.steps.iter().try_for_each(|step| {
                self.run_step(step)?;
                after();
                Ok(())
            })
        };
        match cpu {
            Some(cpu) => cpu.install(steps)?,
            None => steps()?,
        }
        self.store()
    }

    /// Copies what could not be written in place into parameters and states.
    fn store(&mut self) -> Result<()> {
        let program = self.program.clone();
        for (from, to) in &program.stores {
            let dense = self.gather(from)?;
            self.scatter(to, &dense)?;
        }
        Ok(())
    }

    fn run_step(&mut self, step: &Step) -> Result<()> {
        let mut inputs = Vec::with_capacity(step.inputs.len());
        for slot in &step.inputs {
            let Some(slot) = slot else {
                inputs.push(None);
                continue;
            };
            let pointer = self.locate(slot)?;
            // SAFETY: `locate` checked the bounds. The planner gives an input and an output of one
            // step memory in common only where the input is `None` here (or the output is a view
            // of other channels), and outputs none among each other.
            inputs.push(Some(unsafe { View::from_raw(pointer, slot.shape, slot.pixel_stride) }));
        }
        let mut outputs = Vec::with_capacity(step.outputs.len());
        for slot in &step.outputs {
            // SAFETY: as above.
            outputs.push(unsafe { ViewMut::from_raw(self.locate(slot)?, slot.shape, slot.pixel_stride) });
        }
        let workspace = match step.workspace {
            Some((offset, length)) if offset + length <= self.arena.length => {
                // SAFETY: in bounds, and the planner gives the workspace memory of its own.
                unsafe { std::slice::from_raw_parts_mut(self.arena.as_mut_ptr().add(offset), length) }
            }
            Some(_) => return Err(Error::internal("a workspace of the program leaves the arena")),
            None => &mut [],
        };
        (self.run)(step, &mut Io { inputs, outputs, workspace }).map_err(|e| e.in_op(step.title()))
    }
}

impl<T: Element> Session for HostSession<T> {
    fn program(&self) -> &Program {
        &self.program
    }

    fn load(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let program = self.program.clone();
        let mut prepared = HashSet::new();
        for prepare in &program.prepare {
            let mut session = HostSession::new(prepare.clone(), self.run.clone(), self.cpu.clone())?;
            session.load(state)?;
            session.run()?;
            for (name, slot) in &prepare.outputs {
                let index = program.persistent.iter().position(|persistent| persistent.name == *name);
                let index = index.ok_or_else(|| Error::internal("what is prepared is not kept"))?;
                self.scatter(&whole(index, slot.shape), &session.gather(slot)?)?;
                prepared.insert(index);
            }
        }
        for (index, persistent) in program.persistent.iter().enumerate() {
            if prepared.contains(&index) {
                continue;
            }
            let slot = whole(index, persistent.shape);
            self.write(&slot, super::loaded(state, &persistent.name, persistent.shape)?)?;
        }
        Ok(())
    }

    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let persistent = self.program.persistent.iter().enumerate();
        persistent.map(|(i, p)| Ok((p.name.clone(), self.read(&whole(i, p.shape))?))).collect()
    }

    fn feed(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        let program = self.program.clone();
        let Some((_, slot)) = program.inputs.iter().find(|(n, _)| n == name) else {
            return Err(super::no_input(name));
        };
        super::expect_input_shape(name, tensor.shape(), slot.shape)?;
        self.write(slot, tensor)
    }

    fn run(&mut self) -> Result<()> {
        self.run_all(|| {})
    }

    fn run_timed(&mut self) -> Result<Vec<Duration>> {
        let mut times = Vec::with_capacity(self.program.steps.len());
        let mut last = Instant::now();
        self.run_all(|| {
            times.push(last.elapsed());
            last = Instant::now();
        })?;
        Ok(times)
    }

    fn run_checked(&mut self) -> Result<Option<usize>> {
        let program = self.program.clone();
        let mut first = None;
        for (index, step) in program.steps.iter().enumerate() {
            self.run_step(step)?;
            for slot in &step.outputs {
                let finite = self.gather(slot)?.iter().all(|v| v.to_f64().is_finite());
                first = first.or((!finite).then_some(index));
            }
        }
        self.store()?;
        Ok(first)
    }

    fn output(&self, name: &str) -> Result<Tensor> {
        match self.program.outputs.iter().find(|(n, _)| n == name) {
            Some((_, slot)) => self.read(slot),
            None => Err(super::no_output(name)),
        }
    }

    fn held_bytes(&self) -> usize {
        let elements = self.arena.length + self.persistent.iter().map(|b| b.length).sum::<usize>();
        elements * size_of::<T>()
    }
}

/// The slot of all of persistent buffer `index`.
fn whole(index: usize, shape: crate::tensor::Shape) -> Slot {
    Slot { memory: Memory::Persistent(index), offset: 0, shape, pixel_stride: shape.c, dtype: DType::F32 }
}
