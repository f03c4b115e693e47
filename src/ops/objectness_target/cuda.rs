//! The objectness target on a CUDA device: zeros, then the largest of what the matches say.

use super::ObjectnessTarget;
use crate::Result;
use crate::ops::matches::cuda::{clear, table};
use crate::runtime::cuda::{Launch, Operands};

pub(super) fn forward(op: &ObjectnessTarget, operands: &Operands) -> Result<Vec<Launch>> {
    let (x, y) = (operands.input(0), operands.outputs[0].expect_f32()?);
    let capacity = x.shape.pixels();
    let launch = Launch::new("objectness_target.cu", "objectness_target")
        .define("X_TYPE", x.dtype)
        .define("X_STRIDE", x.pixel_stride)
        .define("Y_STRIDE", y.pixel_stride)
        .cover(capacity)
        .view(x);
    let launch = table(launch, operands.input(1))?
        .int(capacity)
        .int(op.map.n)
        .int(op.map.h)
        .int(op.map.w)
        .int(op.map.c)
        .float(1.0 - op.ratio)
        .float(op.ratio)
        .view(y)
        .address(operands.status);
    Ok(vec![clear(y, 0, 0), launch])
}
