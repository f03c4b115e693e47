//! Cases of the convolution's ops, for every device.

mod forward;
mod input_gradient;
mod weight_gradient;

use crate::ops::Case;

/// All of them.
pub fn cases() -> Vec<Case> {
    [forward::cases(), input_gradient::cases(), weight_gradient::cases()].concat()
}
