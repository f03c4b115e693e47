//! The moving average on the cpu.

use super::Io;
use crate::runtime::Cpu;

pub(super) fn run(io: &mut Io<'_, f32>, cpu: &Cpu, in_place: &[(usize, usize)]) {
    let decay = io.dense(2)[0];
    // In f64: with a decay of 0.9999 the difference from 1 has only 10 bits left in f32.
    let rest = (1.0 - f64::from(decay)) as f32;
    io.elementwise_in_place(cpu, in_place, [1], |[value], [average]| {
        for (average, value) in average.iter_mut().zip(value) {
            *average = decay * *average + rest * value;
        }
    });
}
