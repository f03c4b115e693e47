//! The step on a CUDA device: one pass that reads three arrays and writes two.

use super::Sgd;
use crate::Result;
use crate::runtime::cuda::{DeviceView, Launch, Operands};

pub(super) fn run(sgd: &Sgd, operands: &Operands) -> Result<Vec<Launch>> {
    let (parameter, gradient) = (operands.input_or(0, 0).expect_array()?, operands.input(1).expect_array()?);
    let velocity = operands.input_or(2, 1).expect_array()?;
    let (rate, momentum) = (operands.input(3).expect_f32()?, operands.input(4).expect_f32()?);
    let outputs = [operands.outputs[0].expect_array()?, operands.outputs[1].expect_array()?];
    let arrays = [parameter, gradient, velocity, outputs[0], outputs[1]];
    let pack = DeviceView::common_pack(&arrays);
    let elements = parameter.shape.elements();
    let launch = Launch::new("sgd.cu", "sgd")
        .define("PACK", pack)
        .define("NESTEROV", sgd.nesterov)
        .cover(elements.div_ceil(pack))
        .view(parameter)
        .view(gradient)
        .view(velocity)
        .view(rate)
        .view(momentum)
        .float(sgd.weight_decay)
        .int(elements)
        .view(outputs[0])
        .view(outputs[1]);
    Ok(vec![launch])
}
