//! The step as it is defined.

use super::{AdamW, Io};
use crate::Result;

pub(super) fn run(adamw: &AdamW, io: &mut Io<'_, f64>) -> Result<()> {
    for (input, output) in [(0, 0), (2, 1), (3, 2)] {
        io.settle(input, output);
    }
    let (gradient, rate, step) = (io.input(1), io.dense(4)[0], io.dense(4)[1]);
    adamw.factors(rate, step)?;
    let [parameter, first, second] = &mut io.outputs[..] else { return Ok(()) };
    let AdamW { beta1, beta2, epsilon, weight_decay } = *adamw;
    for i in 0..gradient.shape().pixels() {
        let (p, g) = (parameter.pixel(i), gradient.pixel(i));
        let (m, v) = (first.pixel(i), second.pixel(i));
        for c in 0..g.len() {
            m[c] = beta1 * m[c] + (1.0 - beta1) * g[c];
            v[c] = beta2 * v[c] + (1.0 - beta2) * g[c] * g[c];
            let m_hat = m[c] / (1.0 - beta1.powf(step));
            let v_hat = v[c] / (1.0 - beta2.powf(step));
            p[c] = p[c] * (1.0 - rate * weight_decay) - rate * m_hat / (v_hat.sqrt() + epsilon);
        }
    }
    Ok(())
}
