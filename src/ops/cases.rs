//! The cases of all ops: what `gradpath selftest` runs on a device.

use super::{
    Case, adamw, binary_cross_entropy, ciou, class_loss, decode_box, ema, gather, matched_mean,
    objectness_target, sgd, softmax_cross_entropy,
};

/// Every op's cases, op by op.
pub fn all() -> Vec<Case> {
    [
        adamw::cases(),
        binary_cross_entropy::cases(),
        ciou::cases(),
        class_loss::cases(),
        decode_box::cases(),
        ema::cases(),
        gather::cases(),
        matched_mean::cases(),
        objectness_target::cases(),
        sgd::cases(),
        softmax_cross_entropy::cases(),
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
            let weights: Vec<_> = case.shapes.iter().zip(&case.maps).filter(|(_, map)| !**map).collect();
            let weights: Vec<_> = weights.into_iter().map(|(shape, _)| *shape).collect();
            check_cpu_weights(&*case.op, &case.shapes, &case.inputs, case.tolerance, &weights);
        }
    }

    #[test]
    fn outputs_are_finite() {
        for case in all() {
            let outputs = reference(&*case.op, &case.shapes, &case.inputs);
            assert!(outputs.iter().flatten().all(|v| v.is_finite()), "{:?} {:?}", case.op, case.shapes);
        }
    }
}
