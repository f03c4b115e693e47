//! Conversions, matrices and warp functions, against plain loops and the `half` crate.

use crate::emulator::{Emulator, Options, Order};
use crate::program::Program;
use half::{bf16, f16};

#[test]
fn every_two_byte_number_widens_exactly() {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    let mut program = Program::new(emulator, &session);
    let function = program.kernel("numbers", "widen", &[]);
    let all: Vec<u16> = (0..=u16::MAX).collect();
    let (x, from_f16, from_bf16) = (program.upload(&all), program.empty(4 << 16), program.empty(4 << 16));
    assert_eq!(program.launch(function, [256, 1, 1], [256, 1, 1], 0, &[x, from_f16, from_bf16]), 0);
    let results = [from_f16, from_bf16].map(|buffer| program.download::<f32>(buffer, 1 << 16).unwrap());
    for bits in all {
        let expected = [f16::from_bits(bits).to_f32(), bf16::from_bits(bits).to_f32()];
        for (result, expected) in results.iter().zip(expected) {
            let got = result[usize::from(bits)];
            assert!(
                got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan()),
                "{bits:#06x}: {got}"
            );
        }
    }
}

#[test]
fn floats_narrow_to_the_nearest() {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    let mut program = Program::new(emulator, &session);
    let function = program.kernel("numbers", "narrow", &[]);
    // Every f16 and its surroundings: itself, half way to the next, and the floats beside; then bits spread over all
    // floats.
    let near = |bits: u16| {
        let here = f16::from_bits(bits).to_f32();
        let next = f16::from_bits(bits.wrapping_add(1)).to_f32();
        let middle = f32::midpoint(here, next).to_bits();
        [here.to_bits(), middle, middle.wrapping_sub(1), middle.wrapping_add(1)]
    };
    let mut bits: Vec<u32> = (0..=u16::MAX).step_by(3).flat_map(near).collect();
    bits.extend((0..1u32 << 15).map(|i| i.wrapping_mul(0x9E37_79B9)));
    bits.extend(
        [65504.0f32, 65519.996, 65520.0, 1e30, f32::INFINITY, 5.9e-8, 2.9e-8, 3e-8].map(f32::to_bits),
    );
    bits.resize(bits.len().next_multiple_of(256), 0);
    let count = bits.len();
    let (x, to_f16, to_bf16) = (program.upload(&bits), program.empty(2 * count), program.empty(2 * count));
    assert_eq!(
        program.launch(function, [(count / 256) as u32, 1, 1], [256, 1, 1], 0, &[x, to_f16, to_bf16]),
        0
    );
    let results = [to_f16, to_bf16].map(|buffer| program.download::<u16>(buffer, count).unwrap());
    for (i, value) in bits.iter().map(|bits| f32::from_bits(*bits)).enumerate() {
        let (narrow, wide) = (f16::from_bits(results[0][i]), bf16::from_bits(results[1][i]));
        if value.is_nan() {
            assert!(narrow.is_nan() && wide.is_nan());
        } else {
            assert_eq!(narrow.to_bits(), f16::from_f32(value).to_bits(), "{value:e} to f16");
            assert_eq!(wide.to_bits(), bf16::from_f32(value).to_bits(), "{value:e} to bf16");
        }
    }
}

