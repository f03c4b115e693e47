//! The stand-in for the driver: work runs late, graphs repeat it, errors stay, limits hold, images are checked.

use crate::emulator::{Device, Emulator, Memory, Options};
use crate::program::{Argument, Handle, ILLEGAL_ADDRESS, Program, compile, compile_with};
use std::ffi::c_void;
use std::process::Command;
use std::ptr;

const INVALID_VALUE: i32 = 1;
const OUT_OF_MEMORY: i32 = 2;
const NO_DEVICE: i32 = 100;
const INVALID_IMAGE: i32 = 200;
const NO_BINARY_FOR_GPU: i32 = 209;
const NOT_READY: i32 = 600;

/// Pinned host memory of `count` floats.
fn pinned(program: &Program, count: usize) -> &'static mut [f32] {
    let mut pointer = ptr::null_mut();
    assert_eq!(
        driver!(program, "cuMemHostAlloc", &mut pointer => *mut Handle, count * 4 => usize, 0 => u32),
        0
    );
    // SAFETY: the driver's memory of this size, which the tests free last or never.
    unsafe { std::slice::from_raw_parts_mut(pointer.cast(), count) }
}

fn copy_in(program: &Program, to: Argument, from: &[f32]) {
    let Argument::Buffer(to) = to else { unreachable!() };
    let code = driver!(program, "cuMemcpyHtoDAsync_v2", to => u64, from.as_ptr().cast() => *const c_void,
        size_of_val(from) => usize, program.stream => Handle);
    assert_eq!(code, 0);
}

fn copy_out(program: &Program, to: &mut [f32], from: Argument) {
    let Argument::Buffer(from) = from else { unreachable!() };
    let code = driver!(program, "cuMemcpyDtoHAsync_v2", to.as_mut_ptr().cast() => *mut c_void, from => u64,
        size_of_val(to) => usize, program.stream => Handle);
    assert_eq!(code, 0);
}

#[test]
fn a_missing_synchronisation_is_seen() {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    session.set_options(Options { quiet: true, ..Options::default() });
    let program = Program::new(emulator, &session);
    let buffer = program.upload(&[1.0f32; 4]);
    let host = pinned(&program, 4);
    host.fill(0.0);
    copy_out(&program, host, buffer);
    assert_eq!(host, [0.0; 4]);
    assert_eq!(session.pending(), 2);
    assert_eq!(program.synchronize(), 0);
    assert_eq!(host, [1.0; 4]);
    // Pinned memory is read when the copy runs, pageable memory at the call.
    host.fill(2.0);
    copy_in(&program, buffer, host);
    host.fill(3.0);
    assert_eq!(program.download(buffer, 4), Ok(vec![3.0f32; 4]));
    let mut pageable = vec![4.0f32; 4];
    copy_in(&program, buffer, &pageable);
    pageable.fill(5.0);
    assert_eq!(program.download(buffer, 4), Ok(vec![4.0f32; 4]));
}

#[test]
fn a_stream_waits_for_another_only_by_an_event() {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    session.set_options(Options { quiet: true, ..Options::default() });
    let mut program = Program::new(emulator, &session);
    let (first, second) = (program.stream, program.new_stream());
    let buffer = program.upload(&[1.0f32; 4]);
    assert_eq!(program.synchronize(), 0);
    let mut event = ptr::null_mut();
    assert_eq!(driver!(program, "cuEventCreate", &mut event => *mut Handle, 0 => u32), 0);
    // Given to the first stream before the second reads, and not waited for: the second sees the old.
    copy_in(&program, buffer, &[2.0; 4]);
    assert_eq!(driver!(program, "cuEventRecord", event => Handle, first => Handle), 0);
    program.stream = second;
    assert_eq!(program.download(buffer, 4), Ok(vec![1.0f32; 4]));
    assert_eq!(driver!(program, "cuStreamWaitEvent", second => Handle, event => Handle, 0 => u32), 0);
    assert_eq!(program.download(buffer, 4), Ok(vec![2.0f32; 4]));
    // Who polls gets there.
    program.stream = first;
    copy_in(&program, buffer, &[3.0; 4]);
    assert_eq!(driver!(program, "cuEventRecord", event => Handle, first => Handle), 0);
    let mut polls = 0;
    while driver!(program, "cuEventQuery", event => Handle) == NOT_READY {
        polls += 1;
    }
    assert!((1..10).contains(&polls));
    assert_eq!(program.download(buffer, 4), Ok(vec![3.0f32; 4]));
}

