// What a warp accumulates of a tile, on tensor cores: mma.sync m16n8k16 over ldmatrix from swizzled tiles.
//
// A warp has (TILE_M / WARPS_M) × (TILE_N / WARPS_N) sums. Its channels are taken in groups of 32 (16 where it
// has no more), and row j·8 + 2t + e of a group's weights is channel t·(group / 4) + 2j + e, so that lane t of a
// quad ends up with neighbouring channels: 8 of them, 16 bytes of a two-byte map, at each of its pixels.
#pragma once
#include "common/conv_forward_tile.cuh"

struct Fragment {
    static constexpr int warp_m = TILE_M / WARPS_M, warp_n = TILE_N / WARPS_N;
    static constexpr int tiles_m = warp_m / 16, tiles_n = warp_n / 8;
    static constexpr int group = warp_n % 32 == 0 ? 32 : 16;
    // A thread's share: `rows` pixels, and at each of them `runs` runs of `run` channels.
    static constexpr int rows = 2 * tiles_m, run = group / 4, runs = warp_n / group;
    static constexpr int lanes_n = 4;  // lanes of a warp that differ in their channels; the others in their pixels
    static_assert(warp_m % 16 == 0 && warp_n % 16 == 0, "a warp's share is made of 16×16 pieces");

    float d[tiles_m][tiles_n][4];
    int warp_row, warp_column, lane;

    DEVICE void begin() {
        int warp = threadIdx.x / 32;
        lane = threadIdx.x % 32;
        warp_row = warp % WARPS_M * warp_m;
        warp_column = warp / WARPS_M * warp_n;
#pragma unroll
        for (int i = 0; i < tiles_m; i++)
#pragma unroll
            for (int j = 0; j < tiles_n; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) d[i][j][e] = 0.0f;
    }

    // The channel of the tile that row `row` of its weights holds.
    DEVICE static int channel_of_row(int row) {
        int in_group = row % group;
        return row - in_group + in_group % 8 / 2 * run + in_group / 8 * 2 + in_group % 2;
    }

    DEVICE float& at(int row, int of_run, int e) {
        return d[row / 2][(of_run * run + e) / 2][row % 2 * 2 + e % 2];
    }
    DEVICE int row_of(int row) const { return warp_row + row / 2 * 16 + row % 2 * 8 + lane / 4; }
    DEVICE int column_of(int of_run) const { return warp_column + of_run * group + lane % 4 * run; }

    DEVICE static void mma(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, f16) {
        mma_m16n8k16_f16(d, a, b0, b1);
    }
#if __CUDA_ARCH__ >= 800
    DEVICE static void mma(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, bf16) {
        mma_m16n8k16_bf16(d, a, b0, b1);
    }
#endif

    DEVICE void multiply(const COMPUTE_TYPE* input, const COMPUTE_TYPE* weight) {
#pragma unroll
        for (int k = 0; k < TILE_K / 16; k++) {
            unsigned a[tiles_m][4], b[tiles_n / 2][4];
#pragma unroll
            for (int i = 0; i < tiles_m; i++) {
                load_matrix_x4(a[i], input + swizzled(warp_row + i * 16 + lane % 16, k * 2 + lane / 16));
            }
#pragma unroll
            for (int j = 0; j < tiles_n / 2; j++) {
                int row = warp_column + j * 16 + lane % 8 + lane / 16 * 8;
                load_matrix_x4(b[j], weight + swizzled(row, k * 2 + lane / 8 % 2));
            }
#pragma unroll
            for (int i = 0; i < tiles_m; i++)
#pragma unroll
                for (int j = 0; j < tiles_n; j++) {
                    mma(d[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1], COMPUTE_TYPE{});
                }
        }
    }
};
