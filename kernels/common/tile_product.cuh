// The product of two tiles in shared memory, summed in the registers of a block: by tensor cores for
// two-byte elements, by multiply-adds for f32.
//
// A tile of A is m × k and one of B is k × n. Either lies in shared memory with k along its rows ("k rows":
// row k holds all m, or all n) or along its columns (row m, or n, holds all k).
#pragma once
#include "common/types.cuh"

DEVICE void multiply_add(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, f16) {
    mma_m16n8k16_f16(d, a, b0, b1);
}
#if __CUDA_ARCH__ >= 800
DEVICE void multiply_add(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, bf16) {
    mma_m16n8k16_bf16(d, a, b0, b1);
}
#endif

// By tensor cores. The block's warps are `parts_m` × `parts_n`, each with its own part of the tile.
template <class T, int m, int n, int k, int parts_m, int parts_n, bool a_k_rows, bool b_k_rows>
struct TileProduct {
    static constexpr int THREADS = 32 * parts_m * parts_n;
    static constexpr int ROWS = m / parts_m, COLUMNS = n / parts_n;  // of one warp
    // Eight elements of padding: eight rows at one column then lie in different banks.
    static constexpr int A_PITCH = (a_k_rows ? m : k) + 8, A_ELEMENTS = (a_k_rows ? k : m) * A_PITCH;
    static constexpr int B_PITCH = (b_k_rows ? n : k) + 8, B_ELEMENTS = (b_k_rows ? k : n) * B_PITCH;
    static constexpr int SCRATCH_PITCH = COLUMNS + 8;  // in floats; conflict-free both ways
    static constexpr int SCRATCH_BYTES = parts_m * parts_n * 16 * SCRATCH_PITCH * 4;
    static_assert(ROWS % 16 == 0 && COLUMNS % 16 == 0 && k % 16 == 0, "whole fragments");

    float sum[ROWS / 16][COLUMNS / 8][4];
    int lane, warp, row, column;

    DEVICE TileProduct() {
        lane = static_cast<int>(threadIdx.x) % 32;
        warp = static_cast<int>(threadIdx.x) / 32;
        row = warp % parts_m * ROWS;
        column = warp / parts_m * COLUMNS;
#pragma unroll
        for (int i = 0; i < ROWS / 16; i++)
#pragma unroll
            for (int j = 0; j < COLUMNS / 8; j++)
#pragma unroll
                for (int r = 0; r < 4; r++) sum[i][j][r] = 0.0f;
    }

    DEVICE void add(const T* a, const T* b) {
#pragma unroll
        for (int step = 0; step < k; step += 16) {
            unsigned fragment[ROWS / 16][4];
#pragma unroll
            for (int i = 0; i < ROWS / 16; i++) {
                if constexpr (a_k_rows) {
                    int at = (step + lane / 16 * 8 + lane % 8) * A_PITCH + row + i * 16 + lane / 8 % 2 * 8;
                    load_matrix_x4_transposed(fragment[i], a + at);
                } else {
                    int at = (row + i * 16 + lane % 16) * A_PITCH + step + lane / 16 * 8;
                    load_matrix_x4(fragment[i], a + at);
                }
            }
#pragma unroll
            for (int j = 0; j < COLUMNS / 16; j++) {
                unsigned other[4];
                if constexpr (b_k_rows) {
                    int at = (step + lane % 16) * B_PITCH + column + j * 16 + lane / 16 * 8;
                    load_matrix_x4_transposed(other, b + at);
                } else {
                    int at = (column + j * 16 + lane / 16 * 8 + lane % 8) * B_PITCH + step + lane / 8 % 2 * 8;
                    load_matrix_x4(other, b + at);
                }
#pragma unroll
                for (int i = 0; i < ROWS / 16; i++) {
                    multiply_add(sum[i][2 * j], fragment[i], other[0], other[1], T{});
                    multiply_add(sum[i][2 * j + 1], fragment[i], other[2], other[3], T{});
                }
            }
        }
    }

