//! Cases of the convolution's ops, for every device.

mod forward;

use crate::ops::Case;

/// All of them.
pub fn cases() -> Vec<Case> {
    [forward::cases()].concat()
}
