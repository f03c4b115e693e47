// What a warp accumulates of a tile, by plain multiply-adds in f32: the same interface as on tensor cores.
//
// The lanes of a warp stand 4 (pixels) × 8 (channels). A thread reads 4 elements along K of each of its pixels,
// then of one channel after the other: a chunk feeds rows · columns · 4 multiply-adds by rows + columns reads.
// Row j·8 + lane of a group's weights is channel lane·run + j, so that a lane ends up with neighbouring channels
// and the 8 lanes read neighbouring rows, which lie in different banks.
#pragma once
#include "common/conv_forward_tile.cuh"

struct Fragment {
    static constexpr int warp_m = TILE_M / WARPS_M, warp_n = TILE_N / WARPS_N;
    static constexpr int group = warp_n % 32 == 0 ? 32 : 16;
    // A thread's share: `rows` pixels, and at each of them `runs` runs of `run` channels.
    static constexpr int rows = warp_m / 4, run = group / 8, runs = warp_n / group;
    static constexpr int lanes_n = 8;  // lanes of a warp that differ in their channels; the others in their pixels
    static constexpr int columns = runs * run;
    static_assert(warp_m % 4 == 0 && warp_n % 16 == 0, "a warp's share is made of 4×16 pieces");

    float d[rows][columns];
    int warp_row, warp_column, lane;

    DEVICE void begin() {
        int warp = threadIdx.x / 32;
        lane = threadIdx.x % 32;
        warp_row = warp % WARPS_M * warp_m;
        warp_column = warp / WARPS_M * warp_n;
#pragma unroll
        for (int i = 0; i < rows; i++)
#pragma unroll
            for (int j = 0; j < columns; j++) d[i][j] = 0.0f;
    }

    // The channel of the tile that row `row` of its weights holds.
    DEVICE static int channel_of_row(int row) {
        int in_group = row % group;
        return row - in_group + in_group % 8 * run + in_group / 8;
    }

    DEVICE float& at(int row, int of_run, int e) { return d[row][of_run * run + e]; }
    DEVICE int row_of(int row) const { return warp_row + row * 4 + lane / 8; }
    DEVICE int column_of(int of_run) const { return warp_column + of_run * group + lane % 8 * run; }

    DEVICE void multiply(const float* input, const float* weight) {
#pragma unroll 1
        for (int k = 0; k < chunks; k++) {
            float a[rows][chunk];
#pragma unroll
            for (int i = 0; i < rows; i++) load_pack(a[i], input + swizzled(row_of(i), k));
#pragma unroll
            for (int j = 0; j < columns; j++) {
                float b[chunk];
                load_pack(b, weight + swizzled(warp_column + j * 8 + lane % 8, k));
#pragma unroll
                for (int i = 0; i < rows; i++)
#pragma unroll
                    for (int e = 0; e < chunk; e++) d[i][j] += a[i][e] * b[e];
            }
        }
    }
};
