//! The loss and its gradient element by element.

use super::Channels;
use crate::ops::Io;

pub(super) fn forward(channels: Channels, io: &mut Io<'_, f64>) {
    let (map, target) = (io.input(0), io.input(1));
    let mut sum = 0.0;
    for pixel in 0..target.shape().pixels() {
        for (k, t) in target.pixel(pixel).iter().enumerate() {
            let z = map.pixel(pixel)[channels.first + channels.step * k];
            sum += z.max(0.0) - z * t + (1.0 + (-z.abs()).exp()).ln();
        }
    }
    io.output(0).fill(sum / target.shape().elements() as f64);
}

pub(super) fn backward(channels: Channels, io: &mut Io<'_, f64>) {
    let (map, target, dy) = (io.input(0), io.input(1), io.dense(2)[0]);
    let dx = io.output(0);
    dx.fill(0.0);
    for pixel in 0..target.shape().pixels() {
        for (k, t) in target.pixel(pixel).iter().enumerate() {
            let channel = channels.first + channels.step * k;
            let sigmoid = 1.0 / (1.0 + (-map.pixel(pixel)[channel]).exp());
            dx.pixel(pixel)[channel] = (sigmoid - t) * dy / target.shape().elements() as f64;
        }
    }
}
