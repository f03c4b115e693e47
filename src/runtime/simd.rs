//! Which vector instructions this processor has.

use std::fmt;

/// The widest vector instructions that kernels may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SimdLevel {
    /// Whatever the compiler makes of plain loops.
    Portable,
    /// aarch64 Advanced SIMD: 4 lanes of f32.
    Neon,
    /// AVX2 and FMA: 8 lanes of f32.
    Avx2,
    /// AVX-512F: 16 lanes of f32, 32 registers, masks.
    Avx512,
}

impl SimdLevel {
    /// The best level of this processor.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return SimdLevel::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return SimdLevel::Avx2;
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            return SimdLevel::Neon;
        }
        SimdLevel::Portable
    }

    /// All levels that this processor has, the portable one first: tests run on each.
    pub fn available() -> Vec<Self> {
        let best = Self::detect();
        let all = match best {
            SimdLevel::Neon => vec![SimdLevel::Portable, SimdLevel::Neon],
            _ => vec![SimdLevel::Portable, SimdLevel::Avx2, SimdLevel::Avx512],
        };
        all.into_iter().filter(|level| *level <= best).collect()
    }
}

impl fmt::Display for SimdLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SimdLevel::Portable => "portable",
            SimdLevel::Neon => "NEON",
            SimdLevel::Avx2 => "AVX2",
            SimdLevel::Avx512 => "AVX-512",
        })
    }
}
