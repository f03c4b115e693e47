//! The ops that move or make numbers without changing them, on the cpu against the reference.

use proptest::prelude::*;

use super::testing::check_cpu_random;
use super::weighted_sum::WeightedSum;
use super::{concat::Concat, copy::Copy, fill::Fill, slice::Slice, stop_gradient::StopGradient};
use crate::compile::Processor;
use crate::device::cuda::{Addresses, launches};
use crate::runtime::cuda::Target;
use crate::selftest::{CaseProgram, variants};
use crate::tensor::{DType, Shape};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn copies_slices_and_concats(n in 1..3usize, h in 1..7usize, w in 1..7usize, a in 1..40usize,
                                 b in 1..40usize, cut in 0..39usize, seed: u64) {
        let map = |c: usize| Shape::new(n, h, w, c);
        check_cpu_random(&Copy, &[map(a)], seed, 0.0);
        check_cpu_random(&StopGradient, &[map(a)], seed, 0.0);
        check_cpu_random(&Slice { start: cut.min(a - 1), end: a }, &[map(a)], seed, 0.0);
        check_cpu_random(&Concat, &[map(a), map(b), map(a)], seed, 0.0);
    }

    #[test]
    fn constants_and_sums_of_scalars(h in 1..9usize, c in 1..40usize, value in -2.0..2.0f64, seed: u64) {
        check_cpu_random(&Fill { shape: Shape::new(1, h, 2, c), value }, &[], seed, 1e-7);
        let weights = vec![value, 1.0, -0.5];
        check_cpu_random(&WeightedSum { weights }, &[Shape::scalar(); 3], seed, 1e-6);
    }
}

/// Of every op with tiles to choose from, in every case, on every kind of device: names differ, the usual tile is what
/// runs unasked, the files are those that are launched, and a name that there is not changes nothing.
#[test]
fn tiles_are_what_they_are_called() {
    let mut with_tiles = std::collections::BTreeSet::new();
    for (arch, shared_bytes) in [(75, 64 << 10), (80, 163 << 10), (86, 99 << 10), (90, 227 << 10)] {
        for map in [DType::F32, DType::Bf16, DType::F16] {
            let target = Target { arch, multiprocessors: 16, shared_bytes, map };
            for case in super::cases::all() {
                let outputs = case.output_shapes().unwrap();
                let Some(choice) = case.op.cuda_tiles(&case.shapes, &outputs, &target) else { continue };
                with_tiles.insert(case.op.name());
                let Some(variant) = variants(&case, map).first().copied() else { continue };
                let launched = |op| {
                    let case = super::Case { op, ..case.clone() };
                    let program = CaseProgram::new(&case, variant, &Processor::Cuda(target)).unwrap().program;
                    launches(&program, &target, &Addresses::pretended(&program)).unwrap().steps.remove(0)
                };
                let mut names: Vec<&String> = choice.tiles.iter().collect();
                names.sort();
                names.dedup();
                assert_eq!(names.len(), choice.tiles.len(), "{choice:?}");
                let unasked = launched(case.op.clone());
                assert_eq!(unasked, launched(case.op.with_cuda_tile("no such tile").unwrap()));
                for (index, tile) in choice.tiles.iter().enumerate() {
                    let all = launched(case.op.with_cuda_tile(tile).unwrap());
                    for launch in &all {
                        assert!(choice.files.contains(&launch.kernel.file), "{choice:?} {launch:?}");
                    }
                    if index == choice.usual {
                        assert_eq!(all, unasked, "{tile} of {:?} on sm_{arch} in {map}", case.op);
                    }
                }
            }
        }
    }
    let ops = ["conv", "conv chain", "conv input gradient", "conv weight gradient", "split conv"];
    assert_eq!(with_tiles, ops.into_iter().collect());
}
