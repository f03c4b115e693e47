//! The convolution in f64, one loop an index.

use super::{Conv, ConvInputGradient, ConvWeightGradient, Geometry};
use crate::ops::Io;
use crate::ops::batch_norm::statistics_reference;
use crate::runtime::Activation;
use crate::tensor::{Shape, View};

/// Calls `visit(output pixel, output channel, input pixel, input channel, weight element)` for every
/// multiply-add of a convolution.
fn each_product(
    geometry: &Geometry,
    x: Shape,
    weight: Shape,
    y: Shape,
    mut visit: impl FnMut(usize, usize, usize, usize, usize),
) {
    let (group_in, group_out) = (weight.c, weight.n / geometry.groups);
    for n in 0..y.n {
        for oy in 0..y.h {
            for ox in 0..y.w {
                for ky in 0..weight.h {
                    for kx in 0..weight.w {
                        let iy = oy * geometry.stride[0] + ky * geometry.dilation[0];
                        let ix = ox * geometry.stride[1] + kx * geometry.dilation[1];
                        let (Some(iy), Some(ix)) =
                            (iy.checked_sub(geometry.padding[0]), ix.checked_sub(geometry.padding[2]))
                        else {
                            continue;
                        };
                        if iy >= x.h || ix >= x.w {
                            continue;
                        }
                        let input = (n * x.h + iy) * x.w + ix;
                        let output = (n * y.h + oy) * y.w + ox;
                        for co in 0..y.c {
                            let first = co / group_out * group_in;
                            for ci in 0..group_in {
                                let element = ((co * weight.h + ky) * weight.w + kx) * weight.c + ci;
                                visit(output, co, input, first + ci, element);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `x` behind its prologue, dense.
fn behind_prologue(io: &Io<'_, f64>, x: usize, prologue: Option<(Activation, usize)>) -> Vec<f64> {
    let view = io.input(x);
    let mut data = view.to_vec();
    if let Some((activation, affine)) = prologue {
        let affine = io.input(affine);
        for pixel in data.chunks_mut(view.shape().c) {
            for (c, v) in pixel.iter_mut().enumerate() {
                *v = activation.apply(*v * affine.pixel(0)[c] + affine.pixel(1)[c]);
            }
        }
    }
    data
}

pub(super) fn forward(op: &Conv, io: &mut Io<'_, f64>) {
    let operands = op.operands();
    let x = behind_prologue(io, 0, op.prologue.zip(operands.prologue));
    let (x_shape, weight) = (io.input(0).shape(), io.input(1));
    let shape = io.outputs[0].shape();
    let mut sum = vec![0.0; shape.elements()];
    let w = io.dense(1);
    each_product(&op.geometry, x_shape, weight.shape(), shape, |o, co, i, ci, e| {
        sum[o * shape.c + co] += x[i * x_shape.c + ci] * w[e];
    });
    if let Some(bias) = operands.bias.map(|i| io.dense(i)) {
        sum.iter_mut().zip(bias.iter().cycle()).for_each(|(sum, bias)| *sum += bias);
    }
    for pixel in 0..shape.pixels() {
        for c in 0..shape.c {
            let mut y = op.activation.apply(sum[pixel * shape.c + c]);
            if let Some(residual) = operands.residual {
                // In place, the output holds the residual.
                let residual = match io.inputs[residual] {
                    Some(view) => view.pixel(pixel).get(c).copied(),
                    None => {
                        (c < op.residual_in_place.unwrap_or(shape.c)).then(|| io.outputs[0].pixel(pixel)[c])
                    }
                };
                y += residual.unwrap_or(0.0);
            }
            io.outputs[0].pixel(pixel)[c] = y;
        }
    }
    if op.statistics {
        statistics_reference(View::dense(&sum, shape), &mut io.outputs[1]);
    }
}

pub(super) fn input_gradient(op: &ConvInputGradient, io: &mut Io<'_, f64>) {
    if op.accumulate {
        io.settle(2, 0);
    } else {
        io.outputs[0].fill(0.0);
    }
    let (dy, weight) = (io.input(0), io.input(1));
    let w = io.dense(1);
    let dx = &mut io.outputs[0];
    each_product(&op.geometry, op.input, weight.shape(), dy.shape(), |o, co, i, ci, e| {
        dx.pixel(i)[ci] += dy.pixel(o)[co] * w[e];
    });
}

pub(super) fn weight_gradient(op: &ConvWeightGradient, io: &mut Io<'_, f64>) {
    let x = behind_prologue(io, 0, op.prologue.map(|activation| (activation, 2)));
    let (x_shape, dy) = (io.input(0).shape(), io.input(1));
    let mut dw = vec![0.0; op.weight.elements()];
    each_product(&op.geometry, x_shape, op.weight, dy.shape(), |o, co, i, ci, e| {
        dw[e] += x[i * x_shape.c + ci] * dy.pixel(o)[co];
    });
    io.outputs[0].copy_from(View::dense(&dw, op.weight));
}
