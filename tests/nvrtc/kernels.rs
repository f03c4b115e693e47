//! The kernels as the ops' cases and the small networks launch them: each compiles without a warning, spills
//! no register, takes the launch's arguments, and fits on a multiprocessor.
//!
//! That is some thousand specialisations an architecture. So each is compiled for one architecture, in turn,
//! and each file for every one, which takes three and a half minutes on two cores; with
//! `GRADPATH_ALL_KERNELS=1` all are compiled for all, seven times as many. What was compiled once is in the
//! cache.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gradpath::compile::{Options, Processor, compile};
use gradpath::device::cuda::{Addresses, launches};
use gradpath::graph::{Graph, Mode};
use gradpath::ops::cases;
use gradpath::runtime::cuda::{Cache, Compiled, Compiler, Kernel, Launch, Target};
use gradpath::selftest::{Selection, kernels_of};
use gradpath::tensor::{DType, Shape};
use gradpath::train::TrainStep;
use gradpath::zoo;

use super::{ARCHITECTURES, nvrtc};

/// Registers of a multiprocessor, on every architecture from sm_75.
const REGISTERS: u32 = 65_536;
/// Registers are given to a warp in portions of this many.
const PORTION: u32 = 256;

/// A device of architecture `arch`, as large as they are sold: multiprocessors, and bytes of shared memory
/// that a block can have (CUDA C++ Programming Guide, Technical Specifications per Compute Capability).
fn target(arch: u32) -> Target {
    let (multiprocessors, kibibytes) = match arch {
        75 => (68, 64),
        80 => (108, 163),
        86 => (84, 99),
        89 => (128, 99),
        90 => (132, 227),
        100 => (148, 227),
        _ => (170, 99),
    };
    Target { arch, multiprocessors, shared_bytes: kibibytes * 1024, map: DType::F32 }
}

/// What is wrong with `launch` of `compiled`.
fn faults(launch: &Launch, compiled: &Compiled, target: &Target) -> Vec<String> {
    let mut faults = Vec::new();
    if let Err(error) = compiled.check_arguments(launch) {
        faults.push(error.to_string());
    }
    let Some(resources) = compiled.resources else { return vec!["no resources in the log".to_owned()] };
    if compiled.parameters.is_none() {
        faults.push("no table of parameters".to_owned());
    }
    if resources.spill_bytes > 0 {
        faults.push(format!("spills {} bytes with {} registers", resources.spill_bytes, resources.registers));
    } else if resources.stack_bytes > 0 {
        faults.push(format!("keeps {} bytes on the stack", resources.stack_bytes));
    }
    let threads: u32 = launch.block.iter().product();
    let portions = (resources.registers * 32).next_multiple_of(PORTION) * threads.div_ceil(32);
    if portions > REGISTERS {
        faults.push(format!("{threads} threads of {} registers do not fit", resources.registers));
    }
    let shared = resources.static_shared_bytes + launch.shared_bytes;
    if shared > target.shared_bytes {
        faults.push(format!("{shared} bytes of shared memory are more than {}", target.shared_bytes));
    }
    if let Some(warning) = compiled.log.lines().find(|line| line.to_lowercase().contains("warning")) {
        faults.push(warning.to_owned());
    }
    faults
}

/// The kernels among `launches` that are compiled for `arch`: of each file and entry, one in as many as there
/// are architectures, another one for each; all of those that no other architecture has.
fn chosen(launches: &[Launch], arch: u32) -> BTreeSet<Kernel> {
    let all: BTreeSet<Kernel> = launches.iter().map(|launch| launch.kernel.clone()).collect();
    if std::env::var_os("GRADPATH_ALL_KERNELS").is_some() {
        return all;
    }
    let mut groups: BTreeMap<(&str, &str), Vec<Kernel>> = BTreeMap::new();
    for kernel in all {
        groups.entry((kernel.file, kernel.entry)).or_default().push(kernel);
    }
    let turn = ARCHITECTURES.iter().position(|&other| other == arch).unwrap();
    let every = ARCHITECTURES.len();
    let (specific, groups): (Vec<_>, Vec<_>) = groups.into_values().partition(|group| group[0].is_specific);
    let portable = groups.into_iter().flat_map(|group| {
        let first = turn % group.len();
        group.into_iter().skip(first).step_by(every)
    });
    portable.chain(specific.into_iter().flatten()).collect()
}

/// What the small networks launch, inference and a training step.
fn networks(target: &Target) -> Vec<Launch> {
    let mut all = Vec::new();
    for network in ["prn-nano", "csp-nano", "elan-nano"] {
        let network = zoo::find(network).unwrap();
        let input = |n: usize| Shape::new(n, network.size, network.size, 3);
        let mut inference = Graph::new(Mode::Inference);
        let images = inference.input("images", input(1)).unwrap();
        for (index, map) in network.trace(&mut inference, images, 3).unwrap().maps.into_iter().enumerate() {
            inference.output(&format!("head{index}"), map).unwrap();
        }
        let training = TrainStep::typical_graph(&network, input(16), 3).unwrap();
        for graph in [inference, training] {
            let program = compile(&graph, Options::new(Processor::Cuda(*target))).unwrap();
            let prepared = program.prepare.iter().map(|program| &**program);
            for program in prepared.chain([&program]) {
                let launches = launches(program, target, &Addresses::pretended(program)).unwrap();
                all.extend(launches.all().cloned());
            }
        }
    }
    all
}

fn check(arch: u32) {
    if nvrtc().is_none() {
        return;
    }
    let target = target(arch);
    let maps = [DType::F32, DType::F16, DType::Bf16];
    let selection = Selection { maps: maps.to_vec(), filter: None };
    let mut launches = kernels_of(&cases::all(), &selection, &target).unwrap();
    for map in maps {
        launches.extend(networks(&Target { map, ..target }));
    }
    let compiler = Compiler::with_cache(arch, Cache::of_user()).unwrap();
    let chosen = chosen(&launches, arch);
    let launches: Vec<&Launch> = launches.iter().filter(|launch| chosen.contains(&launch.kernel)).collect();
    println!("sm_{arch}: {} kernels, {} launches", chosen.len(), launches.len());
    let kernels: Vec<Kernel> = launches.iter().map(|launch| launch.kernel.clone()).collect();
    let compiled: Vec<Arc<Compiled>> =
        compiler.compile_all(&kernels, &mut |_, _| {}).unwrap_or_else(|e| panic!("sm_{arch}: {e}"));
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (launch, compiled) in launches.iter().zip(&compiled) {
        let faults = faults(launch, compiled, &target);
        if !faults.is_empty() {
            wrong.entry(launch.kernel.to_string()).or_insert(faults);
        }
    }
    let shown: Vec<String> =
        wrong.iter().take(10).map(|(kernel, faults)| format!("{kernel}: {}", faults.join("; "))).collect();
    assert!(
        wrong.is_empty(),
        "sm_{arch}: {} kernels are wrong, among them\n{}",
        wrong.len(),
        shown.join("\n")
    );
}

/// One test an architecture.
macro_rules! architectures {
    ($($test:ident: $arch:literal;)*) => {
        $(#[test]
        fn $test() {
            check($arch);
        })*

        #[test]
        fn every_architecture_is_tested() {
            assert_eq!([$($arch),*], ARCHITECTURES);
        }
    };
}

architectures! {
    turing: 75;
    ampere: 80;
    ampere_of_desktops: 86;
    ada: 89;
    hopper: 90;
    blackwell: 100;
    blackwell_of_desktops: 120;
}
