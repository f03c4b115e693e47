//! Programs on a CUDA device: one arena, one captured graph a step.
//!
//! A session works out every launch when it begins, since no address changes after that. The first step
//! is captured as a CUDA graph, and every step replays it. What is fed goes through pinned memory and a
//! stream of its own, into one of two sets of staging buffers: while a step runs, the next one's inputs
//! can be on their way.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cudarc::driver::{CudaEvent, CudaFunction, CudaGraph, CudaStream, DriverError, result, sys};

use super::super::Session;
use super::launches::{Addresses, STATUS_BYTES, Stretch, launches};
use super::shortage::out_of_memory;
use crate::compile::{Memory, ProcessorKind, Program, Slot, Step, WORD};
use crate::runtime::cuda::{Cuda, DataError, DeviceMemory, Launch, PinnedMemory, driver_error, launch};
use crate::tensor::{DType, Shape, Tensor};
use crate::{Error, Result};

/// From this driver on (CUDA 12.8) there are the events that cudarc reads times from.
const DRIVER_WITH_TIMED_EVENTS: i32 = 12_080;

/// A program with its memory on a CUDA device.
pub(in crate::device) struct CudaSession {
    program: Arc<Program>,
    cuda: Cuda,
    /// Where everything runs but what is fed.
    stream: Arc<CudaStream>,
    /// Where what is fed is copied to the device.
    feeding: Arc<CudaStream>,
    arena: DeviceMemory,
    persistent: Vec<DeviceMemory>,
    /// One word for each step: what was wrong with its data.
    status: DeviceMemory,
    addresses: Addresses,
    /// The launches of every step, then those of the stores.
    steps: Vec<Vec<Ready>>,
    graph: Option<Graph>,
    inputs: Vec<Input>,
    /// Which set of staging buffers the next step reads.
    set: usize,
    /// A step has begun whose status words have not been read: the first of its outputs that is read waits for
    /// them, the others need not.
    unchecked: Cell<bool>,
}

/// A launch with its function.
struct Ready {
    launch: Launch,
    function: CudaFunction,
}

/// A captured step.
struct Graph(CudaGraph);

// SAFETY: the driver wants graphs used by one thread at a time, not by one thread only; the session that
// owns it is borrowed exclusively by whoever runs it.
unsafe impl Send for Graph {}

/// How an input gets to its slot.
struct Input {
    name: String,
    slot: Slot,
    staging: [Staging; 2],
    /// Set → slot, for each set.
    copies: [Vec<Ready>; 2],
}

/// One set's buffers of an input.
struct Staging {
    host: PinnedMemory,
    device: DeviceMemory,
    /// The copy from host to device has ended.
    copied: CudaEvent,
    /// The device buffer has been read.
    consumed: CudaEvent,
    /// Fed since the last run.
    fresh: bool,
}

impl CudaSession {
    /// A session with memory of its own, parameters and states zero.
    ///
    /// # Errors
    /// Where the device's memory does not suffice, or a kernel does not compile.
    pub(in crate::device) fn new(program: Arc<Program>, cuda: Cuda) -> Result<Self> {
        if program.processor != ProcessorKind::Cuda(cuda.target()) {
            return Err(Error::internal("the program was compiled for another device"));
        }
        cuda.bind()?;
        let memory = allocate(&program, &cuda)?;
        let (stream, feeding) = (cuda.stream()?, cuda.stream()?);
        let stretch = |memory: &DeviceMemory| Stretch { address: memory.address(), bytes: memory.bytes() };
        let mut session = CudaSession {
            addresses: Addresses {
                arena: stretch(&memory.arena),
                persistent: memory.persistent.iter().map(stretch).collect(),
                status: memory.status.address(),
                staging: Vec::new(),
            },
            arena: memory.arena,
            persistent: memory.persistent,
            status: memory.status,
            steps: Vec::new(),
            graph: None,
            inputs: Vec::new(),
            set: 0,
            unchecked: Cell::new(false),
            program,
            cuda,
            stream,
            feeding,
        };
        for memory in session.persistent.iter().chain([&session.status]) {
            session.zero(memory)?;
        }
        session.prepare_launches(memory.staging)?;
        Ok(session)
    }

