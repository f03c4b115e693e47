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

#[test]
fn each_function_of_hopper_has_a_twin() {
    // The operands of the assembly are macros that the twin has no use for.
    let without_macros = |path: &str| -> BTreeSet<String> {
        offered(path).into_iter().filter(|name| !name.starts_with("WGMMA_")).collect()
    };
    let kernels = without_macros("kernels/common/hopper.cuh");
    let twins = without_macros("tests/emulator/hopper.cuh");
    assert!(kernels.contains("tma_load_4d") && kernels.contains("WGMMA"));
    assert_eq!(kernels, twins);
    // The products are what the macro makes of these.
    let products = |path: &str| -> BTreeSet<(String, String)> {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let of_line = |line: &str| {
            let mut words = line.strip_prefix("WGMMA(")?.strip_suffix(')')?.split(',');
            Some((words.next()?.to_owned(), words.next_back()?.trim().to_owned()))
        };
        text.lines().filter_map(of_line).collect()
    };
    assert_eq!(products("kernels/common/hopper.cuh").len(), 8);
    assert_eq!(products("kernels/common/hopper.cuh"), products("tests/emulator/hopper.cuh"));
}
