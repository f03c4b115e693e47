//! The moving average on a CUDA device: one pass that reads two arrays and writes one.

use crate::Result;
use crate::runtime::cuda::{DeviceView, Launch, Operands};

pub(super) fn run(operands: &Operands) -> Result<Vec<Launch>> {
    let (average, value) = (operands.input_or(0, 0).expect_array()?, operands.input(1).expect_array()?);
    let (decay, y) = (operands.input(2).expect_f32()?, operands.outputs[0].expect_array()?);
    let pack = DeviceView::common_pack(&[average, value, y]);
    let elements = average.shape.elements();
    let launch = Launch::new("ema.cu", "ema")
        .define("PACK", pack)
        .cover(elements.div_ceil(pack))
        .view(average)
        .view(value)
        .view(decay)
        .int(elements)
        .view(y);
    Ok(vec![launch])
}
