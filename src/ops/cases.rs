//! Every op's cases: what a device's kernels are held to their references with, by `gradpath selftest`.

use super::Case;

/// The cases of all ops.
pub fn all() -> Vec<Case> {
    [
        super::activation::cases(),
        super::adamw::cases(),
        super::add::cases(),
        super::average_pool::cases(),
        super::batch_norm::cases(),
        super::binary_cross_entropy::cases(),
        super::cast::cases(),
        super::ceiling::cases(),
        super::channel_sum::cases::cases(),
        super::ciou::cases(),
        super::class_loss::cases(),
        super::concat::cases(),
        super::conv::cases::cases(),
        super::conv_chain::cases(),
        super::copy::cases(),
        super::decode_box::cases(),
        super::ema::cases(),
        super::fill::cases(),
        super::gather::cases(),
        super::matched_mean::cases(),
        super::max_pool::cases(),
        super::mean_square::cases(),
        super::objectness_target::cases(),
        super::sgd::cases(),
        super::slice::cases(),
        super::softmax_cross_entropy::cases(),
        super::split_conv::cases(),
        super::stop_gradient::cases(),
        super::upsample::cases(),
        super::weighted_sum::cases(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_cpu_weights, reference};

    /// A case that the cpu's kernels do not pass is wrong itself.
    #[test]
    fn the_cpu_passes_all() {
        for case in all() {
            let is_dense = |i: &usize| !case.maps[*i] || case.dense[*i];
            let inputs = (0..case.shapes.len()).filter(is_dense).map(|i| case.shapes[i]);
            let outputs = case.output_shapes().unwrap().into_iter().enumerate();
            let outputs = outputs.filter(|(o, _)| !case.op.is_map(*o)).map(|(_, shape)| shape);
            let weights: Vec<_> = inputs.chain(outputs).collect();
            check_cpu_weights(&*case.op, &case.shapes, &case.inputs, case.tolerance, &weights);
        }
    }

    #[test]
    fn outputs_are_finite() {
        // Those that are about NaN and infinity begin with them.
        let is_finite = |case: &Case| case.inputs.iter().flatten().all(|v| v.is_finite());
        for case in all().into_iter().filter(is_finite) {
            let outputs = reference(&*case.op, &case.shapes, &case.inputs);
            assert!(outputs.iter().flatten().all(|v| v.is_finite()), "{:?} {:?}", case.op, case.shapes);
        }
    }
}
