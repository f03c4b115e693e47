//! Kernels with a planted bug, each beside its correct twin: the bug is caught in every order, and the twin runs
//! without complaint and gives the same bits in every order.

use crate::emulator::{Emulator, Options, Order};
use crate::program::{Argument, ILLEGAL_ADDRESS, LAUNCH_FAILED, MISALIGNED_ADDRESS, Program};

/// A kernel and how it is launched.
struct Case {
    file: &'static str,
    kernel: &'static str,
    grid: u32,
    block: u32,
    shared: u32,
    /// Elements of each input, of 4 bytes: small numbers, all different nearly everywhere.
    inputs: &'static [usize],
    /// Elements of each output after the inputs, all zeros before; the first is compared.
    outputs: &'static [usize],
    /// After the buffers.
    integers: &'static [i32],
    /// Elements are integers, not floats.
    whole: bool,
    expected: fn(&[f32]) -> Vec<f32>,
}

const DEFAULT: Case = Case {
    file: "",
    kernel: "",
    grid: 1,
    block: 1,
    shared: 0,
    inputs: &[],
    outputs: &[],
    integers: &[],
    whole: false,
    expected: |_| Vec::new(),
};

const REVERSED: Case = Case {
    file: "reversed",
    kernel: "reversed",
    grid: 3,
    block: 128,
    inputs: &[384],
    outputs: &[384],
    expected: |x| x.chunks(128).flat_map(|chunk| chunk.iter().rev().copied()).collect(),
    ..DEFAULT
};
const ROUNDS: Case = Case {
    file: "rounds",
    kernel: "rounds",
    grid: 2,
    block: 128,
    inputs: &[256],
    outputs: &[256],
    integers: &[5],
    expected: |x| x.chunks(128).flat_map(|chunk| (0..128).map(|i| 10.0 * chunk[(i + 64) % 128])).collect(),
    ..DEFAULT
};
const PIPELINE: Case = Case {
    file: "pipeline",
    kernel: "pipeline",
    block: 64,
    inputs: &[64 * 7],
    outputs: &[64],
    integers: &[7],
    expected: |x| (0..64).map(|i| (0..7).map(|k| x[64 * k + i]).sum()).collect(),
    ..DEFAULT
};
const SHIFT: Case = Case {
    file: "shift",
    kernel: "shift",
    grid: 4,
    block: 64,
    inputs: &[250],
    outputs: &[250],
    integers: &[250],
    expected: <[f32]>::to_vec,
    ..DEFAULT
};
const HALO: Case = Case {
    file: "halo",
    kernel: "halo",
    grid: 2,
    block: 64,
    shared: 66 * 4,
    inputs: &[128],
    outputs: &[128],
    expected: |x| {
        let at = |chunk: &[f32], i: usize| if (1..65).contains(&i) { chunk[i - 1] } else { 0.0 };
        x.chunks(64).flat_map(|c| (0..64).map(|i| at(c, i) + at(c, i + 2)).collect::<Vec<_>>()).collect()
    },
    ..DEFAULT
};
const ACCUMULATE: Case = Case {
    file: "accumulate",
    kernel: "accumulate",
    block: 64,
    inputs: &[68],
    outputs: &[64],
    expected: |x| x[..64].to_vec(),
    ..DEFAULT
};
const COLUMN_SUMS: Case = Case {
    file: "column_sums",
    kernel: "column_sums",
    grid: 9,
    block: 32,
    inputs: &[9 * 32],
    outputs: &[32],
    whole: true,
    expected: |x| (0..32).map(|j| (0..9).map(|i| x[32 * i + j]).sum()).collect(),
    ..DEFAULT
};
const LAST_BLOCK: Case = Case {
    file: "last_block",
    kernel: "last_block",
    grid: 6,
    block: 32,
    inputs: &[192],
    outputs: &[6, 1, 1],
    whole: true,
    expected: |x| x.chunks(32).map(|chunk| chunk.iter().sum()).collect(),
    ..DEFAULT
};
const DIVERGENT: Case = Case {
    file: "divergent",
    kernel: "divergent",
    block: 64,
    inputs: &[64],
    outputs: &[64],
    expected: |x| (0..64).map(|i| x[(i + 32) % 64]).collect(),
    ..DEFAULT
};
const WARP: Case = Case {
    file: "warp",
    kernel: "mirror",
    block: 64,
    inputs: &[64],
    outputs: &[64],
    expected: |x| x.chunks(32).flat_map(|chunk| chunk.iter().rev().copied()).collect(),
    ..DEFAULT
};

fn input(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + 11) % 251) as f32).collect()
}

