//! Products of a warpgroup from boxes that are copied behind its back (sm_90a): right in every order beside a plain
//! loop, and every planted bug is caught.

use crate::emulator::{Device, Emulator, Options, Order, Session};
use crate::program::{Argument, LAUNCH_FAILED, Program};
use half::{bf16, f16};

const ROWS: usize = 100;
const COLUMNS: usize = 72;
const DEPTH: usize = 200;

/// Small whole numbers, so that every sum is exact in every order.
fn number(index: usize) -> f32 {
    ((index * 37 + 11) % 13) as f32 - 6.0
}

fn expected() -> Vec<f32> {
    let mut c = vec![0.0; ROWS * COLUMNS];
    for (index, sum) in c.iter_mut().enumerate() {
        let (row, column) = (index / COLUMNS, index % COLUMNS);
        *sum = (0..DEPTH).map(|k| number(row * DEPTH + k) * number(7 + column * DEPTH + k)).sum();
    }
    c
}

/// Opens an emulated sm_90 and computes the product, `bug` defined: the result, or the code of the failure.
fn run(program: &mut Program, element: &str, bug: &[&str]) -> Result<Vec<f32>, i32> {
    let definitions: Vec<&str> = [element].iter().chain(bug).copied().collect();
    let function = program.specific_kernel("products", "products", &definitions);
    let is_f16 = element.ends_with("=f16");
    let bits =
        |value: f32| if is_f16 { f16::from_f32(value).to_bits() } else { bf16::from_f32(value).to_bits() };
    let a: Vec<u16> = (0..ROWS * DEPTH).map(|i| bits(number(i))).collect();
    let b: Vec<u16> = (0..COLUMNS * DEPTH).map(|i| bits(number(7 + i))).collect();
    let (a, b, c) = (program.upload(&a), program.upload(&b), program.empty(ROWS * COLUMNS * 4));
    let dtype = if is_f16 { 6 } else { 9 };
    let map = |of: Argument, rows: usize, count: u32| {
        let sizes = [DEPTH as u64, rows as u64, 1];
        let strides = [2 * DEPTH as u64, (2 * DEPTH * rows) as u64];
        program.tensor_map(of, dtype, &sizes, &strides, &[64, count, 1], &[1, 1, 1]).unwrap()
    };
    let int = |n: usize| Argument::Int(n as i32);
    let arguments = [map(a, ROWS, 56), map(b, COLUMNS, 64), c, int(ROWS), int(COLUMNS), int(DEPTH)];
    assert_eq!(program.launch(function, [2, 2, 1], [160, 1, 1], 1024 + 2 * 128 * 128, &arguments), 0);
    let result = program.download::<f32>(c, ROWS * COLUMNS);
    for buffer in [a, b, c] {
        program.free(buffer);
    }
    result
}

/// An emulated sm_90 in `order`.
fn prepare(session: &Session<'_>, order: Order, seed: u64, trace: bool) {
    session.clear();
    session.set_device(&Device { sm: 90, ..Device::default() });
    session.set_options(Options { order, seed, trace, quiet: true });
}

#[test]
fn a_ring_of_stages_is_right_in_every_order() {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    let mut program = Program::new(emulator, &session);
    for element in ["ELEMENT=bf16", "ELEMENT=f16"] {
        for order in Order::ALL {
            for (seed, trace) in [(1, false), (2, true), (3, true)] {
                prepare(&session, order, seed, trace);
                let result = run(&mut program, element, &[]);
                assert!(result == Ok(expected()), "{element} in {order:?}: {}", session.last_error());
            }
        }
    }
}

#[test]
fn bytes_of_a_box_are_read_once() {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    let mut program = Program::new(emulator, &session);
    prepare(&session, Order::Ascending, 1, true);
    run(&mut program, "ELEMENT=bf16", &[]).unwrap();
    let counts = session.launches()[0].counts;
    // What lies outside of the tensors is not read.
    let operands = 2 * DEPTH * (ROWS + COLUMNS);
    assert_eq!(counts.unique_read_bytes, operands as u64);
    assert_eq!(counts.unique_write_bytes, (4 * ROWS * COLUMNS) as u64);
    // Two blocks of columns read a, two blocks of rows b.
    assert_eq!(counts.read_bytes, 2 * operands as u64);
}

