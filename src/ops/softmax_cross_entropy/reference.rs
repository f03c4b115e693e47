//! Softmax cross entropy as it is defined, with the maximum taken out of the exponentials.

use super::Io;

pub(super) fn forward(io: &mut Io<'_, f64>, classes: &[usize]) {
    let logits = io.input(0);
    let losses = classes.iter().enumerate().map(|(row, &class)| -softmax(logits.pixel(row))[class].1);
    let mean = losses.sum::<f64>() / classes.len() as f64;
    io.output(0).fill(mean);
}

pub(super) fn gradient(io: &mut Io<'_, f64>, classes: &[usize]) {
    io.settle(0, 0);
    let scale = io.dense(2)[0] / classes.len() as f64;
    for (row, &class) in classes.iter().enumerate() {
        let row = io.outputs[0].pixel(row);
        let probabilities = softmax(row);
        for (c, (probability, _)) in probabilities.into_iter().enumerate() {
            row[c] = (probability - f64::from(u8::from(c == class))) * scale;
        }
    }
}

/// The probability of each class, and its logarithm.
fn softmax(logits: &[f64]) -> Vec<(f64, f64)> {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = logits.iter().map(|z| (z - max).exp()).sum::<f64>().ln();
    logits.iter().map(|z| z - max - log_sum).map(|log| (log.exp(), log)).collect()
}