    fn zero(&self, memory: &DeviceMemory) -> Result<()> {
        if memory.bytes() == 0 {
            return Ok(());
        }
        // SAFETY: the memory is this session's, and lives as long as its streams.
        unsafe { result::memset_d8_async(memory.address(), 0, memory.bytes(), self.stream.cu_stream()) }
            .map_err(|e| driver_error("memory cannot be cleared", e))
    }

    /// Works out all launches, has their kernels compiled together, and pairs them.
    fn prepare_launches(&mut self, staging: Vec<[Staging; 2]>) -> Result<()> {
        self.addresses.staging =
            staging.iter().map(|sets| sets.each_ref().map(|set| set.device.address())).collect();
        let program = self.program.clone();
        let all = launches(&program, &self.cuda.target(), &self.addresses)?;
        let functions = self.cuda.functions(&all.all().collect::<Vec<_>>())?;
        // In the order of `Launches::all`.
        let mut functions = functions.into_iter();
        let mut ready = |group: Vec<Launch>| -> Vec<Ready> {
            group
                .into_iter()
                .zip(&mut functions)
                .map(|(launch, function)| Ready { launch, function })
                .collect()
        };
        self.steps = all.steps.into_iter().chain(all.stores).map(&mut ready).collect();
        for (((name, slot), staging), copies) in program.inputs.iter().zip(staging).zip(all.inputs) {
            let copies = copies.map(&mut ready);
            self.inputs.push(Input { name: name.clone(), slot: *slot, staging, copies });
        }
        Ok(())
    }

    /// Puts the launches of `group` on the session's stream.
    fn launch(&self, group: &[Ready]) -> Result<()> {
        for ready in group {
            // SAFETY: the kernel's parameter table was checked against the arguments; ops take addresses from
            // operands that `Addresses::view` found inside of memory that this session owns, and dropping the
            // session waits for the stream first.
            unsafe { launch(&self.stream, &ready.function, &ready.launch)? };
        }
        Ok(())
    }

    /// Puts the launches of step `index`, or of the store behind the last step, on the session's stream.
    fn launch_step(&self, index: usize) -> Result<()> {
        let title = || self.program.steps.get(index).map_or_else(|| "store".to_owned(), Step::title);
        let group = self.steps.get(index).map_or(&[][..], Vec::as_slice);
        self.launch(group).map_err(|error| error.in_op(title()))
    }

    /// Brings what was fed into its slots, behind the copies that are still under way.
    fn settle_inputs(&mut self) -> Result<()> {
        self.unchecked.set(true);
        let set = self.set;
        for input in &self.inputs {
            let staging = &input.staging[set];
            if !staging.fresh {
                return Err(Error::invalid(format!("input {:?} was not fed", input.name)));
            }
            self.stream.wait(&staging.copied).map_err(|e| driver_error("the streams cannot meet", e))?;
            self.launch(&input.copies[set])?;
            staging.consumed.record(&self.stream).map_err(|e| driver_error("an event is lost", e))?;
        }
        self.inputs.iter_mut().for_each(|input| input.staging[set].fresh = false);
        self.set = 1 - set;
        Ok(())
    }

