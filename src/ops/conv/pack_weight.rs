//! A weight in the order that the cpu's micro-kernels read it.

use super::{Geometry, cpu};
use crate::ops::{Cost, Io, Op, expect_inputs};
use crate::runtime::Cpu;
use crate::tensor::Shape;
use crate::{Error, Result};

/// Packs a weight once, for a program that runs many times with the same weights.
///
/// Input: `weight [c_out, kernel_h, kernel_w, c_in / groups]`. Output: `[1, 1, 1, length]`.
#[derive(Clone, Debug, PartialEq)]
pub struct PackWeight {
    /// The convolution's.
    pub geometry: Geometry,
    /// The shape of the convolution's input: the order suits the maps, not the weight alone.
    pub x: Shape,
    /// The shape of its output.
    pub y: Shape,
    /// Elements of the packed weight: it depends on the processor.
    pub length: usize,
}

impl PackWeight {
    /// The packing for `cpu` of the weight of a convolution `x` → `y`.
    pub fn new(cpu: &Cpu, geometry: Geometry, x: Shape, y: Shape) -> Self {
        PackWeight { geometry, x, y, length: cpu::packed_len(cpu, &geometry, x, y) }
    }
}

impl Op for PackWeight {
    fn name(&self) -> &'static str {
        "pack weight"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        expect_inputs(self.name(), inputs, 1)?;
        Ok(vec![Shape::vector(self.length)])
    }

    fn cost(&self, _inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::default()
    }

    fn reference(&self, _io: &mut Io<'_, f64>) -> Result<()> {
        Err(Error::internal("a packed weight is the cpu device's alone").in_op(self.name()))
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        let weight = io.dense(0);
        let packed = io.outputs[0].as_mut_slice();
        let packed =
            packed.ok_or_else(|| Error::internal("a packed weight is dense").in_op("pack weight"))?;
        cpu::pack(cpu, &self.geometry, self.x, self.y, weight, packed);
        Ok(())
    }
}
