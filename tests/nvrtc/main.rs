//! The kernels through the real NVRTC, which needs no GPU: in a process of its own, since the emulator's
//! tests open a stand-in under its name.
//!
//! It is found as the program finds it; `.ci/run` installs it into `target/nvrtc`. Where there is none the
//! tests say so and check nothing, or fail with `CI=true`.

mod budgets;
mod compiler;
mod diagnostics;
mod kernels;

use std::collections::BTreeMap;

use gradpath::runtime::cuda::{Kernel, Nvrtc, nvrtc_options};

/// The architectures that kernels are written for, one a generation.
const ARCHITECTURES: [u32; 7] = [75, 80, 86, 89, 90, 100, 120];

/// The real NVRTC, or `None` with a sentence.
///
/// # Panics
/// Where there is none and `CI` is `true`: there it must not be missing.
fn nvrtc() -> Option<&'static Nvrtc> {
    match Nvrtc::get() {
        Ok(nvrtc) => Some(nvrtc),
        Err(error) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{error}");
            println!("skipped: {error}");
            None
        }
    }
}

/// A kernel of a file that is not one of the project's.
fn kernel(entry: &'static str, defines: &[(&'static str, &str)]) -> Kernel {
    let defines: BTreeMap<&str, String> =
        defines.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Kernel { file: "test.cu", entry, defines, is_specific: false }
}

/// The options that the program compiles it with.
fn options(kernel: &Kernel, arch: u32) -> Vec<String> {
    nvrtc_options(kernel, arch)
}
