//! The operands of one node as a kernel sees them.

use std::ops::Range;

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

impl Io<'_, f32> {
    /// Runs an elementwise kernel that updates its outputs in place, in parallel: `kernel(reads,
    /// writes)` gets the same run of elements of the inputs `reads` and of all `W` outputs, after the
    /// inputs of `pairs` (input, output) were copied to their outputs where they do not lie there
    /// already. All of them have one shape.
    ///
    /// A run is a whole chunk where every operand lies densely there, one pixel otherwise.
    pub fn elementwise_in_place<const R: usize, const W: usize>(
        &mut self,
        cpu: &Cpu,
        pairs: &[(usize, usize)],
        reads: [usize; R],
        kernel: impl Fn([&[f32]; R], [&mut [f32]; W]) + Sync + Send,
    ) {
        let sources: Vec<_> =
            pairs.iter().filter_map(|&(input, output)| Some((self.inputs[input]?, output))).collect();
        let reads = reads.map(|input| self.input(input));
        let step = pixels_per_chunk(self.outputs[0].shape());
        let mut columns: Vec<_> =
            self.outputs.iter_mut().map(|output| output.reborrow().chunks(step).into_iter()).collect();
        let mut chunks: Vec<(usize, [ViewMut<'_, f32>; W])> = Vec::new();
        while let Ok(chunk) = columns.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>().try_into() {
            chunks.push((chunks.len() * step, chunk));
        }
        cpu.for_each(chunks, |(first, mut chunk)| {
            let shape = chunk[0].shape();
            for &(source, output) in &sources {
                for i in 0..shape.pixels() {
                    chunk[output].pixel(i).copy_from_slice(source.pixel(first + i));
                }
            }
            let run = first * shape.c..(first + shape.pixels()) * shape.c;
            let dense_reads = reads.each_ref().map(|view| view.as_slice().map(|all| &all[run.clone()]));
            let dense = dense_reads.iter().all(Option::is_some)
                && chunk.iter_mut().all(|view| view.as_mut_slice().is_some());
            if dense {
                kernel(
                    dense_reads.map(Option::unwrap_or_default),
                    chunk.each_mut().map(|view| view.as_mut_slice().unwrap_or_default()),
                );
            } else {
                for i in 0..shape.pixels() {
                    kernel(
                        reads.each_ref().map(|view| view.pixel(first + i)),
                        chunk.each_mut().map(|view| view.pixel(i)),
                    );
                }
            }
        });
    }
}

/// One image's channels `channels` of a map, `[1, 1, h·w, channels]`: what one thread writes.
#[derive(Debug)]
pub struct ImageBlock<'a, T> {
    /// The image.
    pub image: usize,
    /// The channels.
    pub channels: Range<usize>,
    /// Their elements.
    pub view: ViewMut<'a, T>,
}

/// Cuts `map` by image, and within an image into blocks of at most `block` channels, for threads to
/// write side by side.
pub fn image_blocks<T>(mut map: ViewMut<'_, T>, block: usize) -> Vec<ImageBlock<'_, T>> {
    let (shape, stride, start) = (map.shape(), map.pixel_stride(), map.as_mut_ptr());
    let pixels = shape.h * shape.w;
    let mut blocks = Vec::new();
    for image in 0..shape.n {
        for first in (0..shape.c).step_by(block.max(1)) {
            let channels = first..(first + block.max(1)).min(shape.c);
            let shape = Shape::new(1, 1, pixels, channels.len());
            let pointer = start.wrapping_add(image * pixels * stride + first);
            // SAFETY: these are elements of `map`, which is borrowed exclusively for as long as the
            // blocks live, and no element is in two blocks.
            let view = unsafe { ViewMut::from_raw(pointer, shape, stride) };
            blocks.push(ImageBlock { image, channels, view });
        }
    }
    blocks
}
