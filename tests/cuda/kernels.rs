//! Every op's kernels in every case and variant, in four schedules, each access checked.

use std::collections::BTreeSet;

use gradpath::ops::{Case, cases};
use gradpath::selftest::{Selection, check_case_between, kernels_of, variants};
use gradpath::tensor::DType;

use crate::device::{device, open};
use crate::emulator::{Options, Order};

const MAPS: [DType; 3] = [DType::F32, DType::Bf16, DType::F16];

/// Runs the cases of the ops `names` on an emulated device of architecture `sm`, and returns which kernels ran; none
/// where there is no emulator.
fn check(names: &[&str], sm: u32) -> BTreeSet<String> {
    let mut kernels = BTreeSet::new();
    let Some((session, cuda)) = open(sm, DType::F32) else { return kernels };
    let all = cases::all();
    let chosen: Vec<Case> = all.into_iter().filter(|case| names.contains(&case.op.name())).collect();
    assert!(!chosen.is_empty(), "no cases of {names:?}");
    let selection = Selection { maps: MAPS.to_vec(), filter: None };
    let launches = kernels_of(&chosen, &selection, &cuda.target()).unwrap();
    cuda.functions(&launches.iter().collect::<Vec<_>>()).unwrap_or_else(|e| panic!("{e}"));
    let schedule =
        |order, seed| session.set_options(Options { order, seed, trace: true, ..Options::default() });
    let mut failures = Vec::new();
    let mut ran = 0;
    for map in MAPS {
        let device = device(&cuda, map);
        for case in &chosen {
            for variant in variants(case, map) {
                session.clear();
                ran += 1;
                let outcome = check_case_between(
                    &device,
                    case,
                    variant,
                    &mut [
                        &mut || schedule(Order::Ascending, 1),
                        &mut || schedule(Order::Descending, 1),
                        &mut || schedule(Order::WarpPriority, 2),
                        &mut || schedule(Order::WarpPriority, 3),
                    ],
                );
                let what = || format!("{:?} on {:?}, {variant:?}", case.op, case.shapes);
                if let Err(error) = outcome {
                    failures.push(format!("{}: {error} {}", what(), session.last_error()));
                }
                for launch in session.launches() {
                    if launch.counts.float_atomics > 0 {
                        failures.push(format!("{}: {} adds floats in any order", what(), launch.kernel));
                    }
                    kernels.insert(launch.kernel);
                }
            }
        }
    }
    let shown: Vec<String> = failures.iter().take(8).cloned().collect();
    assert!(failures.is_empty(), "{} of {ran} fail, among them\n{}", failures.len(), shown.join("\n"));
    println!("{names:?}: {ran} variants in 4 schedules");
    kernels
}

/// One test a group of ops, and a list of all that have a test.
macro_rules! groups {
    ($($test:ident: $($name:literal),+;)*) => {
        $(#[test]
        fn $test() {
            check(&[$($name),+], 80);
        })*

        const TESTED: &[&str] = &[$($($name),+),*];
    };
}

groups! {
    convolution: "conv";
    convolution_input_gradient: "conv input gradient";
    convolution_weight_gradient: "conv weight gradient";
    fused_blocks: "split conv", "conv chain";
    cast: "cast";
    ceilings: "multiply-adds", "matrix multiply-adds";
    copies: "copy", "slice", "concat", "fill", "stop gradient";
    additions: "add", "weighted sum";
    activations: "activation", "activation gradient";
    sums: "channel sum", "mean square", "mean square gradient";
    statistics: "batch statistics", "update running statistics", "norm affine", "fold norm";
    normalization: "normalize", "normalize gradient";
    pooling: "max pool", "max pool gradient", "global average pool", "global average pool gradient";
    upsampling: "upsample", "upsample gradient";
    boxes: "CIoU", "CIoU gradient", "decode box", "decode box gradient";
    losses: "binary cross-entropy", "binary cross-entropy gradient", "class loss", "class loss gradient",
        "softmax cross entropy", "softmax cross entropy gradient", "matched mean", "matched mean gradient",
        "objectness target";
    rows: "gather", "scatter";
    optimizers: "adamw", "sgd", "exponential moving average";
}

/// sm_75 copies through registers and has tensor cores for f16 alone: other loops, where convolutions are.
#[test]
fn turing() {
    check(&["conv", "conv input gradient", "conv weight gradient", "split conv", "conv chain"], 75);
}

/// Every way to run a convolution, those of sm_90 included.
#[test]
fn convolution_candidates() {
    let kernels = check(&["conv candidate"], 90);
    let ways = ["conv_forward", "conv_forward_wgmma"];
    assert!(kernels.is_empty() || ways.iter().all(|way| kernels.contains(*way)), "{kernels:?}");
}

#[test]
fn every_op_with_cases_is_tested() {
    let with_cases: BTreeSet<&str> = cases::all().iter().map(|case| case.op.name()).collect();
    let tested: BTreeSet<&str> = TESTED.iter().copied().chain(["conv candidate"]).collect();
    assert_eq!(with_cases, tested);
}
