//! Vectors of f32, written once for every instruction set.
//!
//! A kernel is a [`Task`]: a struct that holds its operands, with one generic method
//! `run<L: Lanes>`. [`dispatch`] calls it with the widest lanes that the processor has, inside a
//! function compiled for them:
//!
//! ```
//! use gradpath::runtime::{Cpu, vector::{self, Lanes, Task}};
//!
//! /// Doubles every element.
//! struct Double<'a>(&'a mut [f32]);
//!
//! impl Task for Double<'_> {
//!     type Output = ();
//!     #[inline(always)] // or the body is compiled without the instructions that it is written in
//!     fn run<L: Lanes>(self, lanes: L) {
//!         vector::map(lanes, self.0, |v| lanes.add(v, v));
//!     }
//! }
//!
//! let cpu = Cpu::new(1)?;
//! let mut data = [1.0, 2.0, 3.0];
//! vector::dispatch(&cpu, Double(&mut data));
//! assert_eq!(data, [2.0, 4.0, 6.0]);
//! # Ok::<(), gradpath::Error>(())
//! ```
//!
//! Rules that keep it fast: `run` and every generic function under it is `#[inline(always)]`;
//! vectors live in local variables and small local arrays; what differs from element to element is
//! a [`Lanes::select`], what differs from call to call is matched outside the loop.
//!
//! A value of a `Lanes` type is the proof that the processor has its instructions: only `dispatch`
//! makes one. That is why its arithmetic is safe to call.

mod activation;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod math;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

pub use activation::{Activation, LEAKY_SLOPE, activate};

use super::{Cpu, SimdLevel};

/// An instruction set's vectors of f32.
///
/// Comparisons with a NaN are false; [`Lanes::min`] and [`Lanes::max`] return their second operand
/// where either is NaN (as x86 does), or NaN (as aarch64 does): clamp as `max(low, x)` to keep a
/// NaN in `x`.
pub trait Lanes: Copy + Send + Sync + 'static {
    /// A vector of `LANES` numbers.
    type V: Copy;
    /// A truth value per lane.
    type Mask: Copy;
    /// The number of lanes, at most [`MAX_LANES`].
    const LANES: usize;
    /// How many vectors the processor's registers hold: what kernels size their tiles by.
    const REGISTERS: usize;

    /// Runs `task` in a function of its own, compiled for these lanes: a boundary that keeps a large
    /// kernel from being inlined into its caller.
    fn call<T: Task>(self, task: T) -> T::Output;

    /// `value` in every lane.
    fn splat(self, value: f32) -> Self::V;
    /// `LANES` numbers from `from`.
    ///
    /// # Safety
    /// `LANES` numbers at `from` are readable (no alignment needed).
    unsafe fn load(self, from: *const f32) -> Self::V;
    /// The first `count` lanes from `from` (`count` ≤ `LANES`), zero in the others.
    ///
    /// # Safety
    /// `count` numbers at `from` are readable.
    unsafe fn load_first(self, from: *const f32, count: usize) -> Self::V;
    /// Writes all lanes to `to`.
    ///
    /// # Safety
    /// `LANES` numbers at `to` are writable (no alignment needed).
    unsafe fn store(self, to: *mut f32, v: Self::V);
    /// Writes the first `count` lanes to `to` (`count` ≤ `LANES`), and nothing else.
    ///
    /// # Safety
    /// `count` numbers at `to` are writable.
    unsafe fn store_first(self, to: *mut f32, count: usize, v: Self::V);

    /// Asks for the cache line of `at`, any address, where there is an instruction for that.
    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        let _ = at;
    }

    /// a + b.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// a − b.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// a · b.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// a / b.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// a · b + c, fused where the instruction set can.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The smaller.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The larger.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// |a|.
    fn abs(self, a: Self::V) -> Self::V;
    /// The nearest integer, ties to even; for |a| < 2²².
    fn round(self, a: Self::V) -> Self::V;
    /// a · 2ⁿ for integers −126 ≤ n ≤ 127 held as f32.
    fn scale(self, a: Self::V, n: Self::V) -> Self::V;
    /// 1 / a to about one unit in the last place, for normal a whose reciprocal is normal.
    fn recip(self, a: Self::V) -> Self::V;
    /// a < b.
    fn less(self, a: Self::V, b: Self::V) -> Self::Mask;
    /// `yes` where `mask`, `no` elsewhere.
    fn select(self, mask: Self::Mask, yes: Self::V, no: Self::V) -> Self::V;
    /// The sum of all lanes, in an order that depends only on `LANES`.
    fn sum(self, a: Self::V) -> f32;
}