    /// Captures all steps as a graph.
    fn capture(&mut self) -> Result<()> {
        let failed = |e| driver_error("the step cannot be captured", e);
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).map_err(failed)?;
        let launched = (0..self.steps.len()).try_for_each(|index| self.launch_step(index));
        // Ended in any case: a stream that captures runs nothing.
        let graph = self.stream.end_capture(sys::CUgraphInstantiate_flags(0));
        launched?;
        self.graph = graph.map_err(failed)?.map(Graph);
        Ok(())
    }

    /// Waits for everything that was begun, and says what was wrong with the data of a step.
    fn finish(&self) -> Result<()> {
        self.cuda.bind()?;
        if !self.unchecked.get() {
            return Ok(());
        }
        let mut bytes = vec![0u8; self.status.bytes()];
        self.read_bytes(self.status.address(), &mut bytes)?;
        self.unchecked.set(false);
        let words = bytemuck::pod_collect_to_vec::<u8, u64>(&bytes);
        match words.into_iter().enumerate().find(|(_, word)| *word != 0) {
            None => Ok(()),
            Some((index, word)) => {
                self.zero(&self.status)?;
                let error = DataError::from_code(word);
                let step = self.program.steps.get(index);
                let op = step.map(Step::title).unwrap_or_default();
                Err(Error::invalid(error.to_string()).in_op(op).fix(error.fix()))
            }
        }
    }

    /// Copies device memory to the host, behind everything that runs.
    fn read_bytes(&self, address: u64, bytes: &mut [u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        // SAFETY: `address` is of memory of this session with at least as many bytes behind it; the wait
        // below ends the copy before the borrow of `bytes` does.
        unsafe { result::memcpy_dtoh_async(bytes, address, self.stream.cu_stream()) }
            .and_then(|()| self.stream.synchronize())
            .map_err(running_error)
    }

    fn read(&self, slot: &Slot) -> Result<Tensor> {
        let view = self.addresses.view(slot)?;
        let mut bytes = vec![0u8; view.extent_bytes()];
        self.read_bytes(view.address, &mut bytes)?;
        let values = decode(&bytes, slot.dtype);
        if slot.pixel_stride == slot.shape.c {
            return Tensor::new(slot.shape, values);
        }
        let mut dense = Vec::with_capacity(slot.shape.elements());
        for pixel in values.chunks(slot.pixel_stride.max(1)).take(slot.shape.pixels()) {
            dense.extend_from_slice(pixel.get(..slot.shape.c).unwrap_or_default());
        }
        Tensor::new(slot.shape, dense)
    }

    /// Copies dense elements into a parameter or a state.
    fn write_persistent(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        let memory = self.persistent.get(index).filter(|memory| memory.bytes() == bytes.len());
        let memory =
            memory.ok_or_else(|| Error::internal("a parameter is filled with another number of bytes"))?;
        if bytes.is_empty() {
            return Ok(());
        }
        // SAFETY: the memory has as many bytes; the wait ends the copy before the borrow of `bytes` does.
        unsafe { result::memcpy_htod_async(memory.address(), bytes, self.stream.cu_stream()) }
            .and_then(|()| self.stream.synchronize())
            .map_err(running_error)
    }
}

impl Session for CudaSession {
    fn program(&self) -> &Program {
        &self.program
    }

