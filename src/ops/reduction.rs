//! Sums that do not depend on the number of threads.

use std::ops::Range;

use crate::runtime::Cpu;

/// `Σ sum(range)` over the consecutive ranges of `chunk` items that cover `0..count`: each is summed
/// by one thread, and they are joined in order, in f64, whichever thread had them.
pub fn sum_in_chunks(
    cpu: &Cpu,
    count: usize,
    chunk: usize,
    sum: impl Fn(Range<usize>) -> f64 + Sync + Send,
) -> f64 {
    let chunk = chunk.max(1);
    let mut partial = vec![0.0; count.div_ceil(chunk)];
    cpu.for_each(partial.iter_mut().enumerate().collect(), |(i, partial)| {
        *partial = sum(i * chunk..count.min((i + 1) * chunk));
    });
    partial.iter().sum()
}
