//! What an op's kernels read and write of its operands.

use crate::tensor::Shape;

/// Whose kernels run an op: those of a processor may go over their operands in other ways than another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// The naive ones ([`super::Op::reference`]).
    Reference,
    /// The host's ([`super::Op::cpu`]).
    Cpu,
    /// A GPU's ([`super::Op::cuda`]).
    Cuda,
}

/// An op as it is used: its operands, and whose kernels run it.
#[derive(Clone, Copy, Debug)]
pub struct Usage<'a> {
    /// The shapes of the inputs.
    pub inputs: &'a [Shape],
    /// The shapes of the outputs.
    pub outputs: &'a [Shape],
    /// Whether each input lies in the output that may be written over it ([`super::Op::in_place`]).
    pub in_place: &'a [bool],
    /// Whose kernels.
    pub kernels: Kernels,
}

impl Usage<'_> {
    /// Whether input `input` lies in its output.
    pub fn is_in_place(&self, input: usize) -> bool {
        self.in_place.get(input).copied().unwrap_or(false)
    }
}

/// Elements that cross between memory and the kernels of an op, by operand; scratch memory is not in it.
///
/// In one pass over its operands a kernel reads, or writes, an element once, however often it uses it: caches,
/// shared memory and registers do the rest. Where all of one pass must end before the next can begin (sums over a
/// whole map), each pass counts, since no cache holds a map that matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accesses {
    /// Elements read of each input, or of the output that it lies in.
    pub read: Vec<usize>,
    /// Elements written of each output.
    pub written: Vec<usize>,
}

impl Accesses {
    /// Every operand once.
    pub fn once(usage: &Usage<'_>) -> Self {
        let elements = |shapes: &[Shape]| shapes.iter().map(Shape::elements).collect();
        Accesses { read: elements(usage.inputs), written: elements(usage.outputs) }
    }

    /// The same with `elements` read of input `input`.
    #[must_use]
    pub fn reading(mut self, input: usize, elements: usize) -> Self {
        self.read.iter_mut().skip(input).take(1).for_each(|read| *read = elements);
        self
    }

    /// The same with `elements` written of output `output`.
    #[must_use]
    pub fn writing(mut self, output: usize, elements: usize) -> Self {
        self.written.iter_mut().skip(output).take(1).for_each(|written| *written = elements);
        self
    }
}
