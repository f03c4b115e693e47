//! A compiled step: kernels in order, and where each finds its operands.

use std::sync::Arc;

use super::{MemoryReport, ProcessorKind};
use crate::graph::{Mode, Pass};
use crate::ops::{Cost, Op};
use crate::tensor::{DType, Shape};

/// Bytes of the arena's unit.
pub const WORD: usize = 4;

/// Which memory an operand lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Memory {
    /// The arena: alive for a part of the step.
    Arena,
    /// The parameter or state of that index: kept between steps.
    Persistent(usize),
}

/// Where an operand lies: a channel window of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The memory.
    pub memory: Memory,
    /// The first element, counted in elements of its own type.
    pub offset: usize,
    /// The operand's shape.
    pub shape: Shape,
    /// Elements from one pixel to the next.
    pub pixel_stride: usize,
    /// How elements are stored; host devices store all of them in their own type.
    pub dtype: DType,
}

impl Slot {
    /// Elements from the first to one past the last, whatever lies between.
    pub fn extent(&self) -> usize {
        match self.shape.elements() {
            0 => 0,
            _ => (self.shape.pixels() - 1) * self.pixel_stride + self.shape.c,
        }
    }

    /// Bytes of the operand itself.
    pub fn bytes(&self) -> usize {
        self.shape.elements() * self.dtype.size()
    }
}

/// A parameter or a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persistent {
    /// The name, as in weight files.
    pub name: String,
    /// The shape.
    pub shape: Shape,
    /// Whether it is learned: a parameter.
    pub learned: bool,
    /// How elements are stored.
    pub dtype: DType,
}

impl Persistent {
    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        self.shape.elements() * self.dtype.size()
    }
}

/// One kernel and its operands.
#[derive(Clone, Debug)]
pub struct Step {
    /// The op that runs.
    pub op: Arc<dyn Op>,
    /// Where the inputs lie; `None` for one that lies in its output already.
    pub inputs: Vec<Option<Slot>>,
    /// Where the outputs go.
    pub outputs: Vec<Slot>,
    /// Scratch memory in the arena: first word and length in words of 4 bytes.
    pub workspace: Option<(usize, usize)>,
    /// The dotted path of the scopes it was traced in.
    pub scope: String,
    /// The part of the step it belongs to.
    pub pass: Pass,
}

impl Step {
    /// Where input `input` lies; of one that lies in an output, its channels there.
    pub fn input_slot(&self, input: usize) -> Option<Slot> {
        let in_place = || {
            let pair = self.op.in_place().iter().find(|pair| pair.0 == input)?;
            let output = self.outputs.get(pair.1)?;
            let channels = self.op.channels_in_place(input).unwrap_or(output.shape.c);
            Some(Slot { shape: output.shape.with_c(channels), ..*output })
        };
        self.inputs.get(input)?.or_else(in_place)
    }

    /// The op and where it was traced, for messages: `conv in stem.0`.
    pub fn title(&self) -> String {
        match self.scope.is_empty() {
            true => self.op.name().to_owned(),
            false => format!("{} in {}", self.op.name(), self.scope),
        }
    }

    /// The shapes of its inputs and of its outputs.
    pub fn shapes(&self) -> (Vec<Shape>, Vec<Shape>) {
        let outputs = self.outputs.iter().map(|slot| slot.shape).collect();
        let inputs =
            (0..self.inputs.len()).filter_map(|i| self.input_slot(i)).map(|slot| slot.shape).collect();
        (inputs, outputs)
    }

    /// What the op costs at these shapes.
    pub fn cost(&self) -> Cost {
        let (inputs, outputs) = self.shapes();
        self.op.cost(&inputs, &outputs)
    }
}

/// A compiled step.
#[derive(Clone, Debug)]
pub struct Program {
    /// Training or inference.
    pub mode: Mode,
    /// What is computed once from parameters and states when they are loaded: the outputs of these, one
    /// each, are persistent here, by name, in place of the raw weights.
    pub prepare: Vec<Arc<Program>>,
    /// The kernels in order.
    pub steps: Vec<Step>,
    /// After them: what is copied into which parameter or state, where it could not be written in place.
    pub stores: Vec<(Slot, Slot)>,
    /// Parameters and states.
    pub persistent: Vec<Persistent>,
    /// What is fed, by name.
    pub inputs: Vec<(String, Slot)>,
    /// What can be read after a step, by name.
    pub outputs: Vec<(String, Slot)>,
    /// The arena's length in words of 4 bytes: in elements, where all are f32.
    pub arena: usize,
    /// What the program was compiled for.
    pub processor: ProcessorKind,
    /// What the memory is used for.
    pub report: Arc<MemoryReport>,
}
