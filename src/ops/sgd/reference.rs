//! The step as it is defined.

use super::{Io, Sgd};

pub(super) fn run(sgd: &Sgd, io: &mut Io<'_, f64>) {
    io.settle(0, 0);
    io.settle(2, 1);
    let (gradient, rate, momentum) = (io.input(1), io.dense(3)[0], io.dense(4)[0]);
    let [parameter, velocity] = &mut io.outputs[..] else { return };
    for i in 0..gradient.shape().pixels() {
        let (p, g, v) = (parameter.pixel(i), gradient.pixel(i), velocity.pixel(i));
        for c in 0..g.len() {
            let g = g[c] + sgd.weight_decay * p[c];
            v[c] = momentum * v[c] + g;
            p[c] -= rate * if sgd.nesterov { g + momentum * v[c] } else { v[c] };
        }
    }
}