#[test]
fn a_graph_repeats_what_was_captured() {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    session.set_options(Options { quiet: true, ..Options::default() });
    let mut program = Program::new(emulator, &session);
    let function = program.kernel("accumulate", "accumulate", &[]);
    let (x, y) = (program.upload(&[1.0f32; 64]), program.upload(&[0.0f32; 64]));
    let (stream, forked) = (program.stream, program.new_stream());
    let mut events = [ptr::null_mut(); 2];
    for event in &mut events {
        assert_eq!(driver!(program, "cuEventCreate", event => *mut Handle, 2 => u32), 0);
    }
    // One launch on the stream itself, one on a stream that forks from it and joins it again.
    assert_eq!(driver!(program, "cuStreamBeginCapture_v2", stream => Handle, 1 => i32), 0);
    assert_eq!(program.launch(function, [1, 1, 1], [64, 1, 1], 0, &[x, y]), 0);
    assert_eq!(driver!(program, "cuEventRecord", events[0] => Handle, stream => Handle), 0);
    assert_eq!(driver!(program, "cuStreamWaitEvent", forked => Handle, events[0] => Handle, 0 => u32), 0);
    program.stream = forked;
    assert_eq!(program.launch(function, [1, 1, 1], [64, 1, 1], 0, &[x, y]), 0);
    assert_eq!(driver!(program, "cuEventRecord", events[1] => Handle, forked => Handle), 0);
    assert_eq!(driver!(program, "cuStreamWaitEvent", stream => Handle, events[1] => Handle, 0 => u32), 0);
    program.stream = stream;
    let (mut graph, mut executable) = (ptr::null_mut(), ptr::null_mut());
    assert_eq!(driver!(program, "cuStreamEndCapture", stream => Handle, &mut graph => *mut Handle), 0);
    let code = driver!(program, "cuGraphInstantiateWithFlags", &mut executable => *mut Handle, graph => Handle,
        0 => u64);
    assert_eq!(code, 0);
    assert_eq!(program.download(y, 64), Ok(vec![0.0f32; 64]));
    for _ in 0..3 {
        assert_eq!(driver!(program, "cuGraphLaunch", executable => Handle, stream => Handle), 0);
    }
    assert!(session.launches().is_empty());
    assert_eq!(program.download(y, 64), Ok(vec![6.0f32; 64]));
    assert_eq!(session.launches().len(), 6);
}

#[test]
fn a_capture_refuses_what_would_wait() {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    session.set_options(Options { quiet: true, ..Options::default() });
    let program = Program::new(emulator, &session);
    let (stream, mut graph) = (program.stream, ptr::null_mut());
    assert_eq!(driver!(program, "cuStreamBeginCapture_v2", stream => Handle, 1 => i32), 0);
    assert_eq!(program.synchronize(), 900);
    assert_eq!(driver!(program, "cuStreamEndCapture", stream => Handle, &mut graph => *mut Handle), 901);
    // An event from outside.
    let mut event = ptr::null_mut();
    assert_eq!(driver!(program, "cuEventCreate", &mut event => *mut Handle, 2 => u32), 0);
    assert_eq!(driver!(program, "cuEventRecord", event => Handle, stream => Handle), 0);
    assert_eq!(driver!(program, "cuStreamBeginCapture_v2", stream => Handle, 1 => i32), 0);
    assert_eq!(driver!(program, "cuStreamWaitEvent", stream => Handle, event => Handle, 0 => u32), 905);
    assert_eq!(driver!(program, "cuStreamEndCapture", stream => Handle, &mut graph => *mut Handle), 901);
    // A stream that is not joined.
    let forked = program.new_stream();
    assert_eq!(driver!(program, "cuStreamBeginCapture_v2", stream => Handle, 1 => i32), 0);
    assert_eq!(driver!(program, "cuEventRecord", event => Handle, stream => Handle), 0);
    assert_eq!(driver!(program, "cuStreamWaitEvent", forked => Handle, event => Handle, 0 => u32), 0);
    assert_eq!(driver!(program, "cuStreamEndCapture", stream => Handle, &mut graph => *mut Handle), 904);
    assert_eq!(program.synchronize(), 0);
}

