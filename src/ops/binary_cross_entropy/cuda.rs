//! Binary cross-entropy on a CUDA device.

use super::super::partial_sum;
use super::Channels;
use crate::Result;
use crate::runtime::cuda::{DeviceView, Launch, Operands};
use crate::tensor::Shape;

const FILE: &str = "binary_cross_entropy.cu";

/// 256 threads, a few elements each.
fn blocks(target: Shape) -> usize {
    partial_sum::blocks(target.elements(), 1024)
}

pub(super) fn workspace(target: Shape) -> usize {
    partial_sum::workspace(blocks(target))
}

fn specialise(launch: Launch, channels: Channels, x: DeviceView, target: DeviceView) -> Launch {
    launch
        .define("X_TYPE", x.dtype)
        .define("X_STRIDE", x.pixel_stride)
        .define("FIRST", channels.first)
        .define("STEP", channels.step)
        .define("T_TYPE", target.dtype)
        .define("T_STRIDE", target.pixel_stride)
        .define("CHANNELS", target.shape.c)
}

pub(super) fn forward(channels: Channels, operands: &Operands) -> Result<Vec<Launch>> {
    let (x, target) = (operands.input(0), operands.input(1));
    let (shape, y) = (target.shape, operands.outputs[0].expect_f32()?);
    // Logits that lie apart are read one by one.
    let pack = match channels.step {
        1 => x.channels(channels.first, shape.c).pack().min(target.pack()),
        _ => 1,
    };
    let sums = partial_sum::sums(operands, blocks(shape), 1.0 / shape.elements() as f64, y);
    let launch = specialise(Launch::new(FILE, "binary_cross_entropy_forward"), channels, x, target)
        .define("PACK", pack)
        .grid(blocks(shape), 1, 1)
        .view(x)
        .view(target)
        .int(shape.pixels())
        .float(sums.factor)
        .address(sums.address);
    Ok([Some(launch), sums.finish].into_iter().flatten().collect())
}

pub(super) fn backward(channels: Channels, operands: &Operands) -> Result<Vec<Launch>> {
    let (x, target) = (operands.input(0), operands.input(1));
    let (dy, dx) = (operands.input(2).expect_f32()?, operands.outputs[0]);
    let launch = specialise(Launch::new(FILE, "binary_cross_entropy_gradient"), channels, x, target)
        .define("PACK", dx.flat_pack())
        .define("Y_TYPE", dx.dtype)
        .define("Y_STRIDE", dx.flat_stride())
        .define("Y_CHANNELS", dx.shape.c)
        .cover(dx.shape.elements().div_ceil(dx.flat_pack()))
        .view(x)
        .view(target)
        .view(dy)
        .int(target.shape.pixels())
        .float(1.0 / target.shape.elements() as f64)
        .view(dx);
    Ok(vec![launch])
}