    // Calls `visit(row, column, values)` for every four columns of the tile, in an order that makes a warp
    // write whole sectors. Goes through `scratch`, SCRATCH_BYTES of shared memory that no thread uses any more.
    template <class Visit>
    DEVICE void visit(float* scratch, Visit&& visit) {
        constexpr int LANES = COLUMNS / 4, PASS = LANES < 32 ? 32 / LANES : 1;  // of a row; rows in one pass
        static_assert(LANES <= 32 && 16 % PASS == 0, "a warp covers whole rows");
        float* part = scratch + warp * 16 * SCRATCH_PITCH;
#pragma unroll
        for (int i = 0; i < ROWS / 16; i++) {
            __syncwarp();
#pragma unroll
            for (int j = 0; j < COLUMNS / 8; j++) {
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    float pair[2] = {sum[i][j][2 * half], sum[i][j][2 * half + 1]};
                    store_pack(part + (lane / 4 + 8 * half) * SCRATCH_PITCH + j * 8 + lane % 4 * 2, pair);
                }
            }
            __syncwarp();
            if (lane < PASS * LANES) {
#pragma unroll
                for (int pass = 0; pass < 16; pass += PASS) {
                    int at_row = pass + lane / LANES, at_column = lane % LANES * 4;
                    float values[4];
                    load_pack(values, part + at_row * SCRATCH_PITCH + at_column);
                    visit(row + i * 16 + at_row, column + at_column, values);
                }
            }
        }
    }
};

// By multiply-adds. The block's threads are `parts_m` × `parts_n`; each has rows and columns that are spread
// over the tile, in fours where they are read as fours, so that neighbours read neighbouring banks.
template <int m, int n, int k, int parts_m, int parts_n, bool a_k_rows, bool b_k_rows>
struct TileProduct<f32, m, n, k, parts_m, parts_n, a_k_rows, b_k_rows> {
    static constexpr int THREADS = parts_m * parts_n;
    static constexpr int ROWS = m / parts_m, COLUMNS = n / parts_n;  // of one thread
    static constexpr int A_PITCH = a_k_rows ? m : k + 4, A_ELEMENTS = (a_k_rows ? k : m) * A_PITCH;
    static constexpr int B_PITCH = b_k_rows ? n : k + 4, B_ELEMENTS = (b_k_rows ? k : n) * B_PITCH;
    static constexpr int SCRATCH_BYTES = 0;
    static_assert(ROWS % 4 == 0 && COLUMNS % 4 == 0 && k % 4 == 0, "whole fours");

    float sum[ROWS][COLUMNS];
    int row, column;  // among the threads

    DEVICE TileProduct() {
        row = static_cast<int>(threadIdx.x) / parts_n;
        column = static_cast<int>(threadIdx.x) % parts_n;
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) sum[i][j] = 0.0f;
    }

    // The tile's row of this thread's row i, and the column of its column j.
    DEVICE int row_of(int i) const { return a_k_rows ? (i / 4 * parts_m + row) * 4 + i % 4 : i * parts_m + row; }
    DEVICE int column_of(int j) const { return (j / 4 * parts_n + column) * 4 + j % 4; }

    DEVICE void add(const float* a, const float* b) {
        static_assert(b_k_rows, "no kernel multiplies f32 by a transposed tile yet");
#pragma unroll
        for (int step = 0; step < k; step += 4) {
            float left[a_k_rows ? 1 : ROWS][4];
            if constexpr (!a_k_rows) {
#pragma unroll
                for (int i = 0; i < ROWS; i++) load_pack(left[i], a + row_of(i) * A_PITCH + step);
            }
#pragma unroll
            for (int inner = 0; inner < 4; inner++) {
                float own[ROWS], other[COLUMNS];
#pragma unroll
                for (int i = 0; i < ROWS; i += 4) {
                    float four[4];
                    if constexpr (a_k_rows) load_pack(four, a + (step + inner) * A_PITCH + row_of(i));
#pragma unroll
                    for (int r = 0; r < 4; r++) own[i + r] = a_k_rows ? four[r] : left[a_k_rows ? 0 : i + r][inner];
                }
#pragma unroll
                for (int j = 0; j < COLUMNS; j += 4) {
                    float four[4];
                    load_pack(four, b + (step + inner) * B_PITCH + column_of(j));
#pragma unroll
                    for (int r = 0; r < 4; r++) other[j + r] = four[r];
                }
#pragma unroll
                for (int i = 0; i < ROWS; i++)
#pragma unroll
                    for (int j = 0; j < COLUMNS; j++) sum[i][j] += own[i] * other[j];
            }
        }
    }

    // As above; no scratch memory is used.
    template <class Visit>
    DEVICE void visit(float*, Visit&& visit) {
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int j = 0; j < COLUMNS; j += 4) {
                float values[4] = {sum[i][j], sum[i][j + 1], sum[i][j + 2], sum[i][j + 3]};
                visit(row_of(i), column_of(j), values);
            }
    }
};
