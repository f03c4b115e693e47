//! Elementary functions over [`Lanes`], accurate to a few units in the last place.

use super::Lanes;

/// eˣ, within 2 units in the last place; x is clamped to [−87, 88], where eˣ is a normal number.
///
/// Cody and Waite's reduction x = n·ln 2 + r, and the minimax polynomial of Cephes on |r| ≤ ln 2 / 2.
#[inline(always)]
pub fn exp<L: Lanes>(l: L, x: L::V) -> L::V {
    let x = l.min(l.splat(88.0), l.max(l.splat(-87.0), x));
    let n = l.round(l.mul(x, l.splat(std::f32::consts::LOG2_E)));
    // ln 2 in two parts; the first has 9 bits, so n times it is exact.
    let r = l.fma(n, l.splat(-0.693_359_4), x);
    let r = l.fma(n, l.splat(2.121_944_4e-4), r);
    let mut p = l.splat(1.987_569_2e-4);
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = l.fma(p, r, l.splat(c));
    }
    let p = l.fma(p, l.mul(r, r), l.add(r, l.splat(1.0)));
    l.scale(p, n)
}

/// The logistic function, 1 / (1 + e⁻ˣ).
#[inline(always)]
pub fn sigmoid<L: Lanes>(l: L, x: L::V) -> L::V {
    // Below −86 the result would leave the normal numbers.
    let e = exp(l, l.min(l.splat(86.0), l.sub(l.splat(0.0), x)));
    l.recip(l.add(l.splat(1.0), e))
}

/// The hyperbolic tangent.
#[inline(always)]
pub fn tanh<L: Lanes>(l: L, x: L::V) -> L::V {
    let one = l.splat(1.0);
    let clamped = l.min(l.splat(20.0), l.max(l.splat(-20.0), x));
    let e = exp(l, l.add(clamped, clamped));
    let far = l.sub(one, l.mul(l.splat(2.0), l.recip(l.add(e, one))));
    // Near zero the difference above cancels: Cephes' polynomial in x².
    let z = l.mul(x, x);
    let mut p = l.splat(-5.704_988_7e-3);
    for c in [2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_327_9e-1] {
        p = l.fma(p, z, l.splat(c));
    }
    let near = l.fma(l.mul(x, z), p, x);
    l.select(l.less(l.abs(x), l.splat(0.625)), near, far)
}

/// What Mish and its derivative share: eˣ (x clamped to at most 20, where tanh(softplus) is 1 in f32)
/// and n = eˣ(eˣ + 2), so that tanh(softplus(x)) = n / (n + 2) without cancellation.
#[inline(always)]
fn mish_parts<L: Lanes>(l: L, x: L::V) -> (L::V, L::V) {
    let e = exp(l, l.min(l.splat(20.0), x));
    (e, l.mul(e, l.add(e, l.splat(2.0))))
}

/// x · sigmoid(x).
#[inline(always)]
pub fn silu<L: Lanes>(l: L, x: L::V) -> L::V {
    l.mul(x, sigmoid(l, x))
}

/// The derivative of [`silu`]: s(1 + x(1 − s)), s = sigmoid(x).
#[inline(always)]
pub fn silu_derivative<L: Lanes>(l: L, x: L::V) -> L::V {
    let s = sigmoid(l, x);
    let one = l.splat(1.0);
    l.mul(s, l.fma(x, l.sub(one, s), one))
}

/// Mish (Misra 2019): x · tanh(ln(1 + eˣ)).
#[inline(always)]
pub fn mish<L: Lanes>(l: L, x: L::V) -> L::V {
    let (_, n) = mish_parts(l, x);
    l.mul(x, l.mul(n, l.recip(l.add(n, l.splat(2.0)))))
}

/// The derivative of [`mish`]: t + x(1 − t²)·sigmoid(x) with t = n / (n + 2), which is
/// t + 4x·eˣ(1 + eˣ) / (n + 2)².
#[inline(always)]
pub fn mish_derivative<L: Lanes>(l: L, x: L::V) -> L::V {
    let (e, n) = mish_parts(l, x);
    let r = l.recip(l.add(n, l.splat(2.0)));
    // Two factors of r apart: (n + 2)² would leave f32 for x near 20.
    let a = l.mul(l.mul(l.splat(4.0), e), r);
    let b = l.mul(l.add(l.splat(1.0), e), r);
    l.fma(l.mul(x, a), b, l.mul(n, r))
}
