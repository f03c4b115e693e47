//! Devices: how each runs a program, by calling the ops.

pub mod cuda;
mod host;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::compile::{Options, Processor, Program, compile};
use crate::graph::Graph;
use crate::runtime::Cpu;
use crate::runtime::cuda::Cuda;
use crate::tensor::{Shape, Tensor};
use crate::{Error, Result};

/// Something that runs programs.
#[derive(Clone, Debug)]
pub enum Device {
    /// Naive kernels in f64: slow, and obviously right.
    Reference,
    /// The host's processor, in f32.
    Cpu(Cpu),
    /// An NVIDIA GPU.
    Cuda(Cuda),
}

impl Device {
    /// The cpu device with `threads` threads (0: as many as the machine has).
    ///
    /// # Errors
    /// Where the operating system refuses the threads.
    pub fn cpu(threads: usize) -> Result<Self> {
        Ok(Device::Cpu(Cpu::new(threads)?))
    }

    /// Compiles `graph` for this device, everything on.
    ///
    /// # Errors
    /// As [`crate::compile::compile`].
    pub fn compile(&self, graph: &Graph) -> Result<Arc<Program>> {
        self.compile_with(graph, Options::new(self.processor()))
    }

    /// Compiles `graph` for this device as `options` say, whose processor must be [this device's](Device::processor).
    /// On a CUDA device tiles are those that were measured there; where it
    /// [autotunes](crate::runtime::cuda::Cuda::autotunes), what was not measured yet is measured first, which
    /// standard error says.
    ///
    /// # Errors
    /// As [`crate::compile::compile`]; and where measuring breaks the device.
    pub fn compile_with(&self, graph: &Graph, mut options: Options) -> Result<Arc<Program>> {
        if let Device::Cuda(cuda) = self {
            if cuda.autotunes() {
                let untuned = compile(graph, Options { tunings: None, ..options.clone() })?;
                let tuned = cuda::tune(&untuned, cuda, &mut cuda::time_on_device)?;
                tuned.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
                if tuned.measured > 0 {
                    eprintln!("{tuned}");
                }
            }
            options.tunings = Some(cuda.tunings().known());
        }
        Ok(Arc::new(compile(graph, options)?))
    }

    /// What programs of this device are compiled for.
    pub fn processor(&self) -> Processor {
        match self {
            Device::Reference => Processor::Reference,
            Device::Cpu(cpu) => Processor::Cpu(cpu.clone()),
            Device::Cuda(cuda) => Processor::Cuda(cuda.target()),
        }
    }

    /// A session of `graph`, compiled for this device, with parameters and states as a training begins
    /// with `seed` ([`Graph::initial_state`]).
    ///
    /// # Errors
    /// As [`Device::compile`] and [`Device::session`].
    pub fn begin(&self, graph: &Graph, seed: u64) -> Result<Box<dyn Session>> {
        let mut session = self.session(self.compile(graph)?)?;
        session.load(&graph.initial_state(seed))?;
        Ok(session)
    }

    /// A session: the program with memory of its own, parameters and states all zero.
    ///
    /// # Errors
    /// Where the memory cannot be had, or the program was compiled for another device.
    pub fn session(&self, program: Arc<Program>) -> Result<Box<dyn Session>> {
        match self {
            Device::Reference => Ok(Box::new(host::HostSession::reference(program)?)),
            Device::Cpu(cpu) => Ok(Box::new(host::HostSession::cpu(program, cpu.clone())?)),
            Device::Cuda(cuda) => Ok(Box::new(cuda::CudaSession::new(program, cuda.clone())?)),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Reference => write!(f, "reference (f64)"),
            Device::Cpu(cpu) => {
                let threads = cpu.threads();
                write!(f, "cpu ({threads} thread{}, {})", if threads == 1 { "" } else { "s" }, cpu.simd())
            }
            Device::Cuda(cuda) => write!(f, "{cuda}"),
        }
    }
}

