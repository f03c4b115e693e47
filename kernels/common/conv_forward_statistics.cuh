// The partial statistics of one tile of the forward convolution: of each channel's sums over the tile's pixels, the
// mean and the sum of squared deviations from it. Two passes over the sums in registers, so nothing cancels.
//
// Partials are [tiles, 2, c_out], then the pixels of each tile [tiles], as floats; kernels/conv_statistics.cu
// merges them.
#pragma once
#include "common/types.cuh"

// `shared`: (WARPS_M + 1) · TILE_N floats, the tiles' own memory.
template <class Fragment>
DEVICE void tile_statistics(Fragment& sums, float* shared, float* partials, int tile, int first_pixel, int pixels,
                            int first_channel, int channel_end) {
    const int c_out = channel_end / (blockIdx.z + 1) * gridDim.z;
    const int count = min(TILE_M, pixels - first_pixel);
    float* means = shared + WARPS_M * TILE_N;
    const int warp_row = threadIdx.x / 32 % WARPS_M;
#pragma unroll
    for (int pass = 0; pass < 2; pass++) {
        __syncthreads();  // first the tiles have been multiplied, then the means have been written
#pragma unroll
        for (int q = 0; q < Fragment::runs; q++)
#pragma unroll
            for (int e = 0; e < Fragment::run; e++) {
                int column = sums.column_of(q) + e;
                float mean = pass == 0 ? 0.0f : means[column];
                float total = 0.0f;
#pragma unroll
                for (int r = 0; r < Fragment::rows; r++) {
                    float value = sums.at(r, q, e) - mean;
                    if (sums.row_of(r) < count) total += pass == 0 ? value : value * value;
                }
#pragma unroll
                for (int step = Fragment::lanes_n; step < 32; step *= 2) {
                    total += __shfl_xor_sync(0xffffffffu, total, step);
                }
                if (threadIdx.x % 32 < Fragment::lanes_n) shared[warp_row * TILE_N + column] = total;
            }
        __syncthreads();
        for (int column = threadIdx.x; column < TILE_N; column += threads) {
            float total = 0.0f;
#pragma unroll
            for (int i = 0; i < WARPS_M; i++) total += shared[i * TILE_N + column];
            if (pass == 0) total /= static_cast<float>(count);
            if (pass == 0) means[column] = total;
            if (first_channel + column < channel_end) {
                partials[(2 * tile + pass) * c_out + first_channel + column] = total;
            }
        }
    }
    // One block a tile says how many pixels it has.
    if (threadIdx.x == 0 && first_channel == 0) {
        int tiles = (pixels + TILE_M - 1) / TILE_M;
        partials[2 * tiles * c_out + tile] = static_cast<float>(count);
    }
}
