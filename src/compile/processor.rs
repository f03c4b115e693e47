//! What programs are compiled for.

use crate::ops::Kernels;
use crate::runtime::cuda::Target;
use crate::runtime::{Cpu, SimdLevel};
use crate::tensor::DType;

/// What a program is compiled for.
#[derive(Clone, Debug)]
pub enum Processor {
    /// The reference device.
    Reference,
    /// The cpu device: workspaces and packed weights depend on its threads and vector instructions.
    Cpu(Cpu),
    /// A CUDA device: workspaces depend on its size, and maps are stored as the target says.
    Cuda(Target),
}

/// A [`Processor`] as a program remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessorKind {
    /// The reference device.
    Reference,
    /// Threads and SIMD level of the cpu device.
    Cpu(usize, SimdLevel),
    /// The CUDA device.
    Cuda(Target),
}

impl ProcessorKind {
    /// Whose kernels run the program.
    pub fn kernels(&self) -> Kernels {
        match self {
            ProcessorKind::Reference => Kernels::Reference,
            ProcessorKind::Cpu(..) => Kernels::Cpu,
            ProcessorKind::Cuda(_) => Kernels::Cuda,
        }
    }
}

impl Processor {
    /// The kind, without what it holds.
    pub fn kind(&self) -> ProcessorKind {
        match self {
            Processor::Reference => ProcessorKind::Reference,
            Processor::Cpu(cpu) => ProcessorKind::Cpu(cpu.threads(), cpu.simd()),
            Processor::Cuda(target) => ProcessorKind::Cuda(*target),
        }
    }

    /// How maps are stored.
    pub(super) fn map(&self) -> DType {
        match self {
            Processor::Reference | Processor::Cpu(_) => DType::F32,
            Processor::Cuda(target) => target.map,
        }
    }

    /// Every offset in the arena is a multiple of this many words of 4 bytes: a cache line and an AVX-512
    /// register on the host; what a driver's allocations are aligned to on a GPU.
    pub(super) fn alignment(&self) -> usize {
        match self {
            Processor::Reference | Processor::Cpu(_) => 16,
            Processor::Cuda(_) => 64,
        }
    }
}
