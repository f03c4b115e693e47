//! A compiled step: kernels in order, and where each finds its operands.

use std::sync::Arc;

use super::{MemoryReport, ProcessorKind};
use crate::graph::{Mode, Pass};
use crate::ops::Op;
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
    /// The shapes of the inputs; of one that lies in its output, the output's.
    pub fn input_shapes(&self) -> Vec<Shape> {
        let in_place = |input: usize| {
            let (_, output) = self.op.in_place().iter().find(|(i, _)| *i == input)?;
            self.outputs.get(*output)
        };
        let slots =
            self.inputs.iter().enumerate().map(|(index, slot)| slot.as_ref().or_else(|| in_place(index)));
        slots.map(|slot| slot.map_or(Shape::vector(0), |slot| slot.shape)).collect()
    }

    /// The shapes of the outputs.
    pub fn output_shapes(&self) -> Vec<Shape> {
        self.outputs.iter().map(|slot| slot.shape).collect()
    }

    /// The op and where it was traced, for messages: `conv in stem.0`.
    pub fn title(&self) -> String {
        match self.scope.is_empty() {
            true => self.op.name().to_owned(),
            false => format!("{} in {}", self.op.name(), self.scope),
        }
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