#[test]
fn a_failed_launch_breaks_the_context() {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    session.set_options(Options { quiet: true, ..Options::default() });
    let mut program = Program::new(emulator, &session);
    let function = program.kernel("shift", "shift", &[]);
    let (x, y) = (program.upload(&[0.0f32; 16]), program.empty(64));
    // The launch itself succeeds; pages past the end fault.
    assert_eq!(program.launch(function, [64, 1, 1], [64, 1, 1], 0, &[x, y, Argument::Int(4096)]), 0);
    assert_eq!(program.synchronize(), ILLEGAL_ADDRESS);
    assert!(session.last_error().contains("illegal access to device memory"), "{}", session.last_error());
    assert_eq!(
        program.launch(function, [1, 1, 1], [16, 1, 1], 0, &[x, y, Argument::Int(16)]),
        ILLEGAL_ADDRESS
    );
    let mut address = 0;
    assert_eq!(driver!(program, "cuMemAlloc_v2", &mut address => *mut u64, 4 => usize), ILLEGAL_ADDRESS);
    // A new context works.
    drop(program);
    let mut program = Program::new(emulator, &session);
    let function = program.kernel("shift", "shift", &[]);
    let (x, y) = (program.upload(&[7.0f32; 16]), program.empty(64));
    assert_eq!(program.launch(function, [1, 1, 1], [16, 1, 1], 0, &[x, y, Argument::Int(16)]), 0);
    assert_eq!(program.download(y, 16), Ok(vec![7.0f32; 16]));
}

#[test]
fn limits_of_a_launch() {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    session.set_options(Options { quiet: true, ..Options::default() });
    let mut program = Program::new(emulator, &session);
    let function = program.kernel("halo", "halo", &[]);
    let (x, y) = (program.upload(&[0.0f32; 64]), program.empty(256));
    let launch = |grid, block, shared| program.launch(function, grid, block, shared, &[x, y]);
    assert_eq!(launch([1, 1, 1], [1025, 1, 1], 264), INVALID_VALUE);
    assert_eq!(launch([1, 1, 1], [32, 33, 1], 264), INVALID_VALUE);
    assert_eq!(launch([1, 65536, 1], [64, 1, 1], 264), INVALID_VALUE);
    assert_eq!(launch([0, 1, 1], [64, 1, 1], 264), INVALID_VALUE);
    // Beyond 48 KiB only by the attribute, beyond the device's 163 KiB not at all.
    let attribute =
        |bytes| driver!(program, "cuFuncSetAttribute", function => Handle, 8 => i32, bytes => i32);
    assert_eq!(launch([1, 1, 1], [64, 1, 1], 48 * 1024), 0);
    assert_eq!(launch([1, 1, 1], [64, 1, 1], 48 * 1024 + 1), INVALID_VALUE);
    assert_eq!(attribute(163 * 1024 + 1), INVALID_VALUE);
    assert_eq!(attribute(163 * 1024), 0);
    assert_eq!(launch([1, 1, 1], [64, 1, 1], 163 * 1024), 0);
    assert_eq!(program.synchronize(), 0, "{}", session.last_error());
}

#[test]
fn occupancy_follows_from_threads_and_shared_memory() {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    let mut program = Program::new(emulator, &session);
    let function = program.kernel("halo", "halo", &[]);
    let occupancy = |threads: i32, shared: usize| {
        let mut blocks = 0;
        let code = driver!(program, "cuOccupancyMaxActiveBlocksPerMultiprocessor", &mut blocks => *mut i32,
            function => Handle, threads => i32, shared => usize);
        assert_eq!(code, 0);
        blocks
    };
    // Of an sm_80: 2048 threads, 32 blocks, 164 KiB of which each block takes 1 more.
    assert_eq!([occupancy(64, 264), occupancy(1000, 264), occupancy(64, 40 << 10)], [32, 2, 4]);
    let (mut blocks, mut threads) = (0, 0);
    let code = driver!(program, "cuOccupancyMaxPotentialBlockSize", &mut blocks => *mut i32,
        &mut threads => *mut i32, function => Handle, ptr::null() => *const c_void, 0 => usize, 300 => i32);
    assert_eq!((code, blocks, threads), (0, 6 * 4, 300));
}