    fn load(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        self.cuda.bind()?;
        let program = self.program.clone();
        let mut prepared = HashSet::new();
        for prepare in &program.prepare {
            let mut session = CudaSession::new(prepare.clone(), self.cuda.clone())?;
            session.load(state)?;
            session.run()?;
            for (name, slot) in &prepare.outputs {
                let index = program.persistent.iter().position(|persistent| persistent.name == *name);
                let index = index.ok_or_else(|| Error::internal("what is prepared is not kept"))?;
                let mut bytes = vec![0u8; session.addresses.view(slot)?.extent_bytes()];
                session.read_bytes(session.addresses.view(slot)?.address, &mut bytes)?;
                self.write_persistent(index, &bytes)?;
                prepared.insert(index);
            }
        }
        for (index, persistent) in program.persistent.iter().enumerate() {
            if prepared.contains(&index) {
                continue;
            }
            let tensor = super::super::loaded(state, &persistent.name, persistent.shape)?;
            self.write_persistent(index, &encode(tensor.data(), persistent.dtype))?;
        }
        Ok(())
    }

    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        self.finish()?;
        let persistent = self.program.persistent.iter().enumerate();
        persistent.map(|(i, p)| Ok((p.name.clone(), self.read(&whole(i, p.shape, p.dtype))?))).collect()
    }

    fn feed(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        self.cuda.bind()?;
        let set = self.set;
        let Some(input) = self.inputs.iter_mut().find(|input| input.name == name) else {
            return Err(super::super::no_input(name));
        };
        super::super::expect_input_shape(name, tensor.shape(), input.slot.shape)?;
        let staging = &mut input.staging[set];
        let failed = |e| driver_error("the input cannot be copied", e);
        // The last copy from these pinned bytes must have ended, and what it brought must have been read.
        staging.copied.synchronize().map_err(running_error)?;
        self.feeding.wait(&staging.consumed).map_err(failed)?;
        encode_into(tensor.data(), input.slot.dtype, staging.host.as_mut_slice());
        // SAFETY: both buffers have as many bytes, and live until the session has waited for its streams;
        // the host's is not written again before `copied` says so.
        unsafe {
            result::memcpy_htod_async(
                staging.device.address(),
                staging.host.as_slice(),
                self.feeding.cu_stream(),
            )
        }
        .map_err(failed)?;
        staging.copied.record(&self.feeding).map_err(failed)?;
        staging.fresh = true;
        Ok(())
    }

    fn feeds_ahead(&self) -> bool {
        true
    }

    fn run(&mut self) -> Result<()> {
        self.cuda.bind()?;
        self.settle_inputs()?;
        if self.graph.is_none() {
            self.capture()?;
        }
        self.replay()
    }

    fn time_runs(&mut self, count: usize) -> Result<Vec<Duration>> {
        self.cuda.bind()?;
        self.settle_inputs()?;
        let set = 1 - self.set;
        if self.graph.is_none() {
            self.capture()?;
        }
        if self.cuda.driver_version() < DRIVER_WITH_TIMED_EVENTS {
            return self.time_runs_by_host(count, set);
        }
        let flags = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let failed = |e| driver_error("an event is lost", e);
        let mut events = Vec::with_capacity(count);
        for run in 0..count {
            self.settle_again(run, set)?;
            let begin = self.stream.record_event(flags).map_err(failed)?;
            self.replay()?;
            events.push((begin, self.stream.record_event(flags).map_err(failed)?));
        }
        self.finish()?;
        let elapsed = |(begin, end): &(CudaEvent, CudaEvent)| begin.elapsed_ms(end).map_err(failed);
        let seconds = |milliseconds: f32| Duration::from_secs_f64(f64::from(milliseconds).max(0.0) / 1e3);
        events.iter().map(|pair| elapsed(pair).map(seconds)).collect()
    }

    fn run_timed(&mut self) -> Result<Vec<Duration>> {
        self.cuda.bind()?;
        self.settle_inputs()?;
        let kernels = self.program.steps.len();
        if self.cuda.driver_version() < DRIVER_WITH_TIMED_EVENTS {
            return self.run_timed_by_host(kernels);
        }
        let flags = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let failed = |e| driver_error("an event is lost", e);
        let mut events = vec![self.stream.record_event(flags).map_err(failed)?];
        for index in 0..self.steps.len() {
            self.launch_step(index)?;
            events.push(self.stream.record_event(flags).map_err(failed)?);
        }
        self.stream.synchronize().map_err(running_error)?;
        let mut times = Vec::with_capacity(kernels);
        for pair in events.windows(2).take(kernels) {
            let milliseconds = pair[0].elapsed_ms(&pair[1]).map_err(failed)?;
            times.push(Duration::from_secs_f64(f64::from(milliseconds).max(0.0) / 1e3));
        }
        Ok(times)
    }

    fn run_checked(&mut self) -> Result<Option<usize>> {
        self.cuda.bind()?;
        self.settle_inputs()?;
        let program = self.program.clone();
        let mut first = None;
        for index in 0..self.steps.len() {
            self.launch_step(index)?;
            for slot in program.steps.get(index).map(|step| &step.outputs).into_iter().flatten() {
                let finite = self.read(slot)?.data().iter().all(|v| v.is_finite());
                first = first.or((!finite).then_some(index));
            }
        }
        Ok(first)
    }

    fn output(&self, name: &str) -> Result<Tensor> {
        match self.program.outputs.iter().find(|(n, _)| n == name) {
            Some((_, slot)) => {
                self.finish()?;
                self.read(slot)
            }
            None => Err(super::super::no_output(name)),
        }
    }

    fn held_bytes(&self) -> usize {
        self.arena.bytes() + self.persistent.iter().map(DeviceMemory::bytes).sum::<usize>()
    }
}

impl CudaSession {
    /// Launches the captured step.
    fn replay(&self) -> Result<()> {
        match &self.graph {
            Some(Graph(graph)) => graph.launch().map_err(running_error),
            // A program without steps.
            None => Ok(()),
        }
    }

    /// Before every run of several but the first: brings the inputs of `set` into their slots once more.
    fn settle_again(&self, run: usize, set: usize) -> Result<()> {
        for input in self.inputs.iter().filter(|_| run > 0) {
            self.launch(&input.copies[set])?;
            let consumed = input.staging[set].consumed.record(&self.stream);
            consumed.map_err(|e| driver_error("an event is lost", e))?;
        }
        Ok(())
    }

