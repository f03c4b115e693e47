//! The suite that every op's cpu kernel has to pass: the same op on the reference device.

use super::case::beside_nan;
use super::{Io, Op};
use crate::runtime::{Cpu, SimdLevel};
use crate::tensor::{Element, Random, Shape, View, ViewMut};

/// Runs `op` on the reference device in f64 and on the cpu device, on the same `inputs` (dense, one
/// vector each), and compares every output within `tolerance · (1 + |reference|)`.
///
/// The cpu runs at every SIMD level of this machine, with 1, 2 and 3 threads, into dense outputs, into
/// channel slices of wider buffers whose other channels must stay untouched, and in place where the
/// op allows it. All thread counts must agree bit by bit.
///
/// # Panics
/// Where they differ; the message names op, variant, output and element.
pub fn check_cpu(op: &dyn Op, shapes: &[Shape], inputs: &[Vec<f32>], tolerance: f64) {
    check_cpu_weights(op, shapes, inputs, tolerance, &[]);
}

/// As [`check_cpu`], the inputs and outputs of the shapes `weights` being weights: always dense.
pub fn check_cpu_weights(
    op: &dyn Op,
    shapes: &[Shape],
    inputs: &[Vec<f32>],
    tolerance: f64,
    weights: &[Shape],
) {
    let output_shapes = op.output_shapes(shapes).unwrap();
    let expected = reference(op, shapes, inputs);
    for simd in SimdLevel::available() {
        for padding in [0, 3] {
            for in_place in [false, true] {
                if in_place && op.in_place().is_empty() {
                    continue;
                }
                let mut first: Option<Vec<Vec<f32>>> = None;
                for threads in [1, 2, 3] {
                    let cpu = Cpu::with_simd(threads, simd).unwrap();
                    let variant = format!("{} {simd} padding {padding} in place {in_place}", op.name());
                    let pad = |s: Shape| if s.h * s.w > 1 && !weights.contains(&s) { padding } else { 0 };
                    let got = run_cpu(op, shapes, inputs, &cpu, &pad, in_place, &variant);
                    for (o, (got, expected)) in got.iter().zip(&expected).enumerate() {
                        for (i, (&got, &want)) in got.iter().zip(expected).enumerate() {
                            let close = f64::from(got) == want
                                || (f64::from(got) - want).abs() <= tolerance * (1.0 + want.abs());
                            assert!(
                                close || (got.is_nan() && want.is_nan()),
                                "{variant}: output {o} {} element {i} is {got}, reference {want}; inputs {shapes:?}",
                                output_shapes[o]
                            );
                        }
                    }
                    let same = first.get_or_insert_with(|| got.clone());
                    let bits =
                        |v: &Vec<Vec<f32>>| -> Vec<u32> { v.iter().flatten().map(|f| f.to_bits()).collect() };
                    assert_eq!(bits(same), bits(&got), "{variant}: {threads} threads change the result");
                }
            }
        }
    }
}

/// As [`check_cpu`] on inputs drawn uniformly from ±1.
pub fn check_cpu_random(op: &dyn Op, shapes: &[Shape], seed: u64, tolerance: f64) {
    let mut random = Random::new(seed);
    let inputs: Vec<Vec<f32>> =
        shapes.iter().map(|s| (0..s.elements()).map(|_| random.uniform(-1.0, 1.0)).collect()).collect();
    check_cpu(op, shapes, &inputs, tolerance);
}

/// The outputs of `op` on the reference device.
pub fn reference(op: &dyn Op, shapes: &[Shape], inputs: &[Vec<f32>]) -> Vec<Vec<f64>> {
    let data: Vec<Vec<f64>> = inputs.iter().map(|v| v.iter().map(|x| x.to_f64()).collect()).collect();
    let output_shapes = op.output_shapes(shapes).unwrap();
    let mut buffers: Vec<Vec<f64>> = output_shapes.iter().map(|s| vec![f64::NAN; s.elements()]).collect();
    let mut io = Io {
        inputs: data.iter().zip(shapes).map(|(d, s)| Some(View::dense(d, *s))).collect(),
        outputs: buffers.iter_mut().zip(&output_shapes).map(|(b, s)| ViewMut::dense(b, *s)).collect(),
        workspace: &mut [],
    };
    op.reference(&mut io).unwrap();
    buffers
}

