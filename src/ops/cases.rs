//! The cases of all ops.

use super::{Case, cast, conv};

/// All of them.
pub fn all() -> Vec<Case> {
    [cast::cases(), conv::cases::cases()].concat()
}