    /// As [`Session::time_runs`] by the host's clock: what launching the captured step takes is in it.
    fn time_runs_by_host(&self, count: usize, set: usize) -> Result<Vec<Duration>> {
        let mut times = Vec::with_capacity(count);
        for run in 0..count {
            self.settle_again(run, set)?;
            self.finish()?;
            let begun = Instant::now();
            self.replay()?;
            self.stream.synchronize().map_err(running_error)?;
            times.push(begun.elapsed());
        }
        self.finish()?;
        Ok(times)
    }

    /// Times by the host's clock, waiting after each step: what a launch takes is in it.
    fn run_timed_by_host(&self, kernels: usize) -> Result<Vec<Duration>> {
        let mut times = Vec::with_capacity(kernels);
        for index in 0..self.steps.len() {
            let begun = Instant::now();
            self.launch_step(index)?;
            self.stream.synchronize().map_err(running_error)?;
            times.push(begun.elapsed());
        }
        times.truncate(kernels);
        Ok(times)
    }
}

impl Drop for CudaSession {
    fn drop(&mut self) {
        // Nothing may run on memory that is freed next; errors were, or will be, reported elsewhere.
        let _ = self.feeding.synchronize();
        let _ = self.stream.synchronize();
    }
}

/// What a session holds.
struct Held {
    arena: DeviceMemory,
    persistent: Vec<DeviceMemory>,
    status: DeviceMemory,
    staging: Vec<[Staging; 2]>,
}

/// Allocates what `program` needs, or says how much is missing and what would fit.
fn allocate(program: &Program, cuda: &Cuda) -> Result<Held> {
    // Asked before anything is taken: what this session holds itself would be there for a smaller one.
    let memory = cuda.memory()?;
    let get = |bytes: usize| cuda.allocate(bytes)?.ok_or_else(|| out_of_memory(program, cuda.name(), memory));
    let event = || {
        let stream = cuda.stream()?;
        stream.record_event(None).map_err(|e| driver_error("no event", e))
    };
    let staging = |slot: &Slot| {
        let bytes = slot.shape.elements() * slot.dtype.size();
        let device = get(bytes)?;
        Ok::<_, Error>(Staging {
            host: cuda.pinned(bytes)?,
            device,
            copied: event()?,
            consumed: event()?,
            fresh: false,
        })
    };
    Ok(Held {
        arena: get(program.arena * WORD)?,
        persistent: program.persistent.iter().map(|p| get(p.bytes())).collect::<Result<_>>()?,
        status: get(program.steps.len() * STATUS_BYTES)?,
        staging: program
            .inputs
            .iter()
            .map(|(_, slot)| Ok([staging(slot)?, staging(slot)?]))
            .collect::<Result<_>>()?,
    })
}

/// An error of something that ran.
fn running_error(error: DriverError) -> Error {
    driver_error("the device failed while it ran", error)
        .fix("run `gradpath selftest` to see which kernel fails here")
}

/// The slot of all of persistent memory `index`.
fn whole(index: usize, shape: Shape, dtype: DType) -> Slot {
    Slot { memory: Memory::Persistent(index), offset: 0, shape, pixel_stride: shape.c, dtype }
}

/// `values` as they are stored, rounded to nearest.
fn encode(values: &[f32], dtype: DType) -> Vec<u8> {
    let mut bytes = vec![0u8; values.len() * dtype.size()];
    encode_into(values, dtype, &mut bytes);
    bytes
}

fn encode_into(values: &[f32], dtype: DType, bytes: &mut [u8]) {
    match dtype {
        DType::F32 => bytes.copy_from_slice(bytemuck::cast_slice(values)),
        DType::Bf16 => {
            for (two, &value) in bytes.chunks_exact_mut(2).zip(values) {
                two.copy_from_slice(&half::bf16::from_f32(value).to_le_bytes());
            }
        }
        DType::F16 => {
            for (two, &value) in bytes.chunks_exact_mut(2).zip(values) {
                two.copy_from_slice(&half::f16::from_f32(value).to_le_bytes());
            }
        }
    }
}

fn decode(bytes: &[u8], dtype: DType) -> Vec<f32> {
    match dtype {
        DType::F32 => bytemuck::pod_collect_to_vec(bytes),
        DType::Bf16 => {
            bytes.chunks_exact(2).map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
        }
        DType::F16 => {
            bytes.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
        }
    }
}