/// A program with its memory on a device.
pub trait Session: Send {
    /// The program.
    fn program(&self) -> &Program;

    /// Sets parameters and states by name; those of `state` that the program does not have are left out.
    ///
    /// # Errors
    /// Where one of the program's is missing or has another shape.
    fn load(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()>;

    /// All parameters and states by name, as the program keeps them: a training's are the weights
    /// themselves, an inference's may be what was prepared from them.
    ///
    /// # Errors
    /// Where the device fails.
    fn state(&self) -> Result<BTreeMap<String, Tensor>>;

    /// Sets an input for the next run. Inputs share memory with other values: all must be fed
    /// before every run.
    ///
    /// # Errors
    /// Where there is no such input, or its shape differs.
    fn feed(&mut self, name: &str, tensor: &Tensor) -> Result<()>;

    /// Whether the next run's inputs can be fed before the last run's outputs are read: the device has
    /// memory of its own for them, and copies while it computes.
    fn feeds_ahead(&self) -> bool {
        false
    }

    /// Runs one step. A device of its own may only begin it: then reading an output or the state waits for
    /// it, and says what went wrong.
    ///
    /// # Errors
    /// What the ops say of the data.
    fn run(&mut self) -> Result<()>;

    /// Runs one step and says how long each of the program's kernels took, in the program's order.
    ///
    /// # Errors
    /// What the ops say of the data.
    fn run_timed(&mut self) -> Result<Vec<Duration>>;

    /// Runs the step `count` times on what was fed last, and says how long each run took on the device,
    /// from its first kernel to its last: bringing inputs and fetching outputs is not in it.
    ///
    /// A device that keeps inputs apart ([`Session::feeds_ahead`]) gives each run the same ones. On the
    /// host, where inputs share memory with other values, only the first run has them.
    ///
    /// # Errors
    /// What the ops say of the data.
    fn time_runs(&mut self, count: usize) -> Result<Vec<Duration>> {
        let mut timed = || {
            let start = Instant::now();
            self.run().map(|()| start.elapsed())
        };
        (0..count).map(|_| timed()).collect()
    }

    /// Runs one step, kernel by kernel, and returns the first one that wrote a number that is not finite, as
    /// its index in the program: where a loss became NaN.
    ///
    /// # Errors
    /// What the ops say of the data.
    fn run_checked(&mut self) -> Result<Option<usize>>;

    /// Feeds every input of `feeds` by name, and runs one step.
    ///
    /// # Errors
    /// As [`Session::feed`] and [`Session::run`].
    fn step(&mut self, feeds: &[(&str, &Tensor)]) -> Result<()> {
        feeds.iter().try_for_each(|(name, tensor)| self.feed(name, tensor))?;
        self.run()
    }

    /// An output of the last run.
    ///
    /// # Errors
    /// Where there is no such output.
    fn output(&self, name: &str) -> Result<Tensor>;

    /// Bytes of device memory held: arena, parameters and states.
    fn held_bytes(&self) -> usize;
}

/// The tensor that a parameter or a state is loaded from.
fn loaded<'a>(state: &'a BTreeMap<String, Tensor>, name: &str, shape: Shape) -> Result<&'a Tensor> {
    let Some(tensor) = state.get(name) else {
        return Err(Error::invalid(format!("the weights have no {name:?}")));
    };
    if tensor.shape() != shape {
        let message = format!("{name:?} has another shape than the network's");
        return Err(Error::shape("load", &[tensor.shape(), shape], message));
    }
    Ok(tensor)
}

fn no_input(name: &str) -> Error {
    Error::invalid(format!("the program has no input {name:?}"))
}

fn no_output(name: &str) -> Error {
    Error::invalid(format!("the program has no output {name:?}"))
}

fn expect_input_shape(name: &str, got: Shape, wanted: Shape) -> Result<()> {
    if got == wanted {
        return Ok(());
    }
    Err(Error::shape("feed", &[got, wanted], format!("input {name:?} has another shape")))
}
