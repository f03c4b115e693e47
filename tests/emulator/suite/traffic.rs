//! What the trace counts, against counts by hand.

use crate::emulator::{Counts, Emulator, Launch, Options, Order};
use crate::program::{Argument, Program};
use std::collections::BTreeMap;

/// Runs a kernel of planted/access.cu on one warp, in every order: counts do not depend on it.
fn access(kernel: &str, read: usize, written: usize, shared: u32, integers: &[i32]) -> Option<Launch> {
    let emulator = Emulator::load()?;
    let session = emulator.session();
    let mut program = Program::new(emulator, &session);
    let function = program.kernel("access", kernel, &[]);
    let (x, y) = (program.upload(&vec![0u8; read]), program.empty(written));
    let arguments: Vec<_> = [x, y].into_iter().chain(integers.iter().map(|n| Argument::Int(*n))).collect();
    for order in Order::ALL {
        session.set_options(Options { order, seed: 9, trace: true, quiet: true });
        assert_eq!(program.launch(function, [1, 1, 1], [32, 1, 1], shared, &arguments), 0);
        assert_eq!(program.synchronize(), 0, "{}", session.last_error());
    }
    let mut launches = session.launches();
    assert!(launches.iter().all(|launch| launch.counts == launches[0].counts));
    launches.pop()
}

#[test]
fn contiguous_floats_fill_their_sectors() {
    let Some(launch) = access("strided", 128, 128, 0, &[1]) else { return };
    let expected = Counts {
        unique_read_bytes: 128,
        unique_write_bytes: 128,
        read_bytes: 128,
        write_bytes: 128,
        sector_read_bytes: 128,
        sector_write_bytes: 128,
        // One read and one write, of four sectors each.
        requests: 2,
        sectors: 8,
        ideal_sectors: 8,
        ..Counts::default()
    };
    assert_eq!(launch.counts, expected);
    // By allocation: x, then y.
    let traffic: Vec<_> =
        launch.traffic.iter().map(|t| (t.unique_read_bytes, t.unique_write_bytes, t.bytes)).collect();
    assert_eq!(traffic, [(128, 0, 128), (0, 128, 128)]);
}

#[test]
fn a_stride_of_a_sector_reads_eight_times_as_much() {
    let Some(launch) = access("strided", 31 * 32 + 4, 128, 0, &[8]) else { return };
    assert_eq!(launch.counts.unique_read_bytes, 128);
    assert_eq!(launch.counts.sector_read_bytes, 32 * 32);
    // 32 sectors read, where 4 would do; 4 written.
    assert_eq!((launch.counts.requests, launch.counts.sectors, launch.counts.ideal_sectors), (2, 36, 8));
}

#[test]
fn a_view_that_starts_within_a_sector_touches_one_more() {
    let Some(launch) = access("shifted", 144, 128, 0, &[]) else { return };
    assert_eq!((launch.counts.unique_read_bytes, launch.counts.sector_read_bytes), (128, 5 * 32));
    assert_eq!((launch.counts.sectors, launch.counts.ideal_sectors), (9, 8));
}

#[test]
fn one_element_for_all_lanes_is_one_sector() {
    let Some(launch) = access("broadcast", 16, 128, 0, &[]) else { return };
    // x[3] twice; y written twice and read once.
    assert_eq!((launch.counts.read_bytes, launch.counts.write_bytes), (128 + 128 + 128, 256));
    assert_eq!((launch.counts.unique_read_bytes, launch.counts.sector_read_bytes), (4 + 128, 32 + 128));
    assert_eq!(
        (launch.counts.requests, launch.counts.sectors, launch.counts.ideal_sectors),
        (5, 1 + 1 + 12, 14)
    );
    assert_eq!(launch.counts.barriers, 1);
}

#[test]
fn a_pack_is_one_instruction() {
    let Some(launch) = access("packed", 512, 512, 0, &[]) else { return };
    assert_eq!((launch.counts.requests, launch.counts.sectors, launch.counts.ideal_sectors), (2, 32, 32));
    assert_eq!((launch.counts.unique_read_bytes, launch.counts.write_bytes), (512, 512));
}

