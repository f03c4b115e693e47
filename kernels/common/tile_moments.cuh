// Of each channel of a tile of sums that a block holds in registers, the mean over the tile's pixels and the sum of
// squared deviations from it. Two passes over the sums, so nothing cancels; every sum has one order.
#pragma once
#include "common/intrinsics.cuh"

// `sums` are the thread's of a tile whose first `count` rows are pixels; `warp_rows` warps lie below each other on
// `tile_n` channels, this thread's being number `warp_row`. `store(pass, column, total)` takes the mean (pass 0) and
// the squares (pass 1) of each column. `shared`: (warp_rows + 1) · tile_n floats, which may be the tiles' own memory.
template <int warp_rows, int tile_n, int block_threads, class Sums, class Store>
DEVICE void tile_moments(Sums& sums, float* shared, int warp_row, int count, Store store) {
    float* means = shared + warp_rows * tile_n;
#pragma unroll
    for (int pass = 0; pass < 2; pass++) {
        __syncthreads();  // first the tiles have been multiplied, then the means have been written
#pragma unroll
        for (int q = 0; q < Sums::runs; q++)
#pragma unroll
            for (int e = 0; e < Sums::run; e++) {
                int column = sums.column_of(q) + e;
                float mean = pass == 0 ? 0.0f : means[column];
                float total = 0.0f;
#pragma unroll
                for (int r = 0; r < Sums::rows; r++) {
                    float value = sums.at(r, q, e) - mean;
                    if (sums.row_of(r) < count) total += pass == 0 ? value : value * value;
                }
#pragma unroll
                for (int step = Sums::lanes_n; step < 32; step *= 2) {
                    total += __shfl_xor_sync(0xffffffffu, total, step);
                }
                if (threadIdx.x % 32 < Sums::lanes_n) shared[warp_row * tile_n + column] = total;
            }
        __syncthreads();
        for (int column = static_cast<int>(threadIdx.x); column < tile_n; column += block_threads) {
            float total = 0.0f;
#pragma unroll
            for (int i = 0; i < warp_rows; i++) total += shared[i * tile_n + column];
            if (pass == 0) total /= static_cast<float>(count);
            if (pass == 0) means[column] = total;
            store(pass, column, total);
        }
    }
}
