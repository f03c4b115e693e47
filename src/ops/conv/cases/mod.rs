//! Cases of the convolution's ops, for every device.

pub mod input_gradient;
pub mod weight_gradient;

use crate::ops::Case;

/// All of them.
pub fn cases() -> Vec<Case> {
    [input_gradient::cases(), weight_gradient::cases()].concat()
}