#[test]
fn structs_need_only_the_alignment_of_their_parts() {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    session.set_options(Options { trace: true, quiet: true, ..Options::default() });
    let mut program = Program::new(emulator, &session);
    let function = program.kernel("access", "structs", &[]);
    let points: Vec<f32> = (0..96).map(|i| i as f32).collect();
    // The bf16 of 2.
    let (x, odd, y) = (program.upload(&points), program.upload(&[0x4000u16; 66]), program.empty(128));
    assert_eq!(program.launch(function, [1, 1, 1], [32, 1, 1], 0, &[x, odd, y]), 0);
    let sums = program.download::<f32>(y, 32).unwrap_or_else(|_| panic!("{}", session.last_error()));
    assert!((0..32).all(|i| sums[i] == points[3 * i..3 * i + 3].iter().sum::<f32>() + 4.0));
    let counts = session.launches()[0].counts;
    assert_eq!((counts.unique_read_bytes, counts.unique_write_bytes), (32 * 12 + 32 * 4, 128));
}

#[test]
fn wide_accesses_to_shared_memory_go_by_quarter_warps() {
    // Rows of 4 floats: 8 lanes fill the 32 banks. Their first floats are 4 banks apart: 4 lanes a bank.
    let Some(launch) = access("shared_rows", 512, 128, 32 * 4 * 4, &[4]) else { return };
    assert_eq!((launch.counts.shared_requests, launch.counts.shared_wavefronts), (4 + 1, 4 + 4));
    // Rows of 32 floats: 8 lanes use the same 4 banks, and 32 lanes one bank.
    let Some(launch) = access("shared_rows", 512, 128, 32 * 32 * 4, &[32]) else { return };
    assert_eq!((launch.counts.shared_requests, launch.counts.shared_wavefronts), (4 + 1, 4 * 8 + 32));
    assert_eq!(launch.dynamic_shared, 4096);
}

/// 64 × 32 floats: two tiles of 32 × 32, each read from shared memory by columns.
fn transposed(pitch: usize) -> Option<Launch> {
    let emulator = Emulator::load()?;
    let session = emulator.session();
    session.set_options(Options { trace: true, quiet: true, ..Options::default() });
    let mut program = Program::new(emulator, &session);
    let function = program.kernel("transposed", "transposed", &[&format!("PITCH={pitch}")]);
    let values: Vec<f32> = (0..64 * 32).map(|i| i as f32).collect();
    let (x, y) = (program.upload(&values), program.empty(values.len() * 4));
    let arguments = [x, y, Argument::Int(64), Argument::Int(32)];
    assert_eq!(program.launch(function, [1, 2, 1], [32, 8, 1], 0, &arguments), 0);
    // By line of transposed.cu: the reads from x and the writes to the tile, the reads from it and the writes to y. The
    // loops are unrolled, so a line has up to four instructions.
    let sites = || {
        let mut lines = BTreeMap::<_, [u64; 3]>::new();
        for site in session.sites(0) {
            let sum = lines.entry((site.line, site.shared, site.written)).or_default();
            for (sum, count) in sum.iter_mut().zip([site.requests, site.passes, site.ideal_passes]) {
                *sum += count;
            }
        }
        lines
    };
    let result = program.download::<f32>(y, values.len()).unwrap();
    assert!((0..64 * 32).all(|i| result[i] == values[i % 64 * 32 + i / 64]));
    let wavefronts = if pitch == 32 { 64 * 32 } else { 64 };
    let line = |number, shared, written| (format!("transposed.cu:{number}"), shared, written);
    let expected = [
        (line(7, false, false), [64, 256, 256]),
        (line(7, true, true), [64, 64, 64]),
        (line(11, false, true), [64, 256, 256]),
        (line(11, true, false), [64, wavefronts, 64]),
    ];
    assert_eq!(sites(), BTreeMap::from(expected));
    session.launches().pop()
}

#[test]
fn padding_removes_the_bank_conflicts_of_a_transposition() {
    let (Some(plain), Some(padded)) = (transposed(32), transposed(33)) else { return };
    // Two blocks of eight warps, each of four rows in and four columns out.
    assert_eq!(plain.counts.shared_requests, 2 * 8 * 8);
    assert_eq!(plain.counts.shared_wavefronts, 2 * 8 * (4 + 4 * 32));
    assert_eq!(padded.counts.shared_requests, 2 * 8 * 8);
    assert_eq!(padded.counts.shared_wavefronts, 2 * 8 * 8);
    assert_eq!((plain.static_shared, padded.static_shared), (32 * 32 * 4, 32 * 33 * 4));
    for launch in [plain, padded] {
        assert_eq!((launch.grid, launch.block), ([1, 2, 1], [32, 8, 1]));
        assert_eq!(
            (launch.counts.sector_read_bytes, launch.counts.sector_write_bytes),
            (64 * 32 * 4, 64 * 32 * 4)
        );
        assert_eq!(launch.counts.sectors, launch.counts.ideal_sectors);
    }
}