/// Traced or not, the bug is reported in every order, with a sentence with these words.
fn check_caught(bug: &str, words: &[&str], untraced: bool) {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    for order in Order::ALL {
        for trace in if untraced { &[true, false][..] } else { &[true] } {
            prepare(&session, order, 4, *trace);
            let mut program = Program::new(emulator, &session);
            let result = run(&mut program, "ELEMENT=bf16", &[bug]);
            let error = session.last_error();
            assert_eq!(result.err(), Some(LAUNCH_FAILED), "{bug} in {order:?}: {error}");
            let found = words.iter().any(|word| error.contains(word));
            assert!(found, "{bug} in {order:?}: {error:?} has none of {words:?}");
        }
    }
}

#[test]
fn a_stage_that_is_read_too_soon() {
    check_caught("MISSING_WAIT", &["a wait at its barrier is missing", "which nobody wrote"], false);
    check_caught("WRONG_PARITY", &["a wait at its barrier is missing", "which nobody wrote"], false);
}

#[test]
fn a_stage_that_is_filled_too_soon() {
    check_caught("EARLY_RELEASE", &["the stage was released too early"], true);
    let words = ["another one is under way", "more arrivals", "released too early"];
    check_caught("MISSING_RING_WAIT", &words, true);
}

#[test]
fn sums_that_are_read_too_soon() {
    check_caught("MISSING_PRODUCT_WAIT", &["before its warpgroup's products were waited for"], true);
}

#[test]
fn fences_that_are_missing() {
    check_caught("MISSING_PRODUCT_FENCE", &["without a wgmma_fence"], true);
    check_caught("MISSING_PROXY_FENCE", &["without a shared_proxy_fence"], false);
    check_caught("MISSING_INIT_FENCE", &["barrier_init_fence has not shown"], true);
}

#[test]
fn bytes_that_are_miscounted() {
    check_caught("EXPECTED=15232", &["128 bytes more than it expects"], true);
    check_caught("EXPECTED=15488", &["deadlock", "lacks 0 arrivals and 128 bytes"], true);
}

#[test]
fn code_for_one_architecture_runs_on_no_other() {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    session.set_device(&Device { sm: 100, ..Device::default() });
    session.set_options(Options { quiet: true, ..Options::default() });
    let program = Program::new(emulator, &session);
    let image = program.specific_image("products", &["ELEMENT=bf16"]);
    assert_eq!(program.load(&image), Err(209));
    assert!(session.last_error().contains("an image for sm_90a on an sm_100 device"));
}

#[test]
fn tensor_maps_that_the_driver_refuses() {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    session.set_options(Options { quiet: true, ..Options::default() });
    session.set_device(&Device { sm: 90, ..Device::default() });
    let program = Program::new(emulator, &session);
    let Argument::Buffer(address) = program.empty(1 << 12) else { unreachable!() };
    let map = |shift: u64, sizes: [u64; 2], stride: u64, boxes: [u32; 2], step: u32| {
        program.tensor_map(Argument::Buffer(address + shift), 9, &sizes, &[stride], &boxes, &[1, step]).err()
    };
    assert_eq!(map(0, [64, 8], 128, [64, 8], 1), None);
    assert_eq!(map(8, [64, 8], 128, [64, 8], 1), Some(1), "address");
    assert_eq!(map(0, [64, 0], 128, [64, 8], 1), Some(1), "size");
    assert_eq!(map(0, [64, 8], 136, [64, 8], 1), Some(1), "stride");
    assert_eq!(map(0, [64, 8], 128, [64, 257], 1), Some(1), "box");
    assert_eq!(map(0, [64, 8], 128, [128, 8], 1), Some(1), "row");
    assert_eq!(map(0, [64, 8], 128, [64, 8], 9), Some(1), "step");
    session.set_device(&Device { sm: 86, ..Device::default() });
    assert_eq!(map(0, [64, 8], 128, [64, 8], 1), Some(801), "before sm_90");
}