/// The most lanes any instruction set has.
pub const MAX_LANES: usize = 16;

/// A computation written over [`Lanes`].
pub trait Task {
    /// What it returns.
    type Output;
    /// Runs it. Mark the implementation `#[inline(always)]`.
    fn run<L: Lanes>(self, lanes: L) -> Self::Output;
}

/// Runs `task` with the lanes of `cpu`'s SIMD level, on the calling thread.
#[inline]
pub fn dispatch<T: Task>(cpu: &Cpu, task: T) -> T::Output {
    match cpu.simd() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Cpu` never has a level above that of the processor.
        SimdLevel::Avx512 => unsafe { avx512::Avx512::assume() }.call(task),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        SimdLevel::Avx2 => unsafe { avx2::Avx2::assume() }.call(task),
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        SimdLevel::Neon => unsafe { neon::Neon::assume() }.call(task),
        _ => portable::Portable.call(task),
    }
}

/// Replaces every element of `data` by `f` of it.
#[inline(always)]
pub fn map<L: Lanes>(lanes: L, data: &mut [f32], f: impl Fn(L::V) -> L::V) {
    let (pointer, length) = (data.as_mut_ptr(), data.len());
    let mut i = 0;
    while i + L::LANES <= length {
        // SAFETY: i + LANES ≤ length.
        unsafe { lanes.store(pointer.add(i), f(lanes.load(pointer.add(i)))) };
        i += L::LANES;
    }
    let rest = length - i;
    if rest > 0 {
        // SAFETY: i + rest = length.
        unsafe { lanes.store_first(pointer.add(i), rest, f(lanes.load_first(pointer.add(i), rest))) };
    }
}

/// Sets every element of `out` to `f` of the element of `a` at the same place.
///
/// # Panics
/// Where the lengths differ.
#[inline(always)]
pub fn map_to<L: Lanes>(lanes: L, out: &mut [f32], a: &[f32], f: impl Fn(L::V) -> L::V) {
    assert_eq!(out.len(), a.len());
    let (to, from, length) = (out.as_mut_ptr(), a.as_ptr(), out.len());
    let mut i = 0;
    while i + L::LANES <= length {
        // SAFETY: i + LANES ≤ length of both.
        unsafe { lanes.store(to.add(i), f(lanes.load(from.add(i)))) };
        i += L::LANES;
    }
    let rest = length - i;
    if rest > 0 {
        // SAFETY: i + rest = length of both.
        unsafe { lanes.store_first(to.add(i), rest, f(lanes.load_first(from.add(i), rest))) };
    }
}

/// Sets every element of `out` to `f(out, a)` of the elements at the same place.
///
/// # Panics
/// Where the lengths differ.
#[inline(always)]
pub fn zip<L: Lanes>(lanes: L, out: &mut [f32], a: &[f32], f: impl Fn(L::V, L::V) -> L::V) {
    assert_eq!(out.len(), a.len());
    let (to, from, length) = (out.as_mut_ptr(), a.as_ptr(), out.len());
    let mut i = 0;
    while i + L::LANES <= length {
        // SAFETY: i + LANES ≤ length of both.
        unsafe { lanes.store(to.add(i), f(lanes.load(to.add(i)), lanes.load(from.add(i)))) };
        i += L::LANES;
    }
    let rest = length - i;
    if rest > 0 {
        // SAFETY: i + rest = length of both.
        unsafe {
            let v = f(lanes.load_first(to.add(i), rest), lanes.load_first(from.add(i), rest));
            lanes.store_first(to.add(i), rest, v);
        }
    }
}

#[cfg(test)]
mod tests;