const CANARY: f32 = -1.2345e30;

/// Runs the cpu kernel with `pad(shape)` channels of others on both sides of every pixel and returns the
/// outputs, dense.
fn run_cpu(
    op: &dyn Op,
    shapes: &[Shape],
    inputs: &[Vec<f32>],
    cpu: &Cpu,
    pad: &dyn Fn(Shape) -> usize,
    in_place: bool,
    variant: &str,
) -> Vec<Vec<f32>> {
    let wide = |data: &[f32], shape: Shape| -> Vec<f32> {
        let pad = pad(shape);
        let mut wide = vec![CANARY; shape.pixels() * (shape.c + 2 * pad)];
        for pixel in 0..shape.pixels() {
            let at = pixel * (shape.c + 2 * pad) + pad;
            wide[at..at + shape.c].copy_from_slice(&data[pixel * shape.c..(pixel + 1) * shape.c]);
        }
        wide
    };
    let output_shapes = op.output_shapes(shapes).unwrap();
    let sources: Vec<Vec<f32>> = inputs.iter().zip(shapes).map(|(d, s)| wide(d, *s)).collect();
    let mut aliased = if in_place { op.in_place().to_vec() } else { Vec::new() };
    let mut narrower = None;
    aliased.retain(|&(input, output)| {
        let (from, to) = (shapes[input], output_shapes[output]);
        if from != to && from == to.with_c(from.c.min(to.c)) {
            narrower = op.over_narrower(input, from.c);
            return narrower.is_some();
        }
        from == to
    });
    let op = narrower.as_deref().unwrap_or(op);
    let mut buffers: Vec<Vec<f32>> = output_shapes
        .iter()
        .enumerate()
        .map(|(o, s)| match aliased.iter().find(|(_, output)| *output == o) {
            Some(&(input, _)) => wide(&beside_nan(&inputs[input], shapes[input].c, s.c), *s),
            None => wide(&vec![f32::NAN; s.elements()], *s),
        })
        .collect();
    let mut workspace = vec![f32::NAN; op.cpu_workspace(shapes, &output_shapes, cpu)];
    let view = |data: &[f32], shape: Shape| {
        let pad = pad(shape);
        // SAFETY: `wide` laid c elements at every pixel of the shape, from `pad` on.
        unsafe { View::from_raw(data.as_ptr().wrapping_add(pad), shape, shape.c + 2 * pad) }
    };
    let mut io = Io {
        inputs: sources
            .iter()
            .zip(shapes)
            .enumerate()
            .map(|(i, (d, s))| (!aliased.iter().any(|(input, _)| *input == i)).then(|| view(d, *s)))
            .collect(),
        outputs: buffers
            .iter_mut()
            .zip(&output_shapes)
            .map(|(d, s)| {
                let pad = pad(*s);
                // SAFETY: as above; each output has a buffer of its own.
                unsafe { ViewMut::from_raw(d.as_mut_ptr().wrapping_add(pad), *s, s.c + 2 * pad) }
            })
            .collect(),
        workspace: &mut workspace,
    };
    op.cpu(&mut io, cpu).unwrap();
    buffers
        .iter()
        .zip(&output_shapes)
        .map(|(data, shape)| {
            let (pad, stride) = (pad(*shape), shape.c + 2 * pad(*shape));
            let mut dense = Vec::with_capacity(shape.elements());
            for pixel in data.chunks(stride.max(1)).take(shape.pixels()) {
                let outside = pixel[..pad].iter().chain(&pixel[pad + shape.c..]);
                assert!(outside.copied().all(|v| v == CANARY), "{variant}: wrote outside its channels");
                dense.extend_from_slice(&pixel[pad..pad + shape.c]);
            }
            dense
        })
        .collect()
}