#[test]
fn compilations_run_at_the_same_time() {
    let Some(emulator) = Emulator::load() else { return };
    let source = "extern \"C\" __global__ void store(int* x) { x[0] = VALUE; }";
    let compiled = std::thread::scope(|scope| {
        let start = |value: i32| {
            scope.spawn(move || {
                compile(emulator, "store.cu", source, 80, &[&format!("VALUE={value}")]).unwrap().0
            })
        };
        [1, 2, 3].map(start).map(|thread| thread.join().unwrap())
    });
    let session = emulator.session();
    let program = Program::new(emulator, &session);
    let x = program.empty(4);
    for (image, value) in compiled.iter().zip(1..) {
        let function = program.function(program.load(image).unwrap(), "store");
        assert_eq!(program.launch(function, [1, 1, 1], [1, 1, 1], 0, &[x]), 0);
        assert_eq!(program.download::<i32>(x, 1), Ok(vec![value]));
    }
}

#[test]
fn memory_is_limited_and_accounted() {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    session.set_options(Options { quiet: true, ..Options::default() });
    session.set_device(&Device { memory_bytes: 1 << 20, ..Device::default() });
    let program = Program::new(emulator, &session);
    let before = session.memory().allocation_calls;
    let first = program.empty(700 << 10);
    let mut address = 0;
    assert_eq!(
        driver!(program, "cuMemAlloc_v2", &mut address => *mut u64, 400 << 10 => usize),
        OUT_OF_MEMORY
    );
    program.free(first);
    let second = program.empty(400 << 10);
    let expected = Memory {
        live_allocations: 1,
        live_bytes: 400 << 10,
        peak_bytes: 700 << 10,
        allocation_calls: before + 3,
        pinned_bytes: 0,
    };
    assert_eq!(session.memory(), expected);
    let (mut available, mut total) = (0, 0);
    driver!(program, "cuMemGetInfo_v2", &mut available => *mut usize, &mut total => *mut usize);
    assert_eq!((available, total), (624 << 10, 1 << 20));
    program.free(second);
    // Not an address that was handed out.
    let Argument::Buffer(address) = second else { unreachable!() };
    assert_eq!(driver!(program, "cuMemFree_v2", address => u64), INVALID_VALUE);
}

#[test]
fn a_planned_failure_happens_once() {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    session.set_options(Options { quiet: true, ..Options::default() });
    let program = Program::new(emulator, &session);
    session.fail("cuMemAlloc_v2", 2, OUT_OF_MEMORY as u32);
    let mut address = 0;
    let codes = [0; 3].map(|_: i32| driver!(program, "cuMemAlloc_v2", &mut address => *mut u64, 4 => usize));
    assert_eq!(codes, [0, OUT_OF_MEMORY, 0]);
}

#[test]
fn a_rectangle_is_copied_row_by_row() {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    session.set_options(Options { quiet: true, ..Options::default() });
    let program = Program::new(emulator, &session);
    let Argument::Buffer(from) = program.upload(&[1u8, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]) else {
        unreachable!()
    };
    let to = program.upload(&[0u8; 10]);
    let Argument::Buffer(address) = to else { unreachable!() };
    // CUDA_MEMCPY2D, by eight bytes: x, y, type, host, device, array, pitch for each side; width, height. From
    // column 1 of rows of 4 into column 2 of rows of 5.
    let copy: [u64; 16] = [1, 0, 2, 0, from, 0, 4, 2, 0, 2, 0, address, 0, 5, 3, 2];
    let code = driver!(program, "cuMemcpy2DAsync_v2", copy.as_ptr() => *const u64, program.stream => Handle);
    assert_eq!(code, 0);
    assert_eq!(program.download(to, 10), Ok(vec![0u8, 0, 2, 3, 4, 0, 0, 6, 7, 8]));
}

