//! Vector functions against f64, on every SIMD level that this processor has.

use super::*;
use crate::tensor::Random;

/// Runs one of a few vector functions over a slice.
struct Apply<'a> {
    which: usize,
    data: &'a mut [f32],
}

impl Task for Apply<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        match self.which {
            0 => map(l, self.data, |v| math::exp(l, v)),
            1 => map(l, self.data, |v| math::tanh(l, v)),
            i if i < 8 => map(l, self.data, |v| Activation::ALL[i - 2].apply_lanes(l, v)),
            i => map(l, self.data, |v| Activation::ALL[i - 8].derivative_lanes(l, v)),
        }
    }
}

fn expected(which: usize, x: f64) -> f64 {
    match which {
        0 => x.exp(),
        1 => x.tanh(),
        i if i < 8 => Activation::ALL[i - 2].apply(x),
        i => Activation::ALL[i - 8].derivative(x),
    }
}

fn levels() -> Vec<Cpu> {
    SimdLevel::available().into_iter().map(|level| Cpu::with_simd(1, level).unwrap()).collect()
}

#[test]
fn functions_agree_with_f64() {
    let mut random = Random::new(7);
    let mut inputs: Vec<f32> = vec![0.0, 1e-6, -1e-6, 0.624, 0.626, -0.63, 19.9, 20.1, 40.0, 80.0, -80.0];
    inputs.extend((0..3000).map(|_| random.uniform(-12.0, 12.0)));
    inputs.extend((0..3000).map(|_| random.uniform(-80.0, 80.0)));
    for cpu in levels() {
        for which in 0..14 {
            let mut data = inputs.clone();
            dispatch(&cpu, Apply { which, data: &mut data });
            for (&x, &y) in inputs.iter().zip(&data) {
                let want = expected(which, f64::from(x));
                // Functions are within a few ulp except where the result all but vanishes.
                // Derivatives cross zero, and x·(1 − s) carries the rounding of s times x: only
                // their absolute error is bounded.
                let tolerance = if which < 8 {
                    4e-7 * want.abs() + 1e-33
                } else {
                    6e-7 + 6e-8 * f64::from(x).abs().min(20.0)
                };
                assert!(
                    (f64::from(y) - want).abs() <= tolerance,
                    "{} function {which} at {x}: {y}, not {want}",
                    cpu.simd()
                );
            }
        }
    }
}

#[test]
fn exp_is_within_two_ulp() {
    let inputs: Vec<f32> = (0..40_000).map(|i| -86.0 + i as f32 * 0.004_3).collect();
    for cpu in levels() {
        let mut data = inputs.clone();
        dispatch(&cpu, Apply { which: 0, data: &mut data });
        for (&x, &y) in inputs.iter().zip(&data) {
            let want = f64::from(x).exp();
            let ulp = f64::from(f32::from_bits((want as f32).to_bits() + 1)) - f64::from(want as f32);
            assert!((f64::from(y) - want).abs() <= 2.0 * ulp, "{} exp({x}) = {y}, not {want}", cpu.simd());
        }
    }
}

#[test]
fn far_inputs_saturate_and_nan_stays() {
    for cpu in levels() {
        let mut data = [1000.0, -1000.0, f32::NAN];
        activate(&cpu, Activation::Sigmoid, &mut data);
        assert!(data[0] == 1.0 && data[1] < 1e-30 && data[2].is_nan(), "{data:?} on {}", cpu.simd());
        let mut data = [1000.0, -1000.0, f32::NAN];
        activate(&cpu, Activation::Mish, &mut data);
        assert!(data[0] == 1000.0 && data[1].abs() < 1e-30 && data[2].is_nan(), "{data:?} on {}", cpu.simd());
    }
}

#[test]
fn a_slice_ends_where_it_ends() {
    for cpu in levels() {
        for length in 0..40 {
            let mut data = vec![2.0; length + 1];
            activate(&cpu, Activation::Sigmoid, &mut data[..length]);
            assert!(data[..length].iter().all(|&v| (v - 0.880_797).abs() < 1e-6));
            assert_eq!(data[length], 2.0);
        }
    }
}

/// Loads, sums and selects a tail.
struct Tail<'a>(&'a [f32], usize);

impl Task for Tail<'_> {
    type Output = (f32, f32);
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) -> (f32, f32) {
        let count = self.1.min(L::LANES);
        assert!(count <= self.0.len());
        // SAFETY: `count` elements are there.
        let v = unsafe { l.load_first(self.0.as_ptr(), count) };
        let big = l.select(l.less(l.splat(2.0), v), v, l.splat(0.0));
        (l.sum(v), l.sum(big))
    }
}

#[test]
fn tails_are_zero_beyond_their_count() {
    let data: Vec<f32> = (1..=16).map(|v| v as f32).collect();
    for cpu in levels() {
        for count in 0..=4 {
            let want: f32 = data[..count].iter().sum();
            let big: f32 = data[..count].iter().filter(|&&v| v > 2.0).sum();
            assert_eq!(dispatch(&cpu, Tail(&data, count)), (want, big));
        }
    }
}
