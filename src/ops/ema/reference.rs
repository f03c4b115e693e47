//! The moving average as it is defined.

use super::Io;

pub(super) fn run(io: &mut Io<'_, f64>) {
    io.settle(0, 0);
    let (value, decay) = (io.input(1), io.dense(2)[0]);
    let average = io.output(0);
    for i in 0..average.shape().pixels() {
        for (average, value) in average.pixel(i).iter_mut().zip(value.pixel(i)) {
            *average = decay * *average + (1.0 - decay) * value;
        }
    }
}
