//! Does this device compute what it should? Every op's kernels against the reference, in every element
//! type, into channel slices and in place; then a short training against the cpu's.
//!
//! It is what `gradpath selftest` runs on a user's device, and what the tests run on the cpu and on an
//! emulated GPU.

mod kernels;
mod program;
mod training;

pub use kernels::{
    CaseReport, Failure, Selection, check_case, check_case_between, check_kernels, kernels_of, variants,
};
pub use program::{CaseProgram, Variant};
pub use training::{TrainingReport, check_training};
