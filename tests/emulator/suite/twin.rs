//! The emulator's `intrinsics.cuh` has what the kernels' one has.

use std::collections::BTreeSet;
use std::path::Path;

/// The names of the functions and macros that a header gives to kernels, once for each overload and branch.
fn offered(path: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let function =
        |line: &str| Some(line.strip_prefix("DEVICE ")?.split('(').next()?.rsplit(' ').next()?.to_owned());
    let macros = |line: &str| {
        let name = line.strip_prefix("#define ")?.split([' ', '(']).next()?;
        Some(name.to_owned())
    };
    text.lines().filter_map(|line| function(line).or_else(|| macros(line))).collect()
}

#[test]
fn each_intrinsic_has_a_twin() {
    let kernels = offered("kernels/common/intrinsics.cuh");
    let twins = offered("tests/emulator/intrinsics.cuh");
    assert!(kernels.contains("SHARED_ARRAY") && kernels.contains("mma_m16n8k16_bf16"));
    assert_eq!(kernels, twins);
}
