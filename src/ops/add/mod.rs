//! Addition over a channel range: the residual add in all its forms (whole, masked, asymmetric), and
//! where the gradients of several readers meet.

mod cases;

use super::{Accesses, Cost, Gradient, Io, Op, Tape, Usage, Value, expect_inputs, grid, slice};
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::{Element, Shape, View, ViewMut};
use crate::{Error, Result};

pub use cases::cases;

/// `y = a`, with `b` added to the channels from `offset`: `y[.., offset..offset + c_b] += b`.
///
/// - ResNet's residual: `b` has all the channels of `a`.
/// - PRN's masked residual `F(x) + m ⊙ x`: `a = F(x)`, `b` the channels of `x` that the mask keeps
///   (the first γ·c; a slice, which moves no bytes). So adds fall with the mask, nothing else changes.
/// - PRN's asymmetric residual: the first `min(c_x, c_F)` channels.
///
/// Gradient: `da = dy`, `db = dy[.., offset..offset + c_b]`: no byte moves.
#[derive(Clone, Debug)]
pub struct Add {
    /// The first channel of `a` that gets a sum.
    pub offset: usize,
}

/// Traces `a + b`, shapes equal.
///
/// # Errors
/// Where the shapes differ.
pub fn trace(tape: &mut dyn Tape, a: Value, b: Value) -> Result<Value> {
    if tape.shape(a) != tape.shape(b) {
        let shapes = [tape.shape(a), tape.shape(b)];
        return Err(Error::shape("add", &shapes, "the inputs must have the same shape"));
    }
    trace_at(tape, a, b, 0)
}

/// Traces `a` with `b` added to its channels from `offset`.
///
/// # Errors
/// Where the maps differ in n, h or w, or the channels of `b` do not fit.
pub fn trace_at(tape: &mut dyn Tape, a: Value, b: Value, offset: usize) -> Result<Value> {
    tape.apply(Box::new(Add { offset }), &[a, b])
}

/// Traces PRN's masked (or asymmetric) residual `f + m ⊙ x`: the mask keeps the first `kept`
/// channels, at most those that both have.
///
/// # Errors
/// Where the maps differ in n, h or w.
pub fn masked_residual(tape: &mut dyn Tape, f: Value, x: Value, kept: usize) -> Result<Value> {
    let kept = kept.min(tape.shape(f).c).min(tape.shape(x).c);
    if kept == 0 {
        return Ok(f);
    }
    let shortcut = slice::trace(tape, x, 0..kept)?;
    trace_at(tape, f, shortcut, 0)
}

impl Op for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 2)?;
        let (a, b) = (inputs[0], inputs[1]);
        if a.with_c(0) != b.with_c(0) {
            return Err(Error::shape(self.name(), inputs, "the maps must agree in n, h and w"));
        }
        if self.offset + b.c > a.c {
            let message = format!("channels {}..{} do not fit", self.offset, self.offset + b.c);
            return Err(Error::shape(self.name(), inputs, message));
        }
        Ok(vec![a])
    }

    fn cost(&self, inputs: &[Shape], outputs: &[Shape]) -> Cost {
        // Darknet counts a shortcut by its output, however few channels are added.
        Cost { flops: inputs[1].elements() as f64, darknet_flops: outputs[0].elements() as f64, cio: 0.0 }
    }

    fn accesses(&self, usage: &Usage<'_>) -> Accesses {
        let all = Accesses::once(usage);
        if !usage.is_in_place(0) {
            return all;
        }
        // The other channels are where they should be already.
        let added = usage.inputs[1].elements();
        all.reading(0, added).writing(0, added)
    }

    fn gradient(
        &self,
        tape: &mut dyn Tape,
        inputs: &[Value],
        _outputs: &[Value],
        output_gradients: &[Option<Value>],
    ) -> Result<Vec<Gradient>> {
        let Some(dy) = output_gradients[0] else { return Ok(vec![Gradient::None; 2]) };
        let channels = tape.shape(inputs[1]).c;
        let db = slice::trace(tape, dy, self.offset..self.offset + channels)?;
        Ok(vec![Gradient::Whole(dy), Gradient::Whole(db)])
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0)]
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        io.settle(0, 0);
        let b = io.input(1);
        add_chunk(io.output(0), self.offset, 0, b);
        Ok(())
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        let b = io.input(1);
        io.chunks_in_place(cpu, |first, chunk| add_chunk(chunk, self.offset, first, b))
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        let (b, y) = (operands.input(1), operands.outputs[0]);
        let launch = Launch::new("add.cu", "add").define("B_TYPE", b.dtype);
        let (added, offset) = (b.shape.c, self.offset);
        let a = match operands.inputs[0] {
            Some(a) if added < y.shape.c => {
                // Wide packs of a and y, of which b's channels cut some.
                let mut pack = grid::common_pack(&[a, y, grid::whole_packs(b)]);
                while offset % pack != 0 {
                    pack /= 2;
                }
                let launch = launch.define("WHOLE", false).define("OFFSET", offset).define("ADDED", added);
                let launch = launch.define("A_TYPE", a.dtype).define("Y_TYPE", y.dtype);
                let launch =
                    [a, y, b].into_iter().fold(launch, |l, view| l.view(view).int(view.pixel_stride));
                return Ok(vec![grid::per_pack(launch, y.shape, pack).int(y.shape.pixels())]);
            }
            a => a,
        };
        // In place, or whole: only b's channels change, and all three maps have them.
        let y = y.channels(offset, added);
        let views = [("A_TYPE", a.unwrap_or(y)), ("Y_TYPE", y), ("B_TYPE", b)];
        Ok(vec![grid::elementwise(launch.define("WHOLE", true), views)])
    }
}

/// `chunk[i][offset..] += b[first + i]`.
fn add_chunk<T: Element + std::ops::AddAssign>(
    chunk: &mut ViewMut<'_, T>,
    offset: usize,
    first: usize,
    b: View<'_, T>,
) {
    for i in 0..chunk.shape().pixels() {
        let y = &mut chunk.pixel(i)[offset..];
        for (y, b) in y.iter_mut().zip(b.pixel(first + i)) {
            *y += *b;
        }
    }
}

#[cfg(test)]
mod tests;
