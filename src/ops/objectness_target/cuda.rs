//! The objectness target on a CUDA device: zeros, then the largest of what the matches say.

use super::ObjectnessTarget;
use crate::Result;
use crate::ops::matches::cuda::table_layout;
use crate::runtime::cuda::{Launch, Operands};

const FILE: &str = "objectness_target.cu";

pub(super) fn forward(op: &ObjectnessTarget, operands: &Operands) -> Result<Vec<Launch>> {
    let (x, y) = (operands.input(0), operands.outputs[0].expect_f32()?);
    let capacity = x.shape.pixels();
    let specialised = |entry| {
        let launch = Launch::new(FILE, entry)
            .define("X_TYPE", x.dtype)
            .define("X_STRIDE", x.pixel_stride)
            .define("ANCHORS", op.map.c)
            .define("Y_STRIDE", y.flat_stride())
            .define("PACK", y.flat_pack());
        // The two are one file: each is compiled with the table's macros.
        table_layout(launch, operands.input(1))
    };
    let clear = specialised("objectness_target_clear")?
        .cover(op.map.elements().div_ceil(y.flat_pack()))
        .view(y)
        .int(op.map.elements());
    let mark = specialised("objectness_target_mark")?
        .cover(capacity)
        .view(x)
        .view(operands.input(1))
        .int(capacity)
        .int(op.map.n)
        .int(op.map.h)
        .int(op.map.w)
        .float(1.0 - op.ratio)
        .float(op.ratio)
        .view(y)
        .address(operands.status);
    Ok(vec![clear, mark])
}
