//! The loops on the host.

use std::hint::black_box;

use crate::Result;
use crate::ops::{Io, pixels_per_chunk};
use crate::runtime::Cpu;
use crate::runtime::vector::{self, Lanes, Task};

/// Vectors that are under way at once: an instruction's latency times how many begin in a cycle is 8 to
/// 10 on today's processors, and 12 with the two factors fit AVX2's 16 registers.
const CHAINS: usize = 12;

/// `turns` multiply-adds on every element of a run.
struct Chains<'a> {
    data: &'a mut [f32],
    turns: usize,
}

impl Task for Chains<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        // Unknown to the compiler, or it would see that two turns undo each other.
        let (factor, term) = (l.splat(black_box(-1.0)), l.splat(black_box(1.0)));
        let mut blocks = self.data.chunks_exact_mut(CHAINS * L::LANES);
        for block in &mut blocks {
            let at = block.as_mut_ptr();
            // SAFETY: a block has CHAINS · LANES elements.
            let mut chains: [L::V; CHAINS] =
                std::array::from_fn(|i| unsafe { l.load(at.add(i * L::LANES).cast_const()) });
            for _ in 0..self.turns {
                for chain in &mut chains {
                    *chain = l.fma(*chain, factor, term);
                }
            }
            for (i, chain) in chains.into_iter().enumerate() {
                // SAFETY: as above.
                unsafe { l.store(at.add(i * L::LANES), chain) };
            }
        }
        vector::map(l, blocks.into_remainder(), |mut chain| {
            for _ in 0..self.turns {
                chain = l.fma(chain, factor, term);
            }
            chain
        });
    }
}

pub(super) fn multiply_adds(io: &mut Io<'_, f32>, cpu: &Cpu, turns: usize) -> Result<()> {
    io.chunks_in_place(cpu, |_, chunk| match chunk.as_mut_slice() {
        Some(data) => vector::dispatch(cpu, Chains { data, turns }),
        None => {
            for i in 0..chunk.shape().pixels() {
                vector::dispatch(cpu, Chains { data: chunk.pixel(i), turns });
            }
        }
    })
}

/// Plain: a processor's own ceiling is that of [`multiply_adds`].
pub(super) fn matrix_multiply_adds(io: &mut Io<'_, f32>, cpu: &Cpu, turns: usize) {
    let (x, weight) = (io.input(0), io.input(1));
    let step = pixels_per_chunk(io.outputs[0].shape());
    let chunks: Vec<_> = io.outputs[0].reborrow().chunks(step).into_iter().enumerate().collect();
    cpu.for_each(chunks, |(index, mut chunk)| {
        for i in 0..chunk.shape().pixels() {
            let x = x.pixel(index * step + i);
            for (o, y) in chunk.pixel(i).iter_mut().enumerate() {
                *y = 0.0;
                for _ in 0..turns {
                    *y += x.iter().zip(weight.pixel(o)).map(|(x, w)| x * w).sum::<f32>();
                }
            }
        }
    });
}