impl Case {
    /// What the kernel computes, or the code that it fails with.
    fn run(&self, program: &mut Program, bug: &[&str]) -> Result<Vec<f32>, i32> {
        let function = program.kernel(self.file, self.kernel, bug);
        let bits = |value: &f32| if self.whole { *value as u32 } else { value.to_bits() };
        let inputs =
            self.inputs.iter().map(|n| program.upload(&input(*n).iter().map(bits).collect::<Vec<_>>()));
        let outputs = self.outputs.iter().map(|n| program.upload(&vec![0u32; *n]));
        let buffers: Vec<_> = inputs.chain(outputs).collect();
        let arguments: Vec<_> =
            buffers.iter().copied().chain(self.integers.iter().map(|n| Argument::Int(*n))).collect();
        assert_eq!(
            program.launch(function, [self.grid, 1, 1], [self.block, 1, 1], self.shared, &arguments),
            0
        );
        let result = program.download::<u32>(buffers[self.inputs.len()], self.outputs[0]);
        for buffer in buffers {
            program.free(buffer);
        }
        let value = |bits: u32| if self.whole { bits as f32 } else { f32::from_bits(bits) };
        result.map(|bits| bits.into_iter().map(value).collect())
    }

    fn right(&self) -> Vec<f32> {
        (self.expected)(&input(self.inputs[0]))
    }
}

/// The twin without a bug: right to the bit in every order, traced or not.
fn check_twin(case: &Case) {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    let mut program = Program::new(emulator, &session);
    for order in Order::ALL {
        for trace in [false, true] {
            session.set_options(Options { order, seed: 5, trace, quiet: true });
            let result = case.run(&mut program, &[]);
            assert_eq!(
                result.as_ref(),
                Ok(&case.right()),
                "{} in {order:?}: {}",
                case.kernel,
                session.last_error()
            );
            assert_eq!(session.last_error(), "");
        }
    }
}

/// Traced, the bug is reported in every order, with the code and a sentence with these words.
fn check_caught(case: &Case, bug: &[&str], code: i32, words: &[&str]) {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    for order in Order::ALL {
        session.clear();
        session.set_options(Options { order, seed: 5, trace: true, quiet: true });
        let mut program = Program::new(emulator, &session);
        let result = case.run(&mut program, bug);
        let error = session.last_error();
        assert_eq!(result.err(), Some(code), "{} {bug:?} in {order:?}: {error}", case.kernel);
        for word in words {
            assert!(error.contains(word), "{} {bug:?} in {order:?}: {error:?} lacks {word:?}", case.kernel);
        }
        assert!(session.launches().iter().all(|launch| launch.failed));
    }
}

/// Without the trace, the bug still shows as wrong numbers in some order.
fn check_shows(case: &Case, bug: &[&str]) {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    let mut program = Program::new(emulator, &session);
    let wrong = Order::ALL.iter().filter(|order| {
        session.set_options(Options { order: **order, seed: 5, trace: false, quiet: true });
        case.run(&mut program, bug).unwrap() != case.right()
    });
    assert!(wrong.count() > 0, "{} {bug:?} is right in every order", case.kernel);
}

#[test]
fn a_missing_barrier_before_a_read() {
    check_twin(&REVERSED);
    check_caught(&REVERSED, &["MISSING_BARRIER"], LAUNCH_FAILED, &["reversed.cu:"]);
    check_shows(&REVERSED, &["MISSING_BARRIER"]);
}

#[test]
fn a_missing_barrier_before_a_write() {
    check_twin(&ROUNDS);
    check_caught(&ROUNDS, &["MISSING_BARRIER"], LAUNCH_FAILED, &["race", "tile[]", "rounds.cu:"]);
    check_shows(&ROUNDS, &["MISSING_BARRIER"]);
}

#[test]
fn asynchronous_copies() {
    check_twin(&PIPELINE);
    check_caught(&PIPELINE, &["MISSING_WAIT"], LAUNCH_FAILED, &["asynchronous copy", "buffer[]"]);
    check_caught(&PIPELINE, &["SHORT_WAIT"], LAUNCH_FAILED, &["asynchronous copy", "buffer[]"]);
    check_caught(&PIPELINE, &["MISSING_BARRIER"], LAUNCH_FAILED, &["buffer[]"]);
    check_shows(&PIPELINE, &["MISSING_WAIT"]);
    check_shows(&PIPELINE, &["SHORT_WAIT"]);
}

#[test]
fn one_element_too_many() {
    check_twin(&SHIFT);
    let words = ["out of bounds", "1000 bytes from the start of an allocation of 1000 bytes", "shift.cu:"];
    check_caught(&SHIFT, &["READ_BOUND"], ILLEGAL_ADDRESS, &[&["read"][..], &words].concat());
    check_caught(&SHIFT, &["WRITE_BOUND"], ILLEGAL_ADDRESS, &[&["write"][..], &words].concat());
}

