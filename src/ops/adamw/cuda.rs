//! The step on a CUDA device: one pass that reads four arrays and writes three.

use super::AdamW;
use crate::Result;
use crate::runtime::cuda::{DeviceView, Launch, Operands};

pub(super) fn run(adamw: &AdamW, operands: &Operands) -> Result<Vec<Launch>> {
    let (parameter, gradient) = (operands.input_or(0, 0).expect_array()?, operands.input(1).expect_array()?);
    let first = operands.input_or(2, 1).expect_array()?;
    let second = operands.input_or(3, 2).expect_array()?;
    let rate_and_step = operands.input(4).expect_f32()?;
    let [y, new_first, new_second] = [operands.outputs[0], operands.outputs[1], operands.outputs[2]];
    let (y, new_first, new_second) =
        (y.expect_array()?, new_first.expect_array()?, new_second.expect_array()?);
    let pack = DeviceView::common_pack(&[parameter, gradient, first, second, y, new_first, new_second]);
    let elements = parameter.shape.elements();
    let launch = Launch::new("adamw.cu", "adamw")
        .define("PACK", pack)
        .cover(elements.div_ceil(pack))
        .view(parameter)
        .view(gradient)
        .view(first)
        .view(second)
        .view(rate_and_step)
        .float(adamw.beta1)
        .float(1.0 - adamw.beta1)
        .float(adamw.beta1.ln())
        .float(adamw.beta2)
        .float(1.0 - adamw.beta2)
        .float(adamw.beta2.ln())
        .float(adamw.epsilon)
        .float(adamw.weight_decay)
        .int(elements)
        .view(y)
        .view(new_first)
        .view(new_second)
        .address(operands.status);
    Ok(vec![launch])
}
