//! What an op is: the one trait that every folder of `ops` implements.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::{Accesses, Gradient, Io, Usage};
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::Shape;
use crate::{Error, Result};

/// A value of a graph: an edge, produced once and read by any number of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub(crate) u32);

impl Value {
    /// The value's index in its graph.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What nodes are added to: a graph while it is traced, or while its backward is written.
pub trait Tape {
    /// Adds a node and returns its outputs.
    ///
    /// # Errors
    /// Where the op cannot take inputs of these shapes.
    fn add_node(&mut self, op: Box<dyn Op>, inputs: &[Value]) -> Result<Vec<Value>>;

    /// The shape of `value`.
    fn shape(&self, value: Value) -> Shape;

    /// Adds a node with one output.
    ///
    /// # Errors
    /// As [`Tape::add_node`].
    fn apply(&mut self, op: Box<dyn Op>, inputs: &[Value]) -> Result<Value> {
        let name = op.name();
        let outputs = self.add_node(op, inputs)?;
        match outputs[..] {
            [output] => Ok(output),
            _ => Err(Error::internal("an op with several outputs was applied as if it had one").in_op(name)),
        }
    }
}

/// What an op costs by its definition, whichever device runs it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Floating-point operations, a multiply-add counted as 2.
    pub flops: f64,
    /// The same by Darknet's rule ("BFLOPs"): convolutions, max pooling and shortcuts only.
    pub darknet_flops: f64,
    /// HarDNet's convolutional input/output (Chao et al. 2019): the elements that forward convolutions take in
    /// and put out, weights not counted; 0 of all that is none.
    pub cio: f64,
}

impl Cost {
    /// `flops` that Darknet does not count.
    pub fn flops(flops: f64) -> Self {
        Cost { flops, ..Cost::default() }
    }
}

/// Where an op's output may lie, beyond a buffer of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// In a buffer of its own, or over the inputs that [`Op::in_place`] names.
    Own,
    /// The output is the channels from `offset` of input 0: no bytes move.
    Slice {
        /// The first channel.
        offset: usize,
    },
    /// The output is its inputs side by side by channel: they are written straight into it.
    Concat,
    /// The output is input 0 itself.
    Identity,
}

/// An op: its definition (shape rule, gradient, cost) and how each device runs it.
///
/// Adding one is copying a folder: `mod.rs` has the definition and the documentation, `reference.rs`
/// the naive kernel, `cpu.rs` the fast one, `tests.rs` what holds them together.
pub trait Op: fmt::Debug + Send + Sync + Any {
    /// The name in the field's terms, as it is printed.
    fn name(&self) -> &'static str;

    /// The shapes of the outputs for inputs of `inputs`.
    ///
    /// # Errors
    /// Where the inputs do not fit, with a sentence that says why.
    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>>;

    /// What the op costs.
    fn cost(&self, inputs: &[Shape], outputs: &[Shape]) -> Cost;

    /// What the op's kernels read and write of its operands: each once, where it takes one pass over all of them.
    fn accesses(&self, usage: &Usage<'_>) -> Accesses {
        Accesses::once(usage)
    }

    /// Writes the backward of a node onto `tape`: for each input the gradient of the loss, given
    /// that of each output (`None` where the output does not reach the loss).
    ///
    /// # Errors
    /// Where the op has no gradient.
    fn gradient(
        &self,
        tape: &mut dyn Tape,
        inputs: &[Value],
        outputs: &[Value],
        output_gradients: &[Option<Value>],
    ) -> Result<Vec<Gradient>> {
        let _ = (tape, inputs, outputs, output_gradients);
        Err(Error::invalid("the loss depends on an op that has no gradient").in_op(self.name()))
    }

    /// Pairs (input, output) where the output may be written over the input: every element of the
    /// input is read before, or as, the same element of the output is written. Shapes agree, or the input
    /// has fewer channels and [`Op::over_narrower`] says how.
    fn in_place(&self) -> &[(usize, usize)] {
        &[]
    }

    /// This op with input `input` of [`Op::in_place`], of only `channels` channels, in its output: in the first
    /// channels, beside which nothing lies yet. `None` where the op cannot run so.
    fn over_narrower(&self, input: usize, channels: usize) -> Option<Arc<dyn Op>> {
        let _ = (input, channels);
        None
    }

    /// How many channels input `input` has where [`Op::over_narrower`] made the op; `None` for one whose inputs have
    /// all channels of the outputs that they lie in.
    fn channels_in_place(&self, input: usize) -> Option<usize> {
        let _ = input;
        None
    }

    /// Where the output may lie.
    fn layout(&self) -> Layout {
        Layout::Own
    }

    /// Whether the value is cheaper to compute again than to keep (elementwise ops): the compiler
    /// may run the node a second time in backward instead of keeping its output.
    fn is_cheap(&self) -> bool {
        false
    }

    /// Runs the op on the reference device: naive, in f64, obviously right.
    ///
    /// # Errors
    /// Only where data (an index, a class) makes the op impossible.
    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()>;

    /// Elements (f32) of scratch memory that [`Op::cpu`] needs on `cpu`.
    fn cpu_workspace(&self, inputs: &[Shape], outputs: &[Shape], cpu: &Cpu) -> usize {
        let _ = (inputs, outputs, cpu);
        0
    }

    /// Runs the op on the cpu device.
    ///
    /// # Errors
    /// Only where data (an index, a class) makes the op impossible.
    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()>;

    /// Whether output `output` may be a map, stored in the program's element type on a device that has
    /// several; what is not (weights, statistics, losses, tables) is f32 there too. It is one where an
    /// input is, or where the op [makes maps](Op::makes_maps).
    fn is_map(&self, output: usize) -> bool {
        let _ = output;
        true
    }

    /// Whether the outputs are maps even where no input is: a convolution of a picture, which is fed in
    /// f32.
    fn makes_maps(&self) -> bool {
        false
    }

    /// Bytes of scratch memory that [`Op::cuda`] needs on `target`.
    fn cuda_workspace(&self, inputs: &[Shape], outputs: &[Shape], target: &Target) -> usize {
        let _ = (inputs, outputs, target);
        0
    }

    /// The launches that run the op on a CUDA device, in order. Each operand may be of any element type
    /// and, where it is a map, in a channel slice.
    ///
    /// # Errors
    /// Where the device cannot run it.
    fn cuda(&self, operands: &Operands, target: &Target) -> Result<Vec<Launch>> {
        let _ = (operands, target);
        Err(Error::internal("has no CUDA kernel yet").in_op(self.name()))
    }
}

impl dyn Op {
    /// Whether output `output` is stored as a map, given whether an input is one.
    pub fn stores_map(&self, output: usize, input_is_map: bool) -> bool {
        self.is_map(output) && (input_is_map || self.makes_maps())
    }

    /// The op as its concrete type: how the compiler recognises what it can fuse.
    pub fn downcast<T: Op>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }
}

/// Fails unless an op was given `count` inputs.
pub fn expect_inputs(op: &str, inputs: &[Shape], count: usize) -> Result<()> {
    if inputs.len() == count {
        return Ok(());
    }
    Err(Error::shape(op, inputs, format!("takes {count} inputs, not {}", inputs.len())))
}

/// Fails unless all of `inputs` have the same shape.
pub fn expect_same(op: &str, inputs: &[Shape]) -> Result<()> {
    if inputs.windows(2).all(|pair| pair[0] == pair[1]) {
        return Ok(());
    }
    Err(Error::shape(op, inputs, "the inputs must have the same shape"))
}