#[test]
fn a_write_past_the_end_without_the_trace() {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    session.set_options(Options { quiet: true, ..Options::default() });
    let mut program = Program::new(emulator, &session);
    assert_eq!(SHIFT.run(&mut program, &["WRITE_BOUND"]), Err(ILLEGAL_ADDRESS));
    assert!(session.last_error().contains("0 bytes past the end of an allocation of 1000 bytes"));
}

#[test]
fn shared_memory() {
    check_twin(&HALO);
    check_caught(&HALO, &["SHARED_BOUND"], ILLEGAL_ADDRESS, &["shared memory", "+ 264 bytes"]);
    check_caught(&HALO, &["UNINITIALISED"], LAUNCH_FAILED, &["uninitialised shared memory"]);
    check_shows(&HALO, &["UNINITIALISED"]);
}

#[test]
fn a_misaligned_vector() {
    check_twin(&ACCUMULATE);
    check_caught(&ACCUMULATE, &["MISALIGNED"], MISALIGNED_ADDRESS, &["read of 16 bytes", "accumulate.cu:"]);
}

#[test]
fn a_race_between_blocks() {
    check_twin(&COLUMN_SUMS);
    check_caught(&COLUMN_SUMS, &["PLAIN"], LAUNCH_FAILED, &["race", "another block", "column_sums.cu:"]);
}

#[test]
fn the_last_block_needs_a_fence_and_a_ticket() {
    check_twin(&LAST_BLOCK);
    check_caught(&LAST_BLOCK, &["MISSING_FENCE"], LAUNCH_FAILED, &["race", "another block"]);
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    session.set_options(Options { order: Order::Descending, seed: 1, trace: true, quiet: true });
    // Block 0 runs last here, so its numbers are right; that another block might be later is seen all the same.
    let mut program = Program::new(emulator, &session);
    assert_eq!(LAST_BLOCK.run(&mut program, &["MISSING_TICKET"]), Err(LAUNCH_FAILED));
}

#[test]
fn a_divergent_barrier() {
    check_twin(&DIVERGENT);
    check_caught(&DIVERGENT, &["DIVERGENT"], LAUNCH_FAILED, &["__syncthreads()"]);
    check_caught(&DIVERGENT, &["ENDED"], LAUNCH_FAILED, &["__syncthreads()"]);
}

#[test]
fn lanes_of_a_warp() {
    check_twin(&WARP);
    check_caught(&WARP, &["MISSING_SYNCWARP"], LAUNCH_FAILED, &["tile[]"]);
    check_caught(&WARP, &["WRONG_MASK"], LAUNCH_FAILED, &["mask 0x0000ffff"]);
}

#[test]
fn memory_that_nobody_wrote() {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    session.set_options(Options { trace: true, quiet: true, ..Options::default() });
    let mut program = Program::new(emulator, &session);
    let function = program.kernel("accumulate", "accumulate", &[]);
    let (x, y) = (program.upload(&input(64)), program.empty(256));
    assert_eq!(program.launch(function, [1, 1, 1], [64, 1, 1], 0, &[x, y]), 0);
    assert_eq!(program.synchronize(), LAUNCH_FAILED);
    let error = session.last_error();
    assert!(error.contains("read of uninitialised memory") && error.contains("accumulate.cu:"), "{error}");
    // What is left in it is no number.
    session.clear();
    assert!(program.download::<f32>(y, 64).unwrap().iter().all(|value| value.is_nan()));
}

#[test]
fn memory_that_is_used_again() {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    let mut program = Program::new(emulator, &session);
    let function = program.kernel("accumulate", "accumulate", &[]);
    let (x, y) = (program.upload(&input(64)), program.upload(&input(64)));
    let launch = || {
        assert_eq!(program.launch(function, [1, 1, 1], [64, 1, 1], 0, &[x, y]), 0);
        program.synchronize()
    };
    // Without the trace nobody knows what a launch has written.
    session.set_options(Options { quiet: true, ..Options::default() });
    assert_eq!(launch(), 0);
    session.set_options(Options { trace: true, quiet: true, ..Options::default() });
    assert_eq!(launch(), 0);
    let Argument::Buffer(address) = x else { unreachable!() };
    session.poison(address + 8, 4);
    let read = program.download::<f32>(x, 64).unwrap();
    assert!(read[2].is_nan() && read[1] == input(64)[1] && read[3] == input(64)[3]);
    assert_eq!(launch(), LAUNCH_FAILED);
    assert!(session.last_error().contains("+ 8 bytes"), "{}", session.last_error());
}

#[test]
fn float_atomics_are_counted() {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    let mut program = Program::new(emulator, &session);
    COLUMN_SUMS.run(&mut program, &[]).unwrap();
    Case { whole: false, ..COLUMN_SUMS }.run(&mut program, &["FLOATS"]).unwrap();
    let counts: Vec<_> =
        session.launches().iter().map(|l| (l.counts.atomics, l.counts.float_atomics)).collect();
    assert_eq!(counts, [(288, 0), (288, 288)]);
}
