//! The step on the cpu: one pass that reads three arrays and writes two.

use super::{Io, Op, Sgd};
use crate::runtime::Cpu;

pub(super) fn run(sgd: &Sgd, io: &mut Io<'_, f32>, cpu: &Cpu) {
    let (rate, momentum, decay) = (io.dense(3)[0], io.dense(4)[0], sgd.weight_decay as f32);
    // Plain: rate · v. Nesterov: rate · (g + momentum · v).
    let (of_gradient, of_velocity) = if sgd.nesterov { (1.0, momentum) } else { (0.0, 1.0) };
    io.elementwise_in_place(cpu, sgd.in_place(), [1], |[gradient], [parameter, velocity]| {
        for ((p, g), v) in parameter.iter_mut().zip(gradient).zip(velocity) {
            let g = g + decay * *p;
            *v = momentum * *v + g;
            *p -= rate * (of_gradient * g + of_velocity * *v);
        }
    });
}
