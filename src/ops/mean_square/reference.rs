//! The mean of squares as it is defined.

use super::Io;

pub(super) fn forward(io: &mut Io<'_, f64>) {
    let x = io.input(0).to_vec();
    let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    io.output(0).fill(mean);
}

pub(super) fn gradient(io: &mut Io<'_, f64>) {
    io.settle(0, 0);
    let dy = io.dense(1)[0];
    let dx = io.output(0);
    let count = dx.shape().elements() as f64;
    for i in 0..dx.shape().pixels() {
        dx.pixel(i).iter_mut().for_each(|v| *v = 2.0 * *v / count * dy);
    }
}
