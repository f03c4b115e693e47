//! The operands of one node as a kernel sees them.

use crate::Result;
use crate::runtime::Cpu;
use crate::tensor::{Element, Shape, View, ViewMut};

/// The operands of one node: views of its inputs and outputs, and scratch memory.
///
/// An input that shares its memory with an output ([`super::Op::in_place`]) is `None`: the output
/// already holds it. Kernels of such ops are written to work on the output in place and begin with
/// [`Io::settle`] or [`Io::chunks_in_place`], which copy the input first where it is not there yet.
#[derive(Debug)]
pub struct Io<'a, T> {
    /// The inputs in order; `None` where the input lies in its output already.
    pub inputs: Vec<Option<View<'a, T>>>,
    /// The outputs in order.
    pub outputs: Vec<ViewMut<'a, T>>,
    /// As many elements as the op asked for.
    pub workspace: &'a mut [T],
}

impl<'a, T: Element> Io<'a, T> {
    /// Input `index`, of an op that never runs in place over it.
    ///
    /// # Panics
    /// Where the input was placed over an output, which the planner does only for the pairs that
    /// the op itself names.
    pub fn input(&self, index: usize) -> View<'a, T> {
        self.inputs[index].expect("an input that the op does not overwrite")
    }

    /// All elements of input `index` where it is dense by nature (a parameter, a vector, a scalar).
    ///
    /// # Panics
    /// Where the input lies in a channel slice.
    pub fn dense(&self, index: usize) -> &'a [T] {
        self.input(index).as_slice().expect("a dense input")
    }

    /// Output `index`.
    pub fn output(&mut self, index: usize) -> &mut ViewMut<'a, T> {
        &mut self.outputs[index]
    }

    /// Makes output `output` hold input `input`, whether it already lies there or not.
    pub fn settle(&mut self, input: usize, output: usize) {
        if let Some(source) = self.inputs[input] {
            self.outputs[output].copy_from(source);
        }
    }
}

/// Pixels that one thread handles at a time: about 32 KiB of f32, so that what the first pass over a
/// chunk leaves in the first-level cache the second finds there.
pub fn pixels_per_chunk(shape: Shape) -> usize {
    (8192 / shape.c.max(1)).max(1)
}

impl Io<'_, f32> {
    /// Runs `kernel(first pixel, chunk of output 0)` over all pixels in parallel, after copying
    /// input 0 there where it does not lie there already.
    ///
    /// # Errors
    /// None of its own.
    pub fn chunks_in_place(
        &mut self,
        cpu: &Cpu,
        kernel: impl Fn(usize, &mut ViewMut<'_, f32>) + Sync + Send,
    ) -> Result<()> {
        let source = self.inputs[0];
        let output = self.outputs[0].reborrow();
        let step = pixels_per_chunk(output.shape());
        let chunks: Vec<_> = output.chunks(step).into_iter().enumerate().collect();
        cpu.for_each(chunks, |(index, mut chunk)| {
            let first = index * step;
            if let Some(source) = source {
                for i in 0..chunk.shape().pixels() {
                    chunk.pixel(i).copy_from_slice(source.pixel(first + i));
                }
            }
            kernel(first, &mut chunk);
        });
        Ok(())
    }
}
