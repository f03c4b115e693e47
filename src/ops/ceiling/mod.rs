//! Ops that do nothing but arithmetic, in registers: what a device's multiply-adders reach when nothing
//! holds them up. `gradpath bench` measures a device's ceilings by them; no network has one.

mod cases;
mod cpu;
mod cuda;

use super::{Cost, Io, Op, Tape, Value, expect_inputs};
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::{DType, Shape};
use crate::{Error, Result};

pub use cases::cases;

/// The turns that an op may take: their number is an `int` on every device.
const MOST_TURNS: usize = 1 << 24;

/// `turns` times `y ← −y + 1`, beginning with `y = x`, elementwise: `[n, h, w, c]` → the same.
///
/// Every turn is a fused multiply-add, of factors that the kernel is not compiled with. The chains of
/// different elements do not depend on each other, so a device can have as many under way as it has room
/// for; memory is read and written once, whatever the turns. An even number of turns gives x, within
/// rounding, and an odd one 1 − x: numbers stay as large as they are, and keep changing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiplyAdds {
    /// Multiply-adds for each element.
    pub turns: usize,
}

/// Traces [`MultiplyAdds`].
///
/// # Errors
/// Where there are more than 2²⁴ turns.
pub fn multiply_adds(tape: &mut dyn Tape, x: Value, turns: usize) -> Result<Value> {
    tape.apply(Box::new(MultiplyAdds { turns }), &[x])
}

/// Channels that enter [`MatrixMultiplyAdds`].
pub const ROWS_IN: usize = 16;
/// Channels that leave it.
pub const ROWS_OUT: usize = 64;

/// `y = turns · W·x` at every pixel, by adding the product `turns` times: `x [n, h, w, 16]`,
/// `W [64, 1, 1, 16]` → `[n, h, w, 64]`.
///
/// A 1×1 convolution, done over and over on operands that stay in registers: 16 pixels by 64 channels are
/// eight of the tiles that `mma.sync` multiplies, enough to keep a tensor core busy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatrixMultiplyAdds {
    /// How often the product is added.
    pub turns: usize,
}

/// Traces [`MatrixMultiplyAdds`].
///
/// # Errors
/// Where the shapes are others, or there are more than 2²⁴ turns.
pub fn matrix_multiply_adds(tape: &mut dyn Tape, x: Value, weight: Value, turns: usize) -> Result<Value> {
    tape.apply(Box::new(MatrixMultiplyAdds { turns }), &[x, weight])
}

/// Whether [`MatrixMultiplyAdds`] runs on tensor cores there.
pub fn has_matrix_units(target: &Target) -> bool {
    target.map != DType::F32 && target.has_tensor_cores(target.map)
}

fn expect_turns(op: &dyn Op, inputs: &[Shape], turns: usize) -> Result<()> {
    if turns <= MOST_TURNS {
        return Ok(());
    }
    Err(Error::shape(op.name(), inputs, format!("takes at most {MOST_TURNS} turns, not {turns}")))
}

impl Op for MultiplyAdds {
    fn name(&self) -> &'static str {
        "multiply-adds"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 1)?;
        expect_turns(self, inputs, self.turns)?;
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(2.0 * self.turns as f64 * inputs[0].elements() as f64)
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0)]
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        io.settle(0, 0);
        for i in 0..io.outputs[0].shape().pixels() {
            for y in io.outputs[0].pixel(i) {
                for _ in 0..self.turns {
                    *y = -*y + 1.0;
                }
            }
        }
        Ok(())
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        cpu::multiply_adds(io, cpu, self.turns)
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        Ok(cuda::multiply_adds(operands, self.turns))
    }
}

impl Op for MatrixMultiplyAdds {
    fn name(&self) -> &'static str {
        "matrix multiply-adds"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 2)?;
        expect_turns(self, inputs, self.turns)?;
        if inputs[0].c != ROWS_IN || inputs[1] != Shape::new(ROWS_OUT, 1, 1, ROWS_IN) {
            let message = format!("takes {ROWS_IN} channels, and a weight of [{ROWS_OUT}, 1, 1, {ROWS_IN}]");
            return Err(Error::shape(self.name(), inputs, message));
        }
        Ok(vec![inputs[0].with_c(ROWS_OUT)])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(2.0 * (self.turns * ROWS_IN * ROWS_OUT) as f64 * inputs[0].pixels() as f64)
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        let (x, weight) = (io.input(0), io.input(1));
        for i in 0..x.shape().pixels() {
            for (o, y) in io.outputs[0].pixel(i).iter_mut().enumerate() {
                *y = 0.0;
                for _ in 0..self.turns {
                    *y += x.pixel(i).iter().zip(weight.pixel(o)).map(|(x, w)| x * w).sum::<f64>();
                }
            }
        }
        Ok(())
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        cpu::matrix_multiply_adds(io, cpu, self.turns);
        Ok(())
    }

    fn cuda(&self, operands: &Operands, target: &Target) -> Result<Vec<Launch>> {
        Ok(cuda::matrix_multiply_adds(operands, target, self.turns))
    }
}

#[cfg(test)]
mod tests;
