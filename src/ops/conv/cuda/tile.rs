//! How a convolution's implicit GEMM is cut into blocks: the candidates, as data, and a guess at the best.

use std::fmt;

use crate::runtime::cuda::Target;
use crate::tensor::DType;

/// The size of the product: `m` rows (output pixels) by `n` columns (a group's output channels), `k` products
/// each, `groups` times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gemm {
    /// Output pixels of the whole batch.
    pub m: usize,
    /// Output channels of one group.
    pub n: usize,
    /// Taps times the input channels of one group.
    pub k: usize,
    /// Groups.
    pub groups: usize,
    /// Whether a prologue runs on each input where it is read.
    pub prologue: bool,
    /// How operands come to shared memory.
    pub carried: Carried,
}

/// How operands come from global to shared memory: what that takes of a thread's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// By asynchronous copies, past the registers.
    Aside,
    /// Some through registers, by packs of 8 bytes and more.
    Packs,
    /// Some through registers in smaller pieces, each of which takes a whole one.
    Pieces,
}

/// What one block computes, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Rows (pixels) of a block.
    pub m: usize,
    /// Columns (output channels) of a block.
    pub n: usize,
    /// Elements along K of one stage.
    pub k: usize,
    /// Warps along the rows.
    pub warps_m: usize,
    /// Warps along the columns.
    pub warps_n: usize,
    /// Stages in shared memory, where both operands come by asynchronous copies; 2 where they do not.
    pub stages: usize,
}

impl Tile {
    const fn new(m: usize, n: usize, k: usize, [warps_m, warps_n]: [usize; 2], stages: usize) -> Self {
        Tile { m, n, k, warps_m, warps_n, stages }
    }

    /// Threads of a block.
    pub fn threads(&self) -> usize {
        self.warps_m * self.warps_n * 32
    }

    /// Bytes of shared memory with elements of `compute`.
    pub fn shared_bytes(&self, compute: DType) -> usize {
        self.stages * (self.m + self.n) * self.k * compute.size()
    }

    /// Sums that one thread holds in registers.
    pub fn sums(&self) -> usize {
        self.m * self.n / self.threads()
    }

    /// Registers that a thread may have: what its sums, fragments and what it carries need, and no more, so that
    /// as many blocks as possible share a multiprocessor. Plain multiply-adds hold wider fragments than tensor
    /// cores do.
    fn registers(&self, compute: DType, carried: Carried) -> usize {
        let wide = match carried {
            Carried::Aside => self.sums() >= 64 && compute == DType::F32,
            Carried::Packs => self.sums() >= 64 || self.k * compute.size() == 128,
            Carried::Pieces => true,
        };
        // Many sums, and pieces beside them: on sm_120 168 do not suffice.
        let full = carried == Carried::Pieces && self.sums() >= 64;
        match (wide, self.threads()) {
            (false, _) => 128,
            (true, ..=128) if !full => 168,
            (true, _) => 255,
        }
    }

    /// Blocks whose threads find room in a multiprocessor's 65536 registers.
    pub fn blocks_by_registers(&self, compute: DType, carried: Carried) -> usize {
        65536 / (self.registers(compute, carried) * self.threads())
    }
}

impl fmt::Display for Tile {
    /// The name that tells it from others.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tile { m, n, k, warps_m, warps_n, stages } = self;
        write!(f, "{m}x{n}x{k}, {warps_m}x{warps_n} warps, {stages} stages")
    }
}

const TENSOR_CORES: &[Tile] = &[
    Tile::new(128, 128, 32, [2, 4], 3),
    Tile::new(128, 64, 32, [2, 2], 3),
    Tile::new(64, 128, 32, [1, 4], 3),
    Tile::new(64, 64, 64, [2, 2], 3),
    Tile::new(64, 64, 32, [2, 2], 4),
    Tile::new(128, 32, 32, [4, 1], 4),
    Tile::new(64, 32, 32, [4, 1], 4),
    Tile::new(32, 64, 32, [2, 2], 4),
    Tile::new(32, 32, 64, [2, 1], 4),
    Tile::new(128, 16, 32, [4, 1], 4),
    Tile::new(32, 16, 32, [2, 1], 4),
];

const MULTIPLY_ADD: &[Tile] = &[
    Tile::new(128, 64, 16, [4, 1], 3),
    Tile::new(64, 64, 16, [2, 2], 3),
    Tile::new(128, 32, 16, [4, 1], 3),
    Tile::new(64, 32, 16, [4, 1], 3),
    Tile::new(32, 32, 16, [2, 1], 4),
    Tile::new(128, 16, 16, [4, 1], 3),
    Tile::new(32, 16, 16, [2, 1], 4),
];

