//! The kernels as the ops' cases and the small networks launch them: each compiles without a warning, spills
//! no register, takes the launch's arguments, and fits on a multiprocessor.
//!
//! That is some thousand specialisations an architecture, and 25 minutes on two cores for all of them on all. So
//! what all of them take is recorded (`budgets.csv`), and of kernels that are still those of the record a sample is
//! compiled: each for one architecture, in turn, and each file for every one. Of a file that has changed, or that the
//! record does not know, all are. `GRADPATH_ALL_KERNELS=1` compiles all and renews the record;
//! `GRADPATH_ALL_KERNELS=add.cu,copy.cu` does so for these files and leaves out the others. What was compiled once is
//! in the cache.

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

use super::budgets::{Budget, Extent, Record, hash, renew};
use super::{ARCHITECTURES, nvrtc, options};

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

/// What is compiled beside what the record asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Demand {
    /// What the record asks for.
    Record,
    /// All, and the record is renewed.
    All,
    /// All of these files, whose rows are renewed, and nothing of others.
    Files(Vec<String>),
}

impl Demand {
    fn of_user() -> Self {
        match std::env::var("GRADPATH_ALL_KERNELS") {
            Err(_) => Demand::Record,
            Ok(value) if value == "1" => Demand::All,
            Ok(files) => Demand::Files(files.split(',').map(str::to_owned).collect()),
        }
    }
}

/// One in as many of `kernels` as there are architectures, of each entry, another one for each.
fn sample(kernels: &BTreeSet<Kernel>, arch: u32) -> BTreeSet<Kernel> {
    let mut groups: BTreeMap<&str, Vec<&Kernel>> = BTreeMap::new();
    for kernel in kernels {
        groups.entry(kernel.entry).or_default().push(kernel);
    }
    let turn = ARCHITECTURES.iter().position(|&other| other == arch).unwrap();
    let every = ARCHITECTURES.len();
    // Those that no other architecture has are compiled all.
    let (specific, groups): (Vec<_>, Vec<_>) = groups.into_values().partition(|group| group[0].is_specific);
    let portable = groups.into_iter().flat_map(|group| {
        let first = turn % group.len();
        group.into_iter().skip(first).step_by(every)
    });
    portable.chain(specific.into_iter().flatten()).cloned().collect()
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
    let Some(nvrtc) = nvrtc() else { return };
    let target = target(arch);
    let maps = [DType::F32, DType::F16, DType::Bf16];
    let selection = Selection { maps: maps.to_vec(), filter: None };
    let mut launches = kernels_of(&cases::all(), &selection, &target).unwrap();
    for map in maps {
        launches.extend(networks(&Target { map, ..target }));
    }
    let version = format!("{}.{}", nvrtc.version().0, nvrtc.version().1);
    let mut files: BTreeMap<&str, BTreeSet<Kernel>> = BTreeMap::new();
    for Launch { kernel, .. } in &launches {
        files.entry(kernel.file).or_default().insert(kernel.clone());
    }
    let demand = Demand::of_user();
    if let Demand::Files(demanded) = &demand {
        files.retain(|file, _| demanded.iter().any(|demanded| demanded == file));
    }
    let (record, mut chosen) = (Record::committed(), BTreeSet::new());
    let mut budgets: BTreeMap<String, (Extent, Budget)> = BTreeMap::new();
    for (file, kernels) in &files {
        let hash = hash(kernels, |kernel| options(kernel, arch));
        let extent = match demand {
            Demand::Record => record.extent(file, arch, &version, &hash),
            Demand::All | Demand::Files(_) => Extent::All,
        };
        chosen.extend(if extent == Extent::All { kernels.clone() } else { sample(kernels, arch) });
        let budget = Budget { nvrtc: version.clone(), kernels: kernels.len(), hash, ..Budget::default() };
        budgets.insert((*file).to_owned(), (extent, budget));
    }
    let compiler = Compiler::with_cache(arch, Cache::of_user()).unwrap();
    let launches: Vec<&Launch> = launches.iter().filter(|launch| chosen.contains(&launch.kernel)).collect();
    let in_full: Vec<&String> =
        budgets.iter().filter(|(_, (extent, _))| *extent == Extent::All).map(|(file, _)| file).collect();
    println!(
        "sm_{arch}: {} kernels, {} launches; all kernels of {} of {} files",
        chosen.len(),
        launches.len(),
        in_full.len(),
        files.len()
    );
    let kernels: Vec<Kernel> = launches.iter().map(|launch| launch.kernel.clone()).collect();
    let compiled: Vec<Arc<Compiled>> =
        compiler.compile_all(&kernels, &mut |_, _| {}).unwrap_or_else(|e| panic!("sm_{arch}: {e}"));
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (launch, compiled) in launches.iter().zip(&compiled) {
        let faults = faults(launch, compiled, &target);
        if !faults.is_empty() {
            wrong.entry(launch.kernel.to_string()).or_insert(faults);
        }
        if let (Some(taken), Some((_, budget))) = (compiled.resources, budgets.get_mut(launch.kernel.file)) {
            let shared_bytes = taken.static_shared_bytes + launch.shared_bytes;
            budget.include(taken.registers, shared_bytes, taken.spill_bytes);
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
    let sampled = budgets.iter().filter(|(_, (extent, _))| *extent == Extent::Sample);
    let exceeded: Vec<String> =
        sampled.filter_map(|(file, (_, budget))| record.exceeded(file, arch, budget)).collect();
    assert!(exceeded.is_empty(), "{}", exceeded.join("\n"));
    if demand != Demand::Record {
        let budgets = budgets.into_iter().map(|(file, (_, budget))| (file, budget)).collect();
        renew(arch, budgets, demand == Demand::All);
    }
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

#[test]
fn a_sample_has_every_entry_and_all_samples_are_all() {
    let kernel = |entry, value: usize| Kernel {
        file: "a.cu",
        entry,
        defines: BTreeMap::from([("N", value.to_string())]),
        is_specific: false,
    };
    let kernels: BTreeSet<Kernel> =
        (0..20).map(|value| kernel("many", value)).chain([kernel("one", 0), kernel("two", 1)]).collect();
    let samples: Vec<BTreeSet<Kernel>> = ARCHITECTURES.iter().map(|&arch| sample(&kernels, arch)).collect();
    for sample in &samples {
        let entries: BTreeSet<&str> = sample.iter().map(|kernel| kernel.entry).collect();
        assert_eq!(entries, BTreeSet::from(["many", "one", "two"]));
        assert!(sample.len() <= 5);
    }
    assert_eq!(samples.into_iter().flatten().collect::<BTreeSet<_>>(), kernels);
}
