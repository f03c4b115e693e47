//! Every op's cases: what a device's kernels are held to their references with.

use super::Case;

/// The cases of all ops.
pub fn all() -> Vec<Case> {
    [
        super::activation::cases(),
        super::add::cases(),
        super::average_pool::cases(),
        super::batch_norm::cases(),
        super::channel_sum::cases(),
        super::concat::cases(),
        super::copy::cases(),
        super::fill::cases(),
        super::max_pool::cases(),
        super::mean_square::cases(),
        super::slice::cases(),
        super::stop_gradient::cases(),
        super::upsample::cases(),
        super::weighted_sum::cases(),
    ]
    .concat()
}