#[test]
fn images_are_checked() {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    session.set_options(Options { quiet: true, ..Options::default() });
    let program = Program::new(emulator, &session);
    let source = "extern \"C\" __global__ void __launch_bounds__(2 * 32, 1) nothing() {}";
    let (image, log) = compile(emulator, "nothing.cu", source, 86, &[]).unwrap();
    assert!(log.contains("Used 32 registers") && log.contains("nothing"), "{log}");
    // For another minor version, of a newer device, and of an older one.
    assert_eq!(program.load(&image), Err(NO_BINARY_FOR_GPU));
    session.set_device(&Device { sm: 90, ..Device::default() });
    assert_eq!(program.load(&image), Err(NO_BINARY_FOR_GPU));
    session.set_device(&Device { sm: 89, ..Device::default() });
    let module = program.load(&image).unwrap();
    let function = program.function(module, "nothing");
    assert_eq!(program.launch(function, [1, 1, 1], [65, 1, 1], 0, &[]), INVALID_VALUE);
    assert_eq!(program.launch(function, [1, 1, 1], [64, 1, 1], 0, &[]), 0);
    assert_eq!(program.synchronize(), 0);
    assert_eq!(program.load(b".version 8.0 // PTX"), Err(INVALID_IMAGE));
}

#[test]
fn a_compilation_that_fails_says_where() {
    let Some(emulator) = Emulator::load() else { return };
    let log =
        compile(emulator, "broken.cu", "extern \"C\" __global__ void broken() {\n    nonsense;\n}", 80, &[]);
    let log = log.unwrap_err();
    assert!(log.contains("broken.cu:2:") && log.contains("nonsense"), "{log}");
    assert!(compile(emulator, "old.cu", "", 61, &[]).unwrap_err().contains("sm_61"));
    let misspelt =
        compile_with(emulator, "misspelt.cu", "", &["--gpu-architecture=sm_80", "--use_fast_maths"]);
    assert!(misspelt.unwrap_err().contains("--use_fast_maths"));
    assert!(compile_with(emulator, "fast.cu", "", &["--gpu-architecture=sm_80", "--use_fast_math"]).is_ok());
}

/// Marks the child of the test below.
const CHILD: &str = "EMULATOR_TEST_CHILD";

#[test]
fn a_child_process_finds_the_stand_ins_by_name() {
    if std::env::var_os(CHILD).is_some() {
        let emulator: &'static Emulator = Box::leak(Box::new(Emulator::by_name()));
        let session = emulator.unset_session();
        let mut program = Program::new(emulator, &session);
        let (mut sm, mut bytes) = ([0i32; 2], 0usize);
        for (value, attribute) in sm.iter_mut().zip([75, 76]) {
            driver!(program, "cuDeviceGetAttribute", value => *mut i32, attribute => i32, 0 => i32);
        }
        driver!(program, "cuDeviceTotalMem_v2", &mut bytes => *mut usize, 0 => i32);
        assert_eq!((sm, bytes), ([8, 6], 123 << 20));
        // A kernel's calls find the driver, though it was opened for one user only.
        let function = program.kernel("shift", "shift", &[]);
        let (x, y) = (program.upload(&[5.0f32; 16]), program.empty(64));
        assert_eq!(program.launch(function, [1, 1, 1], [16, 1, 1], 0, &[x, y, Argument::Int(16)]), 0);
        assert_eq!(program.download(y, 16), Ok(vec![5.0f32; 16]));
        assert!(session.launches()[0].traced);
        return;
    }
    let Some(emulator) = Emulator::load() else { return };
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "driver_api::a_child_process_finds_the_stand_ins_by_name", "--nocapture"])
        .env(CHILD, "1")
        .env("LD_LIBRARY_PATH", emulator.folder())
        .envs([("EMULATOR_SM", "86"), ("EMULATOR_MEMORY", "128974848"), ("EMULATOR_TRACE", "1")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn no_device_and_old_drivers() {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    session.set_options(Options { quiet: true, ..Options::default() });
    let program = Program::new(emulator, &session);
    session.set_device(&Device { driver_version: 12_020, count: 0, ..Device::default() });
    assert_eq!(driver!(program, "cuInit", 0 => u32), NO_DEVICE);
    let mut version = 0;
    assert_eq!(driver!(program, "cuDriverGetVersion", &mut version => *mut i32), 0);
    assert_eq!(version, 12_020);
}
