// The partial statistics of one tile of the forward convolution: of each channel's sums over the tile's pixels, the
// mean and the sum of squared deviations from it.
//
// Partials are [tiles, 2, c_out], then the pixels of each tile [tiles], as floats; kernels/conv_statistics.cu
// merges them.
#pragma once
#include "common/tile_moments.cuh"

// `shared`: (WARPS_M + 1) · TILE_N floats, the tiles' own memory.
template <class Fragment>
DEVICE void tile_statistics(Fragment& sums, float* shared, float* partials, int tile, int first_pixel, int pixels,
                            int first_channel, int channel_end) {
    const int c_out = channel_end / (blockIdx.z + 1) * gridDim.z;
    const int count = min(TILE_M, pixels - first_pixel);
    const int warp_row = threadIdx.x / 32 % WARPS_M;
    tile_moments<WARPS_M, TILE_N, threads>(sums, shared, warp_row, count, [&](int pass, int column, float total) {
        if (first_channel + column < channel_end) {
            partials[(2 * tile + pass) * c_out + first_channel + column] = total;
        }
    });
    // One block a tile says how many pixels it has.
    if (threadIdx.x == 0 && first_channel == 0) {
        int tiles = (pixels + TILE_M - 1) / TILE_M;
        partials[2 * tiles * c_out + tile] = static_cast<float>(count);
    }
}