/// The product of the kernel in planted/matrices.cu and of a plain loop, on small integers that both do exactly.
fn matrices(
    kernel: &str,
    k: usize,
    half_bits: fn(f32) -> u16,
    definitions: &[&str],
) -> Option<[Vec<f32>; 2]> {
    let emulator = Emulator::load()?;
    let session = emulator.session();
    session.set_options(Options { order: Order::WarpPriority, seed: 3, trace: true, quiet: true });
    let mut program = Program::new(emulator, &session);
    let function = program.kernel("matrices", kernel, definitions);
    let a: Vec<f32> = (0..16 * k).map(|i| ((i * 7 + 3) % 23) as f32 - 11.0).collect();
    let b: Vec<f32> = (0..8 * k).map(|i| ((i * 5 + 1) % 19) as f32 - 9.0).collect();
    let halves = |values: &[f32]| values.iter().map(|value| half_bits(*value)).collect::<Vec<_>>();
    let (x, y, d) = (program.upload(&halves(&a)), program.upload(&halves(&b)), program.empty(16 * 8 * 4));
    assert_eq!(program.launch(function, [1, 1, 1], [32, 1, 1], 0, &[x, y, d]), 0);
    let result = program.download::<f32>(d, 16 * 8).unwrap_or_else(|_| panic!("{}", session.last_error()));
    let transposed = kernel == "matrices_transposed";
    let at = |row: usize, column: usize| if transposed { b[row * 8 + column] } else { b[column * k + row] };
    let product = |i: usize, j: usize| (0..k).map(|n| a[i * k + n] * at(n, j)).sum();
    let expected = (0..16).flat_map(|i| (0..8).map(move |j| (i, j))).map(|(i, j)| product(i, j)).collect();
    Some([result, expected])
}

#[test]
fn a_tile_of_matrices() {
    let f16_bits = |value: f32| f16::from_f32(value).to_bits();
    let bf16_bits = |value: f32| bf16::from_f32(value).to_bits();
    let cases = [
        matrices("matrices", 8, f16_bits, &["K=8", "ELEMENT=f16", "IS_BF16=0"]),
        matrices("matrices", 16, f16_bits, &["K=16", "ELEMENT=f16", "IS_BF16=0"]),
        matrices("matrices", 16, bf16_bits, &["K=16", "ELEMENT=bf16", "IS_BF16=1"]),
        matrices("matrices_transposed", 16, bf16_bits, &["K=16", "ELEMENT=bf16", "IS_BF16=1"]),
    ];
    for [result, expected] in cases.into_iter().flatten() {
        assert_eq!(result, expected);
    }
}

#[test]
fn a_fragment_in_the_wrong_registers_shows() {
    let definitions = ["K=16", "ELEMENT=bf16", "IS_BF16=1", "SWAPPED"];
    let Some([result, expected]) = matrices("matrices", 16, |v| bf16::from_f32(v).to_bits(), &definitions)
    else {
        return;
    };
    assert_ne!(result, expected);
}

#[test]
fn warp_functions() {
    let Some(emulator) = Emulator::load() else { return };
    let session = emulator.session();
    let mut program = Program::new(emulator, &session);
    let function = program.kernel("numbers", "warp_functions", &[]);
    let x: Vec<i32> = (0..32).map(|i| (i * 13 + 5) % 41 + 1).collect();
    let (input, output) = (program.upload(&x), program.empty(11 * 128));
    let at = |lane: usize| x[lane];
    let mask =
        |of: &dyn Fn(usize) -> bool| (0..32).filter(|l| of(*l)).fold(0u32, |m, l| m | 1 << l).cast_signed();
    let expected: [&dyn Fn(usize) -> i32; 11] = [
        &|_| at(5),
        &|lane| at(lane / 8 * 8 + 1),
        &|lane| at(if lane >= 3 { lane - 3 } else { lane }),
        &|lane| at(if lane % 16 < 13 { lane + 3 } else { lane }),
        &|lane| at(lane ^ 6),
        &|_| mask(&|lane| at(lane) % 3 == 0),
        &|_| i32::from(x.contains(&7)) + 2,
        &|_| x.iter().sum(),
        &|lane| mask(&|other| at(other) % 5 == at(lane) % 5),
        &|_| x.iter().filter(|value| *value % 2 == 1).count() as i32,
        &|_| 2,
    ];
    for order in Order::ALL {
        session.set_options(Options { order, seed: 2, trace: true, quiet: true });
        assert_eq!(program.launch(function, [1, 1, 1], [32, 1, 1], 0, &[input, output]), 0);
        let result =
            program.download::<i32>(output, 11 * 32).unwrap_or_else(|_| panic!("{}", session.last_error()));
        for (row, expected) in expected.iter().enumerate() {
            for lane in 0..32 {
                assert_eq!(result[32 * row + lane], expected(lane), "row {row}, lane {lane}, {order:?}");
            }
        }
    }
}