/// The tiles that a kernel can be compiled with: on tensor cores for two-byte elements of `compute`, by
/// multiply-adds for f32.
pub fn candidates(compute: DType) -> &'static [Tile] {
    if compute == DType::F32 { MULTIPLY_ADD } else { TENSOR_CORES }
}

/// The candidate that should be fastest on `target` by [`cycles`]; of equal ones the first.
pub fn choose(gemm: Gemm, compute: DType, target: &Target) -> Tile {
    let fitting =
        candidates(compute).iter().filter(|t| t.shared_bytes(compute) <= target.shared_bytes as usize);
    let best = fitting
        .min_by(|a, b| cycles(gemm, **a, compute, target).total_cmp(&cycles(gemm, **b, compute, target)));
    // A device whose blocks have less than 20 KiB of shared memory is none that CUDA 13 knows.
    best.copied().unwrap_or(candidates(compute)[0])
}

/// A model of the clock cycles that `tile` takes: every multiprocessor runs its share of the blocks, each of
/// which multiplies and fetches at the multiprocessor's rates, and waits at its barriers unless other blocks
/// fill the gap. Rates are those of compute capability 8.6 (the CUDA programming guide's throughput table);
/// only the order that they put the candidates in matters.
pub fn cycles(gemm: Gemm, tile: Tile, compute: DType, target: &Target) -> f64 {
    let multiplies = if compute == DType::F32 { 128.0 } else { 512.0 };
    let (bytes, specials, barrier, start) = (32.0, 16.0, 120.0, 1500.0);

    let blocks = gemm.m.div_ceil(tile.m) * gemm.n.div_ceil(tile.n) * gemm.groups;
    let share = blocks.div_ceil(target.multiprocessors.max(1) as usize);
    let by_shared = target.shared_bytes as usize / tile.shared_bytes(compute);
    let resident = share.min(tile.blocks_by_registers(compute, gemm.carried)).min(by_shared.max(1)) as f64;
    // It takes two warps a scheduler to keep the multipliers busy.
    let busy = (resident * (tile.threads() / 32) as f64 / 8.0).min(1.0);

    let (m, n, k) = (tile.m as f64, tile.n as f64, tile.k as f64);
    let prologue = if gemm.prologue { 2.0 * m * k / specials } else { 0.0 };
    let multiply = m * n * k / (multiplies * busy) + prologue;
    let fetch = (m + n) * k * compute.size() as f64 / bytes;
    let step = multiply.max(fetch) + barrier / resident;
    let epilogue = m * n * compute.size() as f64 / bytes + start / resident;
    share as f64 * (gemm.k.div_ceil(tile.k) as f64 * step + epilogue)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(multiprocessors: u32) -> Target {
        Target { arch: 86, multiprocessors, shared_bytes: 99 * 1024, map: DType::F16 }
    }

    #[test]
    fn every_candidate_is_one_that_the_kernels_take() {
        for compute in [DType::F32, DType::F16] {
            for tile in candidates(compute) {
                let (m, n) = (tile.m / tile.warps_m, tile.n / tile.warps_n);
                assert_eq!((m * tile.warps_m, n * tile.warps_n), (tile.m, tile.n), "{tile:?}");
                assert_eq!(m % if compute == DType::F32 { 4 } else { 16 }, 0, "{tile:?}");
                assert_eq!(n % 16, 0, "{tile:?}");
                // A row is one 128-byte line of shared memory or a whole part of it.
                assert!([64, 128].contains(&(tile.k * compute.size())), "{tile:?}");
                assert!(
                    tile.blocks_by_registers(compute, Carried::Pieces) >= 1 && tile.threads() <= 1024,
                    "{tile:?}"
                );
                // Statistics are reduced in the stages' memory, of which two are there always.
                let two = Tile { stages: 2, ..*tile };
                assert!(two.shared_bytes(compute) >= (tile.warps_m + 1) * tile.n * 4, "{tile:?}");
                // Turing's blocks have 64 KiB.
                assert!(tile.shared_bytes(compute) <= 64 * 1024, "{tile:?}");
            }
        }
    }

    #[test]
    fn a_large_product_gets_a_large_tile_and_a_small_one_fills_the_device() {
        for compute in [DType::F32, DType::F16] {
            let large =
                Gemm { m: 65536, n: 256, k: 2304, groups: 1, prologue: false, carried: Carried::Aside };
            let tile = choose(large, compute, &target(80));
            assert!(tile.m * tile.n >= 128 * 64, "{tile:?}");
            let small = Gemm { m: 169, n: 256, ..large };
            let tile = choose(small, compute, &target(80));
            assert!(169usize.div_ceil(tile.m) * 256usize.div_ceil(tile.n) >= 40, "{tile:?}");
            // No wider than the channels, where a narrower tile is there.
            let narrow = Gemm { n: 16, ..large };
            assert_eq!(choose(narrow, compute, &target(80)).n, 16);
        }
    }
}
