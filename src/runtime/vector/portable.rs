//! Plain arrays of 8 lanes, for the compiler to vectorise with whatever it may assume.

use super::{Lanes, Task};

/// Needs no proof.
#[derive(Clone, Copy)]
pub struct Portable;

const LANES: usize = 8;

#[inline(always)]
fn each(f: impl Fn(usize) -> f32) -> [f32; LANES] {
    let mut out = [0.0; LANES];
    for (i, lane) in out.iter_mut().enumerate() {
        *lane = f(i);
    }
    out
}

#[inline(never)]
fn run<T: Task>(task: T) -> T::Output {
    task.run(Portable)
}

impl Lanes for Portable {
    type V = [f32; LANES];
    type Mask = [bool; LANES];
    const LANES: usize = LANES;
    // Two registers a vector, where the compiler may assume only SSE2 or NEON.
    const REGISTERS: usize = 8;

    #[inline(always)]
    fn call<T: Task>(self, task: T) -> T::Output {
        run(task)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::V {
        // SAFETY: the caller's promise; arrays of f32 need the alignment of f32.
        unsafe { from.cast::<Self::V>().read() }
    }
    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, count: usize) -> Self::V {
        let mut v = [0.0; LANES];
        // SAFETY: the caller's promise, count ≤ LANES.
        unsafe { std::ptr::copy_nonoverlapping(from, v.as_mut_ptr(), count) };
        v
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: Self::V) {
        // SAFETY: the caller's promise; arrays of f32 need the alignment of f32.
        unsafe { to.cast::<Self::V>().write(v) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize, v: Self::V) {
        // SAFETY: the caller's promise, count ≤ LANES.
        unsafe { std::ptr::copy_nonoverlapping(v.as_ptr(), to, count) };
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i] / b[i])
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // Not `mul_add`: without the instruction that is a call per lane.
        each(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        each(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        each(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn abs(self, a: Self::V) -> Self::V {
        each(|i| a[i].abs())
    }
    #[inline(always)]
    fn round(self, a: Self::V) -> Self::V {
        // Adding 1.5 · 2²³ leaves no bits for a fraction.
        const SHIFT: f32 = 12_582_912.0;
        each(|i| (a[i] + SHIFT) - SHIFT)
    }
    #[inline(always)]
    fn scale(self, a: Self::V, n: Self::V) -> Self::V {
        // 2ⁿ is its biased exponent.
        each(|i| a[i] * f32::from_bits(((n[i] as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    fn recip(self, a: Self::V) -> Self::V {
        each(|i| 1.0 / a[i])
    }
    #[inline(always)]
    fn less(self, a: Self::V, b: Self::V) -> Self::Mask {
        let mut out = [false; LANES];
        for (i, lane) in out.iter_mut().enumerate() {
            *lane = a[i] < b[i];
        }
        out
    }
    #[inline(always)]
    fn select(self, mask: Self::Mask, yes: Self::V, no: Self::V) -> Self::V {
        each(|i| if mask[i] { yes[i] } else { no[i] })
    }
    #[inline(always)]
    fn sum(self, a: Self::V) -> f32 {
        ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
    }
}
