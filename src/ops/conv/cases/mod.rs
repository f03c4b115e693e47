//! Cases of the convolution's ops, for every device.

use crate::ops::Case;

/// All of them.
pub fn cases() -> Vec<Case> {
    Vec::new()
}
